#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs,
                          uint64_t seed) {
  constexpr double h = 1e-5;
  constexpr int directions = 3;
  const auto dot = [](const Tensor& a, const Tensor& b) {
    return std::inner_product(a.data<double>(), a.data<double>() + a.numel(), b.data<double>(), 0.0);
  };
  Rng rng(seed);

  std::vector<Var> leaves;
  for (const Tensor& x : inputs) {
    if (x.made("gradcheck").dtype() != DType::f64)
      fail("gradcheck: the inputs must be f64, got ", x.dtype(), x.shape());
    leaves.push_back(Var::leaf(x.clone()));
  }
  const Var y = f(leaves);
  const Tensor c = rng.normal(y.shape(), 1, DType::f64);
  sum(y * Var(c)).backward();

  GradcheckResult result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor x = inputs[i], dx = leaves[i].grad();
    const double length = dx ? std::sqrt(dot(dx, dx)) : 0;
    if (length == 0) {
      result.error = std::max(result.error, 1.0);
      result.worst = "an input's gradient is all zero";
      continue;
    }
    // L at x + step·u in input i.
    const auto loss_at = [&](const Tensor& u, double step) {
      const NoGrad off;
      std::vector<Var> moved(leaves.begin(), leaves.end());
      const Tensor z = x.clone();
      axpby(z, step, u, 1);
      moved[i] = Var(z);
      return dot(f(moved).value(), c);
    };
    for (int k = 0; k < directions; ++k) {
      const Tensor u = rng.normal(x.shape(), 1, DType::f64);
      const double by_rule = dot(dx, u), by_differences = (loss_at(u, h) - loss_at(u, -h)) / (2 * h);
      // A direction that happens to be nearly at right angles to the gradient is judged by the
      // gradient's length.
      const double scale = std::max({std::abs(by_rule), std::abs(by_differences), 0.1 * length});
      const double error = std::abs(by_rule - by_differences) / scale;
      if (!(error <= result.error)) {  // also takes a NaN
        std::ostringstream text;
        text << "input " << i << ' ' << x.shape() << ": " << by_rule << " by the rule, " << by_differences
             << " by differences";
        result = {std::isnan(error) ? 1.0 : error, text.str()};
      }
    }
  }
  return result;
}

}  // namespace borealis
