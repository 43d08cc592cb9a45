#include "nn/layers.h"

namespace borealis {

namespace {

// "blocks.0.attn.q" -> "blocks.0.attn.q.weight"
std::vector<std::string> with_suffix(const std::vector<std::string>& names, const char* suffix) {
  std::vector<std::string> out;
  for (const std::string& name : names) out.push_back(name + suffix);
  return out;
}

Parameter make(const std::string& name, Role role, const Tensor& value) {
  return {.name = name, .role = role, .var = Var::leaf(value, name)};
}

}  // namespace

Linear::Linear(const std::string& name, int64_t in, int64_t out, const Init& init, const LinearOptions& o)
    : weight(make(name + ".weight", o.role,
                  init.normal({out, in}, o.std.value_or(1 / std::sqrt(static_cast<double>(in)))))) {
  weight.neurons = o.neurons;
  weight.blocks = o.blocks;
  weight.block_names = with_suffix(o.block_names, ".weight");
  check_blocks(weight);
  if (!o.bias) return;
  bias = make(name + ".bias", Role::vector, init.normal({out}, 0));
  bias.blocks = o.blocks;
  bias.block_names = with_suffix(o.block_names, ".bias");
}

Embedding::Embedding(const std::string& name, int64_t count, int64_t width, const Init& init, double std)
    : weight(make(name + ".weight", Role::embedding, init.normal({count, width}, std))) {}

Norm::Norm(NormKind kind_, const std::string& gain_name, const std::string& bias_name, int64_t width, double eps_,
           const Init& init)
    : kind(kind_), eps(eps_), gain(make(gain_name, Role::vector, Tensor::full({width}, 1, init.dtype, init.device))) {
  if (!bias_name.empty()) bias = make(bias_name, Role::vector, init.normal({width}, 0));
}

}  // namespace borealis
