// Files: what is written comes back, and every kind of damage is one clear sentence.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <doctest/doctest.h>
#include <unistd.h>

#include "engine/files.h"
#include "engine/rng.h"
#include "engine/safetensors.h"
#include "tests/compare.h"

using namespace borealis;
using doctest::Contains;
namespace fs = std::filesystem;

namespace {

// A folder of its own that goes with the test.
struct Folder {
  fs::path path;
  Folder() : path(fs::temp_directory_path() / ("borealis_test_" + std::to_string(::getpid()))) {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
  int64_t count() const { return std::distance(fs::directory_iterator(path), fs::directory_iterator()); }
};

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// A file of this header and so many bytes of numbers.
std::string file_of(const std::string& header, size_t bytes) {
  const uint64_t length = header.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof length);
  return text + header + std::string(bytes, '\0');
}

TensorFile sample() {
  TensorFile file;
  file.metadata = {{"format", "test"}, {"text", "quotes \" and ünïcode"}};
  file.tensors = {{"b", Rng(1).normal({3, 5}, 1)},
                  {"a", Rng(2).normal({7}, 1, DType::f64)},
                  {"ids", Tensor::of<int32_t>({3}, {1, -2, 2147483647})},
                  {"none", Tensor({0, 4})},
                  {"one", Tensor::full({}, 3)}};
  return file;
}

}  // namespace

TEST_CASE("safetensors: what was written comes back, byte for byte the same each time") {
  const Folder folder;
  const TensorFile file = sample();
  write_safetensors(folder / "x", file);
  const TensorFile back = read_safetensors(folder / "x");
  CHECK(back.metadata == file.metadata);
  REQUIRE(back.tensors.size() == file.tensors.size());
  for (const auto& tensor : file.tensors) {
    INFO(tensor.first);
    CHECK(same_bytes(back.tensors.at(tensor.first), tensor.second));
  }
  write_safetensors(folder / "y", back);
  const std::string x = contents(folder / "x");
  CHECK(x == contents(folder / "y"));
  uint64_t length = 0;
  std::memcpy(&length, x.data(), sizeof length);
  CHECK(length % 8 == 0);
  CHECK(folder.count() == 2);

  write_safetensors(folder / "x", {});
  CHECK(read_safetensors(folder / "x").tensors.empty());
}

TEST_CASE("safetensors: half types and 64-bit ids are converted") {
  const Folder folder;
  std::string text = file_of(R"({"h":{"dtype":"F16","shape":[6],"data_offsets":[0,12]},)"
                             R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]},)"
                             R"("i":{"dtype":"I64","shape":[2],"data_offsets":[16,32]}})",
                             0);
  const uint16_t half[] = {0x3C00, 0xC100, 0x0001, 0x7C00, 0x7BFF, 0x8000}, brain[] = {0x3F80, 0xC049};
  int64_t ids[] = {-3, 2147483647};
  text.append(reinterpret_cast<const char*>(half), sizeof half);
  text.append(reinterpret_cast<const char*>(brain), sizeof brain);
  const std::string start = text;
  text.append(reinterpret_cast<const char*>(ids), sizeof ids);
  put(folder / "x", text);
  const TensorFile file = read_safetensors(folder / "x");
  CHECK(file.tensors.at("h").to_vector<float>() == std::vector<float>{1, -2.5f, 0x1p-24f, HUGE_VALF, 65504, -0.0f});
  CHECK(file.tensors.at("b").to_vector<float>() == std::vector<float>{1, -3.140625f});
  CHECK(file.tensors.at("i").to_vector<int32_t>() == std::vector<int32_t>{-3, 2147483647});

  ids[1] = int64_t{1} << 31;
  put(folder / "x", start + std::string(reinterpret_cast<const char*>(ids), sizeof ids));
  CHECK_THROWS_WITH_AS(read_safetensors(folder / "x"), Contains("2147483648, which does not fit into i32"),
                       std::runtime_error);
}

