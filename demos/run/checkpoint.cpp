#include "demos/run/checkpoint.h"

#include <charconv>

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/safetensors.h"
#include "nn/checkpoint.h"

namespace borealis {

namespace {

using nlohmann::json;

// Only digits, and nothing that does not fit.
template <class Number> Number number_from(const std::string& key, const std::string& text) {
  Number n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size() || text[0] == '-')
    fail(key, " '", text, "' is no count");
  return n;
}

// Each setting as write_checkpoint() writes it: a whole number may not be a fraction or below 0
// where it cannot be, nor a number a text. That the text is a flat JSON object, describe() has
// said.
TrainOptions options_from(const std::string& text) {
  const json given = json::parse(text), written = to_json(TrainOptions{});
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

}  // namespace

uint64_t fingerprint_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

void write_checkpoint(const std::string& path, const Checkpoint& c) {
  TensorFile file;
  file.metadata = {{"format", checkpoint_format},
                   {"options", to_json(c.options).dump()},
                   {"step", std::to_string(c.step)},
                   {"vocabulary", to_json_text(c.vocabulary)},
                   {"text_fingerprint", std::to_string(c.fingerprint)}};
  file.tensors = c.weights;
  for (const auto& [name, t] : c.optimizer) file.tensors[std::string(optimizer_prefix) + name] = t;
  write_safetensors(path, file);
}

Checkpoint read_checkpoint(const std::string& path) {
  const TensorFile file = read_safetensors(path);
  Checkpoint c;
  c.vocabulary = describe(file, path).vocabulary;
  for (const auto& [name, t] : file.tensors)
    if (name.starts_with(optimizer_prefix))
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
    c.step = number_from<int64_t>("step", text("step"));
    if (c.step > c.options.max_iters) fail("step ", c.step, " of ", c.options.max_iters);
    c.fingerprint = number_from<uint64_t>("text_fingerprint", text("text_fingerprint"));
    for (const auto& [name, t] : c.optimizer)
      if (t.dtype() == DType::i32) fail("'", optimizer_prefix, name, "' holds integers");
  } catch (const std::exception& e) {
    fail_runtime(path, ": its description is damaged (", printable(e.what()), ")");
  }
  return c;
}

}  // namespace borealis
