// A model and its vocabulary in one safetensors file: weights under the names other tools use, the
// rest in its metadata. demos/run/checkpoint.h keeps a whole run in a file of this kind.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include "../engine/safetensors.h"
#include "gpt.h"
#include "text.h"

namespace borealis {

// The same model gives the same bytes, and the file is there whole or not at all.
void save(const std::string& path, const Gpt& model, const Vocabulary& vocabulary);

struct SavedModel {
  Gpt model;
  Vocabulary vocabulary;
};

// Of a file that save() or train_gpt wrote. Fails in one sentence on one that is missing, damaged
// or something else, before it costs more memory than the file has.
SavedModel load(const std::string& path, Device device = {});

// --- for files that hold more than a model -----------------------------------------------------

inline constexpr const char* checkpoint_format = "borealis-gpt-2";
// Of tensors that are no weights.
inline constexpr std::string_view optimizer_prefix = "optimizer/";

// A setting in JSON (nlohmann's; not included here), an enumerator as its word.
template <class Json, class Field> void put_setting(Json& json, const Field& field) {
  if constexpr (std::is_enum_v<Field>)
    json = name(field);
  else
    json = field;
}
template <class Json, class Field> void get_setting(const Json& json, Field& field) {
  if constexpr (std::is_enum_v<Field>)
    field = parse<Field>(json.template get<std::string>());
  else
    json.get_to(field);
}

// A list in JSON: of numbers where each piece is a byte, else of characters.
std::string to_json_text(const Vocabulary& vocabulary);

struct ModelDescription {
  GptConfig config;
  Vocabulary vocabulary;
};
// What the metadata says of the model, once it holds together and the weights can fill it; whether
// each weight fits is from_file()'s to say. `source` names the file.
ModelDescription describe(const TensorFile& file, const std::string& source);

}  // namespace borealis
