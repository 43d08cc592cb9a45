// A row of the op table at work.
#pragma once

#include "engine/rng.h"
#include "tests/op_cases.h"

namespace borealis {

inline std::string title(const OpCase& row) { return row.op + ": " + row.what; }

// What an op makes of its inputs: the output, and the gradients of ⟨c, output⟩ for a fixed random c.
struct OpOutcome {
  Tensor y;
  std::vector<Var> leaves;

  std::vector<Tensor> all() const {
    std::vector<Tensor> out{y};
    for (const Var& x : leaves) out.push_back(x.grad());
    return out;
  }
};

inline Var weighted(const Var& y) {
  Rng rng(3);
  const Tensor c = rng.normal(y.shape(), 1, DType::f64).to(DType::f32).to(y.dtype()).to(y.device());
  return sum(y * Var(c));
}

inline OpOutcome run_op(const OpCase& row, DType dtype, Device device = {}) {
  OpOutcome out;
  for (const Tensor& x : make_inputs(row, dtype, device)) out.leaves.push_back(Var::leaf(x));
  const Var y = row.f(out.leaves);
  out.y = y.value();
  weighted(y).backward();
  return out;
}

}  // namespace borealis
