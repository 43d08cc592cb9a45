// A parameter list with every kind of parameter, and gradients for it: what optimizer tests step.
#pragma once

#include <algorithm>
#include <string>

#include "optim/param_arena.h"
#include "optim/spectral_methods.h"
#include "tests/matrices.h"

namespace borealis {

inline Parameter parameter(const std::string& name, const Shape& shape, Role role, DType dtype, int64_t blocks = 1,
                           Neurons neurons = Neurons::none) {
  uint64_t seed = 0;  // of the name, so that the order of making does not matter
  for (const char c : name) seed = 31 * seed + static_cast<unsigned char>(c);
  return {.name = name,
          .role = role,
          .var = Var::leaf(normal(shape, dtype, seed), name),
          .blocks = blocks,
          .neurons = neurons};
}

// Aurora with the release's exact polar factor and Muon's momentum: what equalities can be tested
// on.
inline SpectralConfig released_aurora() {
  SpectralConfig config = aurora();
  config.mu = muon().mu;
  config.direction.polar = Polar::cans12;
  return config;
}

// Two layers of a small GPT: every role, odd sizes, packed QKV beside C×C projections.
inline ParamList small_model(DType dtype = DType::f32) {
  ParamList list{parameter("embed", {11, 8}, Role::embedding, dtype)};
  for (const std::string layer : {"h.1.", "h.0."}) {
    list.push_back(parameter(layer + "gain", {8}, Role::vector, dtype));
    list.push_back(parameter(layer + "qkv", {24, 8}, Role::hidden_matrix, dtype, 3));
    list.push_back(parameter(layer + "out", {8, 8}, Role::hidden_matrix, dtype));
    list.push_back(parameter(layer + "up", {32, 8}, Role::hidden_matrix, dtype, 1, Neurons::rows));
    list.push_back(parameter(layer + "down", {8, 32}, Role::hidden_matrix, dtype, 1, Neurons::cols));
  }
  list.push_back(parameter("head", {11, 8}, Role::head, dtype));
  list.push_back(parameter("bias", {11}, Role::vector, dtype));
  return list;
}

// Gradient number `step` of each parameter, as backward() would leave it.
inline void set_gradients(const ParamList& list, uint64_t step) {
  for (const Parameter& p : list) {
    uint64_t seed = step;
    for (const char c : p.name) seed = 37 * seed + static_cast<unsigned char>(c);
    p.var.set_grad(normal(p.var.shape(), p.var.dtype(), seed).to(p.var.device()));
  }
}

inline const Parameter& find(const ParamList& list, const std::string& name) {
  return *std::find_if(list.begin(), list.end(), [&](const Parameter& p) { return p.name == name; });
}

inline std::vector<Tensor> values(const ParamList& list) {
  std::vector<Tensor> all;
  for (const Parameter& p : list) all.push_back(p.var.value().clone());
  return all;
}

// One parameter "w" in an arena of its own.
struct Single {
  ParamList list;
  ParamArena arena;
  Single(const Shape& shape, DType dtype, Neurons neurons = Neurons::none)
      : list{parameter("w", shape, Role::hidden_matrix, dtype, 1, neurons)}, arena(list) {}
  const Tensor& w() const { return list[0].var.value(); }
};

}  // namespace borealis
