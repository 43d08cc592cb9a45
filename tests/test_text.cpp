// Text as training data: bytes to tokens and back, blocks, windows and the split.
#include <set>

#include <doctest/doctest.h>

#include "demos/run/text.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

std::vector<int32_t> row(const Tensor& t, int64_t i) {
  const int32_t* first = t.data<int32_t>() + i * t.size(1);
  return {first, first + t.size(1)};
}

TokenStream counting(int64_t size) {  // 0, 1, 2, …: a token is its place
  std::vector<int32_t> tokens(static_cast<size_t>(size));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  return TokenStream(tokens);
}

std::string every_byte() {
  std::string all;
  for (int b = 255; b >= 0; --b) all += static_cast<char>(b);
  return all;
}

}  // namespace

TEST_CASE("text: a token is a byte's place among those that occur") {
  const ByteVocabulary some("banana\n");
  CHECK(some.bytes() == "\nabn");
  CHECK(some.size() == 4);
  CHECK(some.encode("nab\n") == std::vector<int32_t>{3, 1, 2, 0});
  CHECK(some.encode("").empty());
  const ByteVocabulary all(every_byte());
  REQUIRE(all.size() == 256);
  const std::vector<int32_t> tokens = all.encode(every_byte());
  for (size_t i = 0; i < 256; ++i) {
    CHECK(tokens[i] == 255 - static_cast<int32_t>(i));
    CHECK(all.decode(tokens[i]) == every_byte()[i]);
  }
  const auto unknown = [&](const std::string& text) {
    return "text: byte " + text + " does not occur in the text the model was trained on";
  };
  CHECK_THROWS_WITH(some.encode("ban~"), unknown("126 ('~') at place 3").c_str());
  CHECK_THROWS_WITH(some.encode(" "), unknown("32 (' ') at place 0").c_str());
  CHECK_THROWS_WITH(some.encode("a\x7f"), unknown("127 at place 1").c_str());
  CHECK_THROWS_WITH(some.encode("\x1f"), unknown("31 at place 0").c_str());
  CHECK_THROWS_WITH(some.encode("\xff"), unknown("255 at place 0").c_str());
}

TEST_CASE("text: windows lie side by side, and a target is the token after its input") {
  const TokenStream data = counting(13);
  CHECK(data.size() == 13);
  CHECK(data.window_count(4) == 3);
  CHECK(data.window_count(6) == 2);
  CHECK(data.window_count(12) == 1);
  CHECK(data.window_count(13) == 0);
  const TokenBatch b = data.windows(1, 2, 4);
  CHECK(b.inputs.shape() == Shape{2, 4});
  CHECK(row(b.inputs, 0) == std::vector<int32_t>{4, 5, 6, 7});
  CHECK(row(b.inputs, 1) == std::vector<int32_t>{8, 9, 10, 11});
  CHECK(row(b.targets, 0) == std::vector<int32_t>{5, 6, 7, 8});
  CHECK(row(b.targets, 1) == std::vector<int32_t>{9, 10, 11, 12});
}

TEST_CASE("text: random blocks come from every place they fit, the first and the last too") {
  const TokenStream data = counting(9);
  Rng rng(4);
  std::set<int32_t> starts;
  for (int i = 0; i < 100; ++i) {
    const TokenBatch b = data.random_batch(3, 5, rng);
    REQUIRE(b.inputs.shape() == Shape{3, 5});
    for (int64_t r = 0; r < 3; ++r) {
      const std::vector<int32_t> in = row(b.inputs, r), next = row(b.targets, r);
      starts.insert(in[0]);
      for (size_t t = 0; t < 5; ++t) {
        CHECK(in[t] == in[0] + static_cast<int32_t>(t));
        CHECK(next[t] == in[t] + 1);
      }
    }
  }
  CHECK(starts == std::set<int32_t>{0, 1, 2, 3});
}

TEST_CASE("text: nine tenths to train on, the rest to validate") {
  std::string text;
  for (int i = 0; i < 105; ++i) text += static_cast<char>('a' + i % 7);
  const Corpus corpus(text, 10, "it");
  CHECK(corpus.train.size() == 94);
  CHECK(corpus.val.size() == 11);
  CHECK(corpus.vocabulary.bytes() == "abcdefg");
  CHECK(row(corpus.val.windows(0, 1, 10).inputs, 0) ==
        corpus.vocabulary.encode(text.substr(94, 10)));
  CHECK(row(corpus.train.windows(0, 1, 10).inputs, 0) ==
        corpus.vocabulary.encode(text.substr(0, 10)));
  CHECK_THROWS_WITH(Corpus(text, 11, "it"),
                    "it: 105 bytes are too few: the last tenth must hold a block of 11 and one "
                    "more; use a longer text or a smaller --block_size");
  // A text of one byte has no first nine tenths at all.
  CHECK_THROWS(Corpus("a", 1, "it"));
}

TEST_CASE("text: its fingerprint is FNV-1a of all its bytes") {
  std::string text = "any text, and bytes that are negative as char: \xff\x80";
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  CHECK(Corpus(text, 1, "it").fingerprint == hash);
}

TEST_CASE("text: a file is read byte by byte, and the project's own sources are a text") {
  const Folder f;
  const std::string bytes = every_byte() + "\r\n" + every_byte();
  write(f / "bytes", bytes);
  CHECK(read_text(f / "bytes") == bytes);
  CHECK_THROWS_AS(read_text(f / "missing"), std::runtime_error);
  write(f / "empty", "");
  CHECK_THROWS_AS(read_text(f / "empty"), std::runtime_error);
  CHECK_THROWS_AS(read_text(f.path.string()), std::runtime_error);

  const std::string own = own_sources();
  CHECK(own == own_sources());
  for (const char* file : {"/autograd/var.cpp", "/engine/README.md", "/demos/run/text.h",
                           "/tests/test_text.cpp", "/optim/aurora.h", "/nn/gpt.cpp"})
    CHECK_MESSAGE(own.find(read(BOREALIS_SOURCE + std::string(file))) != std::string::npos, file);
  CHECK(own.find(read(BOREALIS_SOURCE + std::string("/LICENSE"))) == std::string::npos);
  CHECK(own.find(read(BOREALIS_SOURCE + std::string("/tests/CMakeLists.txt"))) ==
        std::string::npos);
  size_t end = 0;  // in the order of their paths
  for (const char* file : {"/autograd/gradcheck.cpp", "/autograd/var.h", "/engine/backend.cpp",
                           "/tests/bench/bench.cpp", "/tests/main.cpp"}) {
    const size_t at = own.find(read(BOREALIS_SOURCE + std::string(file)), end);
    REQUIRE_MESSAGE(at != std::string::npos, file);
    end = at + 1;
  }
}
