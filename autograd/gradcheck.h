// Is a gradient right? Compares it with central differences, in f64.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "var.h"

namespace borealis {

struct GradcheckResult {
  double error = 0;   // the largest relative error over inputs and directions
  std::string worst;  // where: "input 1 [4, 6]: 0.25 by the rule, 0.26 by differences"
};

// f maps leaves made of `inputs` (f64, on the CPU) to any Var, and must give the same result each
// time. The output is weighted by a random cotangent c; for each input and three random directions
// u, ⟨dx, u⟩ from the rule is compared with (L(x + hu) − L(x − hu))/2h, L = ⟨c, f(x)⟩, h = 1e-5.
// That finds what a full Jacobian would, at two forward passes a direction. A gradient that is all
// zero counts as an error of 1: it would agree with a function that does nothing.
GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs,
                          uint64_t seed = 1);

}  // namespace borealis
