#include "engine/safetensors.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <set>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/files.h"

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

namespace borealis {

namespace {

using nlohmann::json;

constexpr uint64_t header_limit = 100'000'000;  // as in the format's own reader

// Types in files: how many bytes a number takes there, and what it becomes here.
struct FileType {
  const char* name;
  uint64_t bytes;
  DType dtype;
};
constexpr FileType file_types[] = {{"F64", 8, DType::f64}, {"F32", 4, DType::f32}, {"BF16", 2, DType::f32},
                                   {"F16", 2, DType::f32}, {"I64", 8, DType::i32}, {"I32", 4, DType::i32}};

float from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// Moves exponent and fraction to f32's places and corrects the exponent's offset by an exact
// product, which also gets denormals right; infinity and NaN keep an exponent of all ones.
float from_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, rest = uint32_t{bits & 0x7FFFu} << 13;
  const uint32_t magnitude =
      rest >= 0x0F800000u ? rest | 0x7F800000u : std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f);
  return std::bit_cast<float>(sign | magnitude);
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  TensorFile read() {
    open();
    TensorFile file;
    std::vector<Entry> entries;
    take_header(read_header(), file.metadata, entries);
    check_places(entries);
    for (const Entry& e : entries) file.tensors.emplace(e.name, load(e));
    return file;
  }

 private:
  struct Entry {
    std::string name;
    const FileType* type;
    Shape shape;
    uint64_t begin, end;  // bytes after the header
  };

  std::string path_;
  std::ifstream in_;
  uint64_t data_start_ = 0, data_bytes_ = 0;

  template <class... Parts> [[noreturn]] void fault(const Parts&... parts) const {
    fail_runtime("safetensors: '", path_, "' ", parts...);
  }

  void open() {
    std::error_code error;
    const auto kind = std::filesystem::status(path_, error).type();
    if (kind == std::filesystem::file_type::not_found) fault("does not exist");
    if (kind == std::filesystem::file_type::directory) fault("is a directory, not a file");
    if (kind != std::filesystem::file_type::regular) fault("is not a regular file");
    data_bytes_ = std::filesystem::file_size(path_, error);
    in_.open(path_, std::ios::binary);
    if (error || !in_) fault("cannot be opened");
    if (data_bytes_ == 0) fault("is empty");
  }

  std::string read_header() {
    uint64_t length = 0;
    if (data_bytes_ < sizeof length) fault("has only ", data_bytes_, " bytes: no header");
    get(&length, sizeof length);
    data_bytes_ -= sizeof length;
    if (length > header_limit || length > data_bytes_)
      fault("claims a header of ", length, " bytes, but ", data_bytes_,
            " bytes follow: it is truncated or no safetensors file");
    std::string text(length, '\0');
    get(text.data(), length);
    data_bytes_ -= length;
    data_start_ = sizeof length + length;
    return text;
  }

  // Takes each entry when the parser has read it, and drops it then. What nests deeper than the
  // list in a tensor's entry is refused where it begins: it would cost far more than its text.
  void take_header(const std::string& text, std::map<std::string, std::string>& metadata_out,
                   std::vector<Entry>& entries) const {
    using Event = json::parse_event_t;
    std::set<std::string> names, fields;
    std::string name;
    const auto take = [&](int depth, Event event, json& value) {
      const bool begins = event == Event::object_start || event == Event::array_start;
      const bool other = event == Event::array_start || event == Event::value;  // than an object
      if (depth == 0 && other) no_object();
      if (depth == 1 && other && name == "__metadata__") fault("has metadata that is not a JSON object");
      if (depth == 1 && other) fault("has a tensor '", printable(name), "' whose entry is not a JSON object");
      if (begins && depth > (event == Event::object_start ? 1 : 2))
        fault("has a header that nests too deep, in the entry '", printable(name), "'");
      if (event == Event::key && depth == 1) {
        name = value.get_ref<const std::string&>();
        fields.clear();
        if (!names.insert(name).second) fault("has two entries '", printable(name), "'");
      } else if (event == Event::key) {
        const auto& field = value.get_ref<const std::string&>();
        if (!fields.insert(field).second)
          fault("has '", printable(field), "' twice in the entry '", printable(name), "'");
      } else if (event == Event::object_end && depth == 1) {
        if (name == "__metadata__")
          metadata_out = metadata(value);
        else
          entries.push_back(entry(name, value));
        return false;
      }
      return true;
    };
    if (!json::parse(text, take, false).is_object()) no_object();
  }

  [[noreturn]] void no_object() const { fault("has a header that is not a JSON object"); }

  void get(void* data, uint64_t bytes) {
    in_.read(static_cast<char*>(data), static_cast<std::streamsize>(bytes));
    if (!in_) fault("could not be read to its end");
  }

