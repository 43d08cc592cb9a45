// The layers a GPT is made of: plain structs with named members, operator() and collect. No base
// class.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "../autograd/ops.h"
#include "../autograd/parameter.h"
#include "../engine/names.h"

namespace borealis {

// How fresh weights come about: one generator, one number type, one device for the whole model.
struct Init {
  Rng& rng;
  DType dtype = DType::f32;
  Device device = {};

  // N(0, std²); std = 0 gives zeros.
  Tensor normal(const Shape& shape, double std) const {
    return std > 0 ? rng.normal(shape, std, dtype).to(device) : Tensor::zeros(shape, dtype, device);
  }
};

// Appends the parameters of layers, in order; one that is absent is passed over.
inline void append(ParamList& list, const Parameter& p) {
  if (p.var) list.push_back(p);
}
template <class Layer> void append(ParamList& list, const Layer& layer) { layer.collect(list); }
template <class Layer> void append(ParamList& list, const std::optional<Layer>& layer) {
  if (layer) layer->collect(list);
}
template <class... Layers> void append_all(ParamList& list, const Layers&... layers) { (append(list, layers), ...); }

struct LinearOptions {
  bool bias = true;
  // Of the initial weights; absent: 1/√in, so that inputs of spread 1 give outputs of spread 1.
  std::optional<double> std = {};
  Role role = Role::hidden_matrix;
  Neurons neurons = Neurons::none;
  int64_t blocks = 1;                         // matrices stacked in W
  std::vector<std::string> block_names = {};  // their names, where files keep them apart
};

// y = x Wᵀ + b, W: [out, in], so a row is a neuron. W begins as N(0, std²), b as zeros.
struct Linear {
  Parameter weight, bias;  // bias.var is undefined when the layer has none

  Linear(const std::string& name, int64_t in, int64_t out, const Init& init, const LinearOptions& o = {});

  Var operator()(const Var& x) const { return linear(x, weight.var, bias.var); }
  void collect(ParamList& list) const { append_all(list, weight, bias); }
};

// A table of vectors, one for each id.
struct Embedding {
  Parameter weight;  // [count, width]

  Embedding(const std::string& name, int64_t count, int64_t width, const Init& init, double std);

  Var operator()(const Tensor& ids) const { return embedding(weight.var, ids); }
  void collect(ParamList& list) const { list.push_back(weight); }
};

enum class NormKind { layer, rms };
template <> inline constexpr std::array words_of<NormKind>{"norm", "layer", "rms"};

// The residual stream between two norms: x + branch, which the next norm adds up, in one walk with its own work. Before
// the first block there is no branch.
struct Stream {
  Var x, branch;
  Stream(const Var& x_, const Var& branch_ = {}) : x(x_), branch(branch_) {}
};

// LayerNorm or RMSNorm over the last axis, with gain and perhaps bias (LayerNorm only).
struct Norm {
  NormKind kind;
  double eps;
  Parameter gain, bias;  // bias.var is undefined when the layer has none

  Norm(NormKind kind, const std::string& gain_name, const std::string& bias_name, int64_t width, double eps,
       const Init& init);

  Var operator()(const Var& x) const {
    return kind == NormKind::layer ? layer_norm(x, gain.var, bias.var, eps) : rms_norm(x, gain.var, eps);
  }
  // What stands in the stream, and its norm.
  Normed operator()(const Stream& in) const {
    if (!in.branch) return {in.x, (*this)(in.x)};
    return kind == NormKind::layer ? add_layer_norm(in.x, in.branch, gain.var, bias.var, eps)
                                   : add_rms_norm(in.x, in.branch, gain.var, eps);
  }
  void collect(ParamList& list) const { append_all(list, gain, bias); }
};

}  // namespace borealis
