#include "nn/weights.h"

#include <cstring>
#include <set>

#include "engine/math.h"
#include "engine/safetensors.h"

namespace borealis {

namespace {

// Calls f(name, part) for each tensor a file keeps of this parameter; `whole` is split by rows.
template <class F> void for_each_part(const Parameter& p, const Tensor& whole, F f) {
  check_blocks(p);
  if (p.block_names.empty()) return f(p.name, whole);
  const int64_t rows = whole.size(0) / p.blocks;
  for (int64_t b = 0; b < p.blocks; ++b) f(p.block_names[static_cast<size_t>(b)], whole.rows(b * rows, rows));
}

// The weights that Hugging Face's GPT-2 keeps as Conv1D, [in, out].
bool is_conv1d(const std::string& name) {
  return name.ends_with("attn.c_attn.weight") || name.ends_with("attn.c_proj.weight") ||
         name.ends_with("mlp.c_fc.weight") || name.ends_with("mlp.c_proj.weight");
}

const std::string prefix = "transformer.";

std::string without_prefix(const std::string& name) {
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

using TensorMap = std::map<std::string, Tensor>;

// By its name, or by its name without "transformer.".
TensorMap::const_iterator find(const TensorMap& tensors, const std::string& name) {
  const auto it = tensors.find(name);
  return it == tensors.end() ? tensors.find(without_prefix(name)) : it;
}

// "h.12.attn.bias" and "h.12.attn.masked_bias": the causal mask, which PyTorch keeps as a buffer.
bool is_mask(const std::string& name) {
  const std::string rest = without_prefix(name);
  if (!rest.starts_with("h.")) return false;
  const size_t digits = rest.find_first_not_of("0123456789", 2);
  if (digits == 2 || digits == std::string::npos) return false;
  const std::string buffer = rest.substr(digits);
  return buffer == ".attn.bias" || buffer == ".attn.masked_bias";
}

bool same_numbers(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype()) return false;
  const size_t bytes = static_cast<size_t>(a.numel()) * size_of(a.dtype());
  return bytes == 0 || std::memcmp(a.raw(), b.raw(), bytes) == 0;
}

// Whether a tensor that no parameter takes may stay behind: a mask, and the head of a model whose
// head is its embedding, if it is that.
bool may_be_left(const std::string& name, const Tensor& t, const TensorMap& tensors) {
  if (name != "lm_head.weight") return is_mask(name);
  const auto embedding = find(tensors, "transformer.wte.weight");
  return embedding != tensors.end() && same_numbers(t, embedding->second);
}

// Whether a file stores its Conv1D weights transposed: c_attn [3C, C] shows it, being never square.
bool stores_transposed(const ParamList& params, const TensorMap& tensors) {
  for (const Parameter& p : params) {
    if (!p.name.ends_with("attn.c_attn.weight")) continue;
    const auto it = find(tensors, p.name);
    return it != tensors.end() && it->second.shape() == Shape{p.var.shape()[1], p.var.shape()[0]};
  }
  return false;
}

}  // namespace

std::map<std::string, Tensor> to_file(const ParamList& params) {
  std::map<std::string, Tensor> tensors;
  for (const Parameter& p : params)
    for_each_part(p, p.var.value(),
                  [&](const std::string& name, const Tensor& part) { tensors[name] = part.to(Device{}).clone(); });
  return tensors;
}

void from_file(const ParamList& params, const std::map<std::string, Tensor>& tensors, const std::string& source) {
  const bool transposed = stores_transposed(params, tensors);
  std::vector<std::pair<Tensor, Tensor>> copies;  // target, source: checked before the first is made
  std::set<std::string> taken;
  for (const Parameter& p : params)
    for_each_part(p, p.var.value(), [&](const std::string& name, const Tensor& part) {
      const auto it = find(tensors, name);
      if (it == tensors.end()) fail_runtime(source, ": has no tensor '", name, "'; it is of another model");
      const Tensor& found = it->second;
      taken.insert(it->first);
      if (found.dtype() == DType::i32) fail_runtime(source, ": '", name, "' holds integers, which are no weights");
      const Tensor t = transposed && is_conv1d(name) ? permute(found, {1, 0}) : found;
      if (!(t.shape() == part.shape()))
        fail_runtime(source, ": '", name, "' is ", found.shape(), " but the model's is ", part.shape());
      const Tensor converted = t.to(part.dtype());
      if (!backend(converted.device()).all_finite(converted))
        fail_runtime(source, ": '", name, "' holds NaN or infinity; no model computes with that");
      copies.emplace_back(part, converted);
    });

  std::string first;
  int64_t left = 0;
  for (const auto& [name, t] : tensors) {
    if (taken.count(name) || may_be_left(name, t, tensors)) continue;
    if (left++ == 0) first = name;
  }
  if (left > 0)
    fail_runtime(source, ": has ", left, left == 1 ? " tensor" : " tensors", " that the model does not take, ",
                 left == 1 ? "" : "the first ", "'", printable(first), "'; it is of another model");
  for (const auto& [to, from] : copies) to.copy_from(from);
  for (const Parameter& p : params) p.var.mark_changed();
}

}  // namespace borealis
