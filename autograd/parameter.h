// A trainable tensor with all that an optimizer and a file need to know of it.
#pragma once

#include <string>
#include <vector>

#include "var.h"

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

// Fails unless the weight splits into its blocks by rows, and each of them has a name or none has.
inline void check_blocks(const Parameter& p) {
  const Shape& shape = p.var.value(p.name.c_str()).shape();
  if (p.blocks < 1 || (p.blocks > 1 && (shape.rank() < 1 || shape[0] % p.blocks != 0)))
    fail("parameter: '", p.name, "' is ", shape, ", which has no ", p.blocks, " blocks of equal rows");
  if (!p.block_names.empty() && static_cast<int64_t>(p.block_names.size()) != p.blocks)
    fail("parameter: '", p.name, "' has ", p.blocks, " blocks but ", p.block_names.size(), " names for them");
}

// What block b is called: NAME, its name in files, or NAME[b].
inline std::string block_name(const Parameter& p, int64_t b) {
  check_blocks(p);
  if (b < 0 || b >= p.blocks) fail("parameter: '", p.name, "' has ", p.blocks, " blocks, and none of number ", b);
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
