#include "nn/checkpoint.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "nn/weights.h"

namespace borealis {

namespace {

using nlohmann::json;

template <class F> void for_each_field(GptConfig& c, F&& f) {
  f("vocab", c.vocab);
  f("block_size", c.block_size);
  f("n_layer", c.n_layer);
  f("n_head", c.n_head);
  f("n_embd", c.n_embd);
  f("style", c.style);
  f("norm", c.norm);
  f("norm_eps", c.norm_eps);
  f("norm_after_embedding", c.norm_after_embedding);
  f("position", c.position);
  f("qk_norm", c.qk_norm);
  f("attention_scale", c.attention_scale);
  f("mlp", c.mlp);
  f("mlp_expansion", c.mlp_expansion);
  f("tied", c.tied);
  f("logit_cap", c.logit_cap);
  f("bias", c.bias);
  f("dropout", c.dropout);
}

json to_json(GptConfig c) {
  json j;
  for_each_field(c, [&](const char* key, const auto& field) { put_setting(j[key], field); });
  return j;
}

// What is not given is as in the style: train_gpt writes only what its flags can change.
GptConfig config_from(const json& given) {
  if (!given.is_object()) fail("the options are no JSON object");
  const json like = to_json({});
  const auto find = [&](const std::string& key) {
    const auto found = given.find(key);
    if (found != given.end() &&
        (like[key].is_number_integer() ? !found->is_number_integer() : found->type() != like[key].type()))
      fail("option ", key, " is of another type");
    return found;
  };
  const auto style = find("style");
  if (style == given.end()) fail("the options lack style");
  GptConfig c = parse<Style>(style->get<std::string>()) == Style::modern ? GptConfig::modern() : GptConfig::gpt2();
  for_each_field(c, [&](const char* key, auto& field) {
    if (const auto found = find(key); found != given.end()) get_setting(*found, field);
  });
  return c;
}

// JSON of one level: a list or an object without anything nested, and no key twice.
json parse_flat(const std::string& text) {
  std::set<std::string> keys;
  const auto keep = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > 0 && (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start))
      fail("a list or object inside another");
    if (event == json::parse_event_t::key && !keys.insert(value.get<std::string>()).second)
      fail("'", value.get<std::string>(), "' comes twice");
    return true;
  };
  json parsed = json::parse(text, keep, false);
  if (parsed.is_discarded()) fail("what should be JSON is none");
  return parsed;
}

Vocabulary vocabulary_from(const json& list) {
  std::vector<std::string> pieces;
  for (const json& item : list) {
    std::string piece;
    if (item.is_string())
      piece = item.get<std::string>();
    else if (item.is_number_unsigned() && item.get<uint64_t>() < 256)
      piece = static_cast<char>(item.get<int>());
    else
      fail("the vocabulary holds what is no byte");
    if (item.is_string() != list[0].is_string() ||
        (item.is_string() && (piece.empty() || character_length(piece) != piece.size())))
      fail("the vocabulary holds what is no character");
    if (!pieces.empty() && !(pieces.back() < piece))
      fail("the ", item.is_string() ? "characters" : "bytes", " of the vocabulary do not ascend");
    pieces.push_back(std::move(piece));
  }
  return Vocabulary(std::move(pieces));
}

bool is_weight(const std::string& name) { return !name.starts_with(optimizer_prefix); }

// Whether the weights in a file can be such a model's, told before one is made: what a file claims
// must not cost more memory than what it holds.
void check_size(const GptConfig& model, const std::map<std::string, Tensor>& tensors) {
  int64_t numbers = 0, weights = 0;
  for (const auto& [name, t] : tensors)
    if (is_weight(name)) numbers += t.numel(), ++weights;
  const int64_t needed = parameter_count(model);
  if (needed > numbers) fail("a model of ", needed, " parameters, but weights of ", numbers, " numbers");
  // A block has six weights at least.
  if (weights < 6 * model.n_layer) fail("a model of ", model.n_layer, " layers, but weights of ", weights, " tensors");
}

}  // namespace

std::string to_json_text(const Vocabulary& vocabulary) {
  json list = json::array();
  const std::vector<std::string>& pieces = vocabulary.pieces();
  const bool bytes =
      std::all_of(pieces.begin(), pieces.end(), [](const std::string& piece) { return piece.size() == 1; });
  for (const std::string& piece : pieces)
    if (bytes)  // which may be no text in JSON's eyes
      list.push_back(static_cast<unsigned char>(piece[0]));
    else
      list.push_back(piece);
  return list.dump();
}

ModelDescription describe(const TensorFile& file, const std::string& source) {
  const auto text = [&](const char* key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) fail("it has no ", key);
    return found->second;
  };
  const auto format = file.metadata.find("format");
  if (format == file.metadata.end() || format->second != checkpoint_format)
    fail_runtime(source, ": is a safetensors file, but no checkpoint of Borealis");
  ModelDescription d;
  try {
    d.config = config_from(parse_flat(text("options")));
    d.config.check();
    d.vocabulary = vocabulary_from(parse_flat(text("vocabulary")));
    if (d.vocabulary.size() != d.config.vocab)
      fail(d.vocabulary.size(), " different ", d.vocabulary.unit(), " for a model of ", d.config.vocab);
    check_size(d.config, file.tensors);
  } catch (const std::exception& e) {
    fail_runtime(source, ": its description is damaged (", printable(e.what()), ")");
  }
  return d;
}

void save(const std::string& path, const Gpt& model, const Vocabulary& vocabulary) {
  if (vocabulary.size() != model.config.vocab)
    fail("save: a vocabulary of ", vocabulary.size(), " ", vocabulary.unit(), " is not that of a model of ",
         model.config.vocab);
  write_safetensors(path, {{{"format", checkpoint_format},
                            {"options", to_json(model.config).dump()},
                            {"vocabulary", to_json_text(vocabulary)}},
                           to_file(model.parameters())});
}

SavedModel load(const std::string& path, Device device) {
  TensorFile file = read_safetensors(path);
  auto [config, vocabulary] = describe(file, path);
  std::erase_if(file.tensors, [](const auto& entry) { return !is_weight(entry.first); });
  Rng unused(0);  // draws weights that the file's replace
  SavedModel saved{Gpt(config, unused, DType::f32, device), std::move(vocabulary)};
  from_file(saved.model.parameters(), file.tensors, path);
  return saved;
}

}  // namespace borealis
