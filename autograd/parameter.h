// A trainable tensor with all that an optimizer and a file need to know of it.
#pragma once

#include <string>
#include <vector>

#include "autograd/var.h"

namespace borealis {

// Set by the layer that owns the weight; routes it to an optimizer. No matching of names.
enum class Role {
  hidden_matrix,  // spectral optimizers step these
  embedding,      // also when tied to the head
  head,
  vector,  // gains, biases
};

// Where a hidden matrix keeps its neurons: `mlp.fc` has one per row, `mlp.proj` one per column.
enum class Neurons { none, rows, cols };

struct Parameter {
  std::string name;
  Role role = Role::vector;
  Var var;
  // A weight that is several matrices one above the other: packed QKV [3C, C] has 3 (q, k, v),
  // SwiGLU's gate and up 2. Spectral optimizers treat each as a matrix of its own.
  int64_t blocks = 1;
  Neurons neurons = Neurons::none;
  // Names of the blocks in files that keep them apart; empty: the file has `name` whole.
  std::vector<std::string> block_names = {};
};

// What block b is called: NAME, its name in files, or NAME[b].
inline std::string block_name(const Parameter& p, int64_t b) {
  if (p.blocks == 1) return p.name;
  if (!p.block_names.empty()) return p.block_names[static_cast<size_t>(b)];
  return p.name + '[' + std::to_string(b) + ']';
}

using ParamList = std::vector<Parameter>;

// Starts a new generation of gradients.
inline void zero_grad(const ParamList& params) {
  for (const Parameter& p : params) p.var.zero_grad();
}

}  // namespace borealis
