#include "demos/run/checkpoint.h"

#include <charconv>
#include <set>

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/safetensors.h"

namespace borealis {

namespace {

using nlohmann::json;

const char* const format = "borealis-gpt-2";
const std::string optimizer_prefix = "optimizer/";

// A byte is no text in JSON's eyes, so the vocabulary is kept as numbers.
std::string bytes_to_json(const std::string& bytes) {
  json j = json::array();
  for (const char c : bytes) j.push_back(static_cast<unsigned char>(c));
  return j.dump();
}

// JSON of one level: a list or an object without anything nested, and no key twice.
json parse_flat(const std::string& text) {
  std::set<std::string> keys;
  const auto keep = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > 0 &&
        (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start))
      fail("a list or object inside another");
    if (event == json::parse_event_t::key && !keys.insert(value.get<std::string>()).second)
      fail("'", value.get<std::string>(), "' comes twice");
    return true;
  };
  json parsed = json::parse(text, keep, false);
  if (parsed.is_discarded()) fail("what should be JSON is none");
  return parsed;
}

std::string bytes_from_json(const std::string& text) {
  std::string bytes;
  int last = -1;
  for (const json& b : parse_flat(text)) {
    if (!b.is_number_unsigned() || b.get<uint64_t>() > 255)
      fail("the vocabulary holds what is no byte");
    const int byte = b.get<int>();
    if (byte <= last) fail("the bytes of the vocabulary do not ascend");
    last = byte;
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

// Only digits, and nothing that does not fit.
template <class Number>
Number number_from(const std::string& key, const std::string& text) {
  Number n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size() || text[0] == '-')
    fail(key, " '", text, "' is no count");
  return n;
}

// Each setting as write_checkpoint() writes it: a whole number may not be a fraction or below 0
// where it cannot be, nor a number a text.
TrainOptions options_from(const std::string& text) {
  const json given = parse_flat(text), written = to_json(TrainOptions{});
  if (!given.is_object()) fail("the options are no JSON object");
  for (const auto& [key, like] : written.items()) {
    const auto found = given.find(key);
    if (found == given.end()) fail("the options lack ", key);
    const bool good = like.is_number_unsigned()  ? found->is_number_unsigned()
                      : like.is_number_integer() ? found->is_number_integer()
                                                 : found->type() == like.type();
    if (!good) fail("option ", key, " is of another type");
  }
  return train_options_from_json(given);
}

// Whether the weights in a file can be such a model's, told before one is made: what a file claims
// must not cost more memory than what it holds.
void check_size(const GptConfig& model, const std::map<std::string, Tensor>& weights) {
  int64_t numbers = 0;
  for (const auto& [name, t] : weights) numbers += t.numel();
  const int64_t needed = parameter_count(model);
  if (needed > numbers)
    fail("a model of ", needed, " parameters, but weights of ", numbers, " numbers");
  // A block has six weights at least.
  const auto tensors = static_cast<int64_t>(weights.size());
  if (tensors < 6 * model.n_layer)
    fail("a model of ", model.n_layer, " layers, but weights of ", tensors, " tensors");
}

}  // namespace

void write_checkpoint(const std::string& path, const Checkpoint& c) {
  TensorFile file;
  file.metadata = {{"format", format},
                   {"options", to_json(c.options).dump()},
                   {"step", std::to_string(c.step)},
                   {"vocabulary", bytes_to_json(c.vocabulary)},
                   {"text_fingerprint", std::to_string(c.fingerprint)}};
  file.tensors = c.weights;
  for (const auto& [name, t] : c.optimizer) file.tensors[optimizer_prefix + name] = t;
  write_safetensors(path, file);
}

Checkpoint read_checkpoint(const std::string& path) {
  TensorFile file = read_safetensors(path);
  if (file.metadata["format"] != format)
    fail_runtime(path, ": is a safetensors file, but no checkpoint of train_gpt");
  Checkpoint c;
  for (auto& [name, t] : file.tensors)
    if (name.rfind(optimizer_prefix, 0) == 0)
      c.optimizer[name.substr(optimizer_prefix.size())] = t;
    else
      c.weights[name] = t;
  const auto text = [&](const char* key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) fail("it has no ", key);
    return found->second;
  };
  try {
    c.options = options_from(text("options"));
    check(c.options);
    c.options.model.check();
    c.step = number_from<int64_t>("step", text("step"));
    if (c.step > c.options.max_iters) fail("step ", c.step, " of ", c.options.max_iters);
    c.vocabulary = bytes_from_json(text("vocabulary"));
    if (static_cast<int64_t>(c.vocabulary.size()) != c.options.model.vocab)
      fail(c.vocabulary.size(), " different bytes for a model of ", c.options.model.vocab);
    c.fingerprint = number_from<uint64_t>("text_fingerprint", text("text_fingerprint"));
    check_size(c.options.model, c.weights);
    for (const auto& [name, t] : c.optimizer)
      if (t.dtype() == DType::i32) fail("'", optimizer_prefix, name, "' holds integers");
  } catch (const std::exception& e) {
    fail_runtime(path, ": its description is damaged (", printable(e.what()), ")");
  }
  return c;
}

}  // namespace borealis
