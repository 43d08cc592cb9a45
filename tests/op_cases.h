// The op table: a row per differentiable op and awkward shape. It serves gradient checks, f32
// against f64, every further device against the CPU, thread counts, and benchmarks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/ops.h"

namespace borealis {

enum class Values {
  normal,    // N(0, 1)
  positive,  // uniform in [0.5, 2)
  apart,     // distinct, at least 1e-3 from each other and from 0: away from kinks and ties
};

struct OpInput {
  Shape shape;
  Values values = Values::normal;
};

struct OpCase {
  std::string op;    // as declared in autograd/ops.h, e.g. "operator+"
  std::string what;  // "[4, 1, 3] + [2, 1]"
  std::vector<OpInput> inputs;
  // The same result each time, for inputs of any float type on any device.
  std::function<Var(const std::vector<Var>&)> f;
};

const std::vector<OpCase>& op_cases();

// Every op once more, to be timed: at the shapes of the nano preset, `what` a variant's name or nothing.
struct TimedCase : OpCase {
  double flops = 0;  // of the products in the forward pass; the gradients take twice as many
};
const std::vector<TimedCase>& timed_cases();

// The row's inputs: the same numbers each time, exact in f32.
std::vector<Tensor> make_inputs(const OpCase& row, DType dtype, Device device = {});

}  // namespace borealis