  std::map<std::string, std::string> metadata(const json& value) const {
    std::map<std::string, std::string> out;
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fault("has metadata '", printable(key), "' that is not a string");
      out[key] = text.get<std::string>();
    }
    return out;
  }

  Entry entry(const std::string& name, const json& value) const {
    const auto bad = [&](const auto&... what) { fault("has a tensor '", printable(name), "' ", what...); };
    const auto is_count = [](const json& n) {
      return n.is_number_unsigned() && n.get<uint64_t>() <= std::numeric_limits<int64_t>::max();
    };
    const auto counts = [&](const char* field) {  // null: no list of counts
      const auto found = value.find(field);
      const bool good =
          found != value.end() && found->is_array() && std::all_of(found->begin(), found->end(), is_count);
      return good ? &*found : nullptr;
    };
    const auto dtype = value.find("dtype");
    const json *shape = counts("shape"), *offsets = counts("data_offsets");
    if (dtype == value.end() || !dtype->is_string()) bad("without a dtype");
    if (!shape) bad("without a shape of non-negative integers");
    if (!offsets || offsets->size() != 2) bad("without two data_offsets");

    const auto& dtype_name = dtype->get_ref<const std::string&>();
    const FileType* type = std::find_if(std::begin(file_types), std::end(file_types),
                                        [&](const FileType& t) { return t.name == dtype_name; });
    if (type == std::end(file_types))
      bad("of dtype ", printable(dtype_name), "; this reader knows F64, F32, BF16, F16, I64 and I32");

    Entry e{name, type, {}, offsets->at(0).get<uint64_t>(), offsets->at(1).get<uint64_t>()};
    const auto sizes = shape->get<std::vector<int64_t>>();
    try {
      e.shape = Shape(std::span<const int64_t>(sizes));
    } catch (const std::invalid_argument& error) {
      bad("with an impossible shape: ", error.what());
    }
    if (e.begin > e.end || e.end > data_bytes_)
      bad("at bytes ", e.begin, " … ", e.end, ", but the data are ", data_bytes_,
          " bytes: the file is truncated or damaged");
    if (static_cast<uint64_t>(e.shape.numel()) * type->bytes != e.end - e.begin)
      bad("whose ", dtype_name, e.shape, " does not take the ", e.end - e.begin, " bytes given");
    return e;
  }

  // The tensors must lie one after the other, without overlap or gap, up to the end of the file.
  void check_places(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t end = 0;
    for (const Entry& e : entries) {
      if (e.begin != end)
        fault("has a tensor '", printable(e.name), "' that ",
              e.begin < end ? "overlaps another" : "leaves a gap before it");
      end = e.end;
    }
    if (end != data_bytes_) fault("has ", data_bytes_ - end, " bytes at its end that no tensor owns");
  }

  Tensor load(const Entry& e) {
    const Tensor t(e.shape, e.type->dtype);
    if (t.numel() == 0) return t;
    in_.seekg(static_cast<std::streamoff>(data_start_ + e.begin));
    const std::string type = e.type->name;
    if (type == "BF16")
      convert<uint16_t>(t.data<float>(), e, from_bf16);
    else if (type == "F16")
      convert<uint16_t>(t.data<float>(), e, from_f16);
    else if (type == "I64")
      convert<int64_t>(t.data<int32_t>(), e, [&](int64_t n) {
        if (n != static_cast<int32_t>(n))
          fault("has a tensor '", printable(e.name), "' with the number ", n, ", which does not fit into i32");
        return static_cast<int32_t>(n);
      });
    else
      get(t.raw(), e.end - e.begin);
    return t;
  }

  template <class Stored, class T, class F> void convert(T* out, const Entry& e, F f) {
    std::vector<Stored> stored((e.end - e.begin) / sizeof(Stored));
    get(stored.data(), e.end - e.begin);
    std::transform(stored.begin(), stored.end(), out, f);
  }
};

// "F32": what files say for f32.
std::string file_name(DType t) {
  std::string text = name(t);
  for (char& c : text) c = static_cast<char>(std::toupper(c));
  return text;
}

}  // namespace

std::string printable(const std::string& text, size_t longest) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool inside = (byte & 0xC0) == 0x80;  // of a character of several bytes
    if (out.size() >= longest && !inside) return out + "…";
    // U+0080 … U+009F, C2 80 … C2 9F in UTF-8, are control characters too.
    const bool control = byte < 0x20 || byte == 0x7F || (inside && byte < 0xA0 && i > 0 && text[i - 1] == '\xC2');
    if (!control) {
      out.push_back(text[i]);
      continue;
    }
    if (inside) out.pop_back();
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\x%02x", byte);
    out += escape;
  }
  return out;
}

TensorFile read_safetensors(const std::string& path) try { return Reader(path).read(); } catch (const std::bad_alloc&) {
  fail_runtime("safetensors: '", path, "' does not fit into the memory there is");
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  std::vector<std::pair<std::string, Tensor>> order(file.tensors.begin(), file.tensors.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return size_of(a.second.dtype()) > size_of(b.second.dtype()); });

  json header = json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  uint64_t end = 0;
  for (const auto& [name, t] : order) {
    const uint64_t begin = end;
    end += static_cast<uint64_t>(t.numel()) * size_of(t.dtype());
    json& entry = header[name];
    entry["dtype"] = file_name(t.dtype());
    entry["shape"] = std::vector<int64_t>(t.shape().sizes().begin(), t.shape().sizes().end());
    entry["data_offsets"] = {begin, end};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    fail_runtime("safetensors: '", path, "' cannot be written: a name or a metadata text is no UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');

  write_file_atomically(path, [&](std::ostream& out) {
    const uint64_t length = text.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out.write(text.data(), static_cast<std::streamsize>(length));
    for (const auto& [name, t] : order) {
      const Tensor on_cpu = t.to(Device{});
      out.write(static_cast<const char*>(on_cpu.raw()),
                static_cast<std::streamsize>(static_cast<size_t>(t.numel()) * size_of(t.dtype())));
    }
  });
}

}  // namespace borealis