TEST_CASE("safetensors: every damaged file is refused with its name and fault") {
  const Folder folder;
  const auto one = [](const char* type, const char* shape, const char* offsets) {
    return std::string(R"({"w":{"dtype":")") + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::string two = R"({"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)";
  const std::pair<std::string, const char*> files[] = {
      {"", "is empty"},
      {"abc", "has only 3 bytes"},
      {std::string(8, '\xFF') + "{}", "claims a header of 18446744073709551615 bytes"},
      {file_of("{}", 0).substr(0, 9), "truncated"},
      {file_of("{\"w\":", 0), "has a header that is not a JSON object"},
      {file_of("[1]", 0), "has a header that is not a JSON object"},
      {file_of(std::string(100000, '['), 0), "has a header that is not a JSON object"},
      {file_of(R"({"w":3})", 0), "'w' whose entry is not a JSON object"},
      {file_of(R"({"w":[1]})", 0), "'w' whose entry is not a JSON object"},
      {file_of(R"({"w":{"dtype":{"F32":1}}})", 0), "a header that nests too deep, in the entry 'w'"},
      {file_of(one("F32", "[[1]]", "[0,4]"), 4), "a header that nests too deep, in the entry 'w'"},
      {file_of(R"({"w":{"dtype":)" + std::string(100000, '['), 0), "nests too deep"},
      {file_of(R"({"w":{},"v":{"dtype":"F32"}})", 0), "'w' without a dtype"},
      {file_of(R"({"w":{"dtype":"F32","dtype":"F64"}})", 0), "has 'dtype' twice in the entry 'w'"},
      {file_of(two + R"("v":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})", 16), "has two entries 'v'"},
      {file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "has two entries '__metadata__'"},
      {file_of(R"({"__metadata__":{"a":"","a":""}})", 0), "has 'a' twice"},
      {file_of(R"({"__metadata__":{"a":[]}})", 0), "metadata 'a' that is not a string"},
      {file_of(R"({"__metadata__":{"a":{}}})", 0), "nests too deep, in the entry '__metadata__'"},
      {file_of(R"({"\u001b[2J":3})", 0), "a tensor '\\x1b[2J' whose entry"},
      {file_of(R"({"__metadata__":3})", 0), "metadata that is not a JSON object"},
      {file_of(R"({"__metadata__":[1]})", 0), "metadata that is not a JSON object"},
      {file_of(R"({"__metadata__":{"a":1}})", 0), "metadata 'a' that is not a string"},
      {file_of(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", 4), "'w' without a dtype"},
      {file_of(one("F8_E4M3", "[4]", "[0,4]"), 4), "'w' of dtype F8_E4M3"},
      {file_of(one("F32", "[-1]", "[0,4]"), 4), "without a shape of non-negative integers"},
      {file_of(one("F32", "[1.5]", "[0,4]"), 4), "without a shape of non-negative integers"},
      {file_of(one("F32", "\"x\"", "[0,4]"), 4), "without a shape of non-negative integers"},
      {file_of(one("F32", "[1,1,1,1,1,1,1]", "[0,4]"), 4), "impossible shape"},
      {file_of(one("F32", "[4611686018427387904,4]", "[0,0]"), 0), "impossible shape"},
      {file_of(one("F32", "[1]", "[0]"), 4), "without two data_offsets"},
      {file_of(one("F32", "[1]", "[4,0]"), 4), "at bytes 4 … 0"},
      {file_of(one("F32", "[2]", "[0,8]"), 4), "the file is truncated or damaged"},
      {file_of(one("F32", "[2]", "[0,4]"), 4), "does not take the 4 bytes given"},
      {file_of(one("F64", "[1]", "[0,4]"), 4), "does not take the 4 bytes given"},
      {file_of(one("F32", "[1]", "[0,4]"), 8), "has 4 bytes at its end that no tensor owns"},
      {file_of(two + R"("w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12), "overlaps another"},
      {file_of(two + R"("w":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})", 20), "leaves a gap"},
  };
  for (const auto& [text, fault] : files) {
    put(folder / "bad", text);
    CHECK_THROWS_WITH_AS(read_safetensors(folder / "bad"), Contains(fault), std::runtime_error);
    CHECK_THROWS_WITH_AS(read_safetensors(folder / "bad"), Contains((folder / "bad").c_str()), std::runtime_error);
  }
  // A header may be long, up to 100 MB; what claims more is not even read.
  put(folder / "long", file_of(std::string(2'000'000, ' ').replace(0, 2, "{}"), 0));
  CHECK(read_safetensors(folder / "long").tensors.empty());
  for (const auto& [claimed, fault] :
       {std::pair{100'000'001, "claims a header of 100000001 bytes"}, std::pair{100'000'000, "is not a JSON object"}}) {
    const uint64_t length = static_cast<uint64_t>(claimed);
    put(folder / "hole", std::string(reinterpret_cast<const char*>(&length), sizeof length));
    fs::resize_file(folder / "hole", 200'000'000);  // of zeros that take no room
    CHECK_THROWS_WITH(read_safetensors(folder / "hole"), Contains(fault));
  }
  CHECK_THROWS_WITH_AS(read_safetensors(folder / "missing"), Contains("missing' does not exist"), std::runtime_error);
  CHECK_THROWS_WITH_AS(read_safetensors(folder.path.string()), Contains("is a directory"), std::runtime_error);
  CHECK_THROWS_WITH_AS(read_safetensors("/dev/null"), Contains("is not a regular file"), std::runtime_error);
}

TEST_CASE("safetensors: names are shown without control characters, and not at full length") {
  CHECK(printable("h.0.größe") == "h.0.größe");
  CHECK(printable("a\x1b]0;b\x07\r\n\x7f") == "a\\x1b]0;b\\x07\\x0d\\x0a\\x7f");
  CHECK(printable("a\xC2\x9B"
                  "2J") == "a\\x9b2J");  // U+009B, a control sequence's beginning
  CHECK(printable(std::string(300, 'x')) == std::string(200, 'x') + "…");
  CHECK(printable(std::string(199, 'x') + "ßy") == std::string(199, 'x') + "ß…");
}

TEST_CASE("safetensors: a good file cut anywhere is refused") {
  const Folder folder;
  write_safetensors(folder / "x", sample());
  const std::string whole = contents(folder / "x");
  for (size_t length = 0; length < whole.size(); length += 7) {
    put(folder / "x", whole.substr(0, length));
    CHECK_THROWS_AS(read_safetensors(folder / "x"), std::runtime_error);
  }
}

TEST_CASE("files: a target that cannot be written leaves nothing behind and nothing changed") {
  const Folder folder;
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "no/such/x", sample()),
                       Contains("cannot be written: No such file or directory"), std::runtime_error);
  fs::create_directory(folder.path / "taken");
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "taken", sample()), Contains("is not a regular file"),
                       std::runtime_error);
  CHECK_THROWS_WITH_AS(write_safetensors("/dev/null", sample()), Contains("is not a regular file"), std::runtime_error);
  TensorFile foreign = sample();
  foreign.metadata["text"] = "\xFF";
  CHECK_THROWS_WITH_AS(write_safetensors(folder / "x", foreign), Contains("no UTF-8"), std::runtime_error);
  CHECK(folder.count() == 1);

  put(folder / "kept", "before");
  CHECK_THROWS_WITH_AS(write_file_atomically(folder / "kept",
                                             [](std::ostream& out) {
                                               out << "half";
                                               throw std::runtime_error("stopped");
                                             }),
                       "stopped", std::runtime_error);
  CHECK_THROWS_WITH_AS(
      write_file_atomically(folder / "kept", [](std::ostream& out) { out.setstate(std::ios::badbit); }),
      Contains("cannot be written"), std::runtime_error);
  CHECK(contents(folder / "kept") == "before");
  CHECK(folder.count() == 2);
  write_file_atomically(folder / "kept", [](std::ostream& out) { out << "after"; });
  CHECK(contents(folder / "kept") == "after");
  CHECK(folder.count() == 2);
}
