#include "nn/weights.h"

#include "engine/math.h"

namespace borealis {

namespace {

// Calls f(name, part) for each tensor a file keeps of this parameter; `whole` is split by rows.
template <class F>
void for_each_part(const Parameter& p, const Tensor& whole, F f) {
  if (p.block_names.empty()) return f(p.name, whole);
  const int64_t rows = whole.size(0) / p.blocks;
  for (int64_t b = 0; b < p.blocks; ++b)
    f(p.block_names[static_cast<size_t>(b)], whole.rows(b * rows, rows));
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The weights that Hugging Face's GPT-2 keeps as Conv1D, [in, out].
bool is_conv1d(const std::string& name) {
  return ends_with(name, "attn.c_attn.weight") || ends_with(name, "attn.c_proj.weight") ||
         ends_with(name, "mlp.c_fc.weight") || ends_with(name, "mlp.c_proj.weight");
}

const Tensor* find(const std::map<std::string, Tensor>& tensors, const std::string& name) {
  const std::string prefix = "transformer.";
  auto it = tensors.find(name);
  if (it == tensors.end() && name.rfind(prefix, 0) == 0)
    it = tensors.find(name.substr(prefix.size()));
  return it == tensors.end() ? nullptr : &it->second;
}

// Whether a file stores its Conv1D weights transposed: c_attn [3C, C] shows it, being never square.
bool stores_transposed(const ParamList& params, const std::map<std::string, Tensor>& tensors) {
  for (const Parameter& p : params) {
    if (!ends_with(p.name, "attn.c_attn.weight")) continue;
    const Tensor* t = find(tensors, p.name);
    return t && t->shape() == Shape{p.var.shape()[1], p.var.shape()[0]};
  }
  return false;
}

}  // namespace

std::map<std::string, Tensor> to_file(const ParamList& params) {
  std::map<std::string, Tensor> tensors;
  for (const Parameter& p : params)
    for_each_part(p, p.var.value(), [&](const std::string& name, const Tensor& part) {
      tensors[name] = part.to(Device{}).clone();
    });
  return tensors;
}

void from_file(const ParamList& params, const std::map<std::string, Tensor>& tensors,
               const std::string& source) {
  const bool transposed = stores_transposed(params, tensors);
  std::vector<std::pair<Tensor, Tensor>>
      copies;  // target, source: checked before the first is made
  for (const Parameter& p : params)
    for_each_part(p, p.var.value(), [&](const std::string& name, const Tensor& part) {
      const Tensor* found = find(tensors, name);
      if (!found) fail_runtime(source, ": has no tensor '", name, "'; it is of another model");
      const Tensor t = transposed && is_conv1d(name) ? permute(*found, {1, 0}) : *found;
      if (!(t.shape() == part.shape()))
        fail_runtime(source, ": '", name, "' is ", found->shape(), " but the model's is ",
                     part.shape());
      copies.emplace_back(part, t);
    });
  for (const auto& [to, from] : copies) to.copy_from(from);
}

}  // namespace borealis
