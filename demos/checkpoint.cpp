#include "demos/checkpoint.h"

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/safetensors.h"

namespace borealis {

namespace {

const char* const format = "borealis-gpt-2";
const std::string optimizer_prefix = "optimizer/";

// A byte is no text in JSON's eyes, so the vocabulary is kept as numbers.
std::string bytes_to_json(const std::string& bytes) {
  nlohmann::json j = nlohmann::json::array();
  for (const char c : bytes) j.push_back(static_cast<unsigned char>(c));
  return j.dump();
}

std::string bytes_from_json(const std::string& text) {
  std::string bytes;
  for (const nlohmann::json& b : nlohmann::json::parse(text))
    bytes.push_back(static_cast<char>(b.get<uint8_t>()));
  return bytes;
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
  try {
    c.options = train_options_from_json(nlohmann::json::parse(file.metadata.at("options")));
    c.step = std::stoll(file.metadata.at("step"));
    c.vocabulary = bytes_from_json(file.metadata.at("vocabulary"));
    c.fingerprint = std::stoull(file.metadata.at("text_fingerprint"));
  } catch (const std::exception& e) {
    fail_runtime(path, ": its description is damaged (", e.what(), ")");
  }
  if (static_cast<int64_t>(c.vocabulary.size()) != c.options.model.vocab)
    fail_runtime(path, ": its description is damaged (", c.vocabulary.size(),
                 " different bytes for a model of ", c.options.model.vocab, ")");
  for (auto& [name, t] : file.tensors)
    if (name.rfind(optimizer_prefix, 0) == 0)
      c.optimizer[name.substr(optimizer_prefix.size())] = t;
    else
      c.weights[name] = t;
  return c;
}

}  // namespace borealis
