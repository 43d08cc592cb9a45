#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

namespace {

// y = x̂ gain + bias with x̂ = (x − mean) rstd  (RMSNorm: mean = 0).
// dx = rstd (h − ⟨h⟩ − x̂ ⟨h x̂⟩) with h = dy gain, ⟨·⟩ the row's mean (RMSNorm: without ⟨h⟩);
// dgain = Σ_rows dy x̂,  dbias = Σ_rows dy.
// With a branch, all this is of x + branch.
Normed norm_op(const char* name, const Var& x, const Var& branch, const Var& gain, const Var& bias, double eps,
               bool center) {
  if (x.value(name).shape().rank() < 1 || x.shape()[-1] < 1)
    fail(name, ": ", x.shape(), " has no last axis to normalise");
  if (!(eps >= 0)) fail(name, ": eps must not be negative, got ", eps);
  const int64_t cols = x.shape()[-1];
  for (const Var* v : {&gain, &bias}) {
    if (!*v) continue;
    check_together(name, x.value(), v->value());
    if (!(v->shape() == Shape{cols}))
      fail(name, ": x is ", x.shape(), " but gain or bias is ", v->shape(), ": it must be [", cols, "]");
  }
  if (branch) {
    check_together(name, x.value(), branch.value());
    if (!(branch.shape() == x.shape())) fail(name, ": x is ", x.shape(), " but its branch is ", branch.shape());
  }
  const NormArgs args{.rows = x.shape().numel() / cols, .cols = cols, .eps = eps, .center = center};
  const Tensor Y = x.value().like(), X = branch ? Y.like() : x.value(), gain_value = gain ? gain.value() : Tensor();
  const Tensor mean = center ? Tensor({args.rows}, X.dtype(), X.device()) : Tensor();
  const Tensor rstd({args.rows}, X.dtype(), X.device());
  const auto value = [](const Var& v) { return v ? v.value() : Tensor(); };
  backend(X.device())
      .norm(Y, branch ? X : Tensor(), mean, rstd, x.value(), value(branch), gain_value, value(bias), args);

  const Var sum = !branch ? x : record("add", X, {x, branch}, [](Backward& bw) {
    for (const int i : {0, 1})
      if (bw.needs(i)) bw.add(i, bw.dy());
  });
  const Var norm = record(name, Y, {sum, gain, bias}, [X, gain_value, mean, rstd, args](Backward& bw) {
    // gain and bias may be one Var, so their gradients are made apart and then added.
    const auto vector = [&](int i) { return bw.needs(i) ? Tensor({args.cols}, X.dtype(), X.device()) : Tensor(); };
    const Tensor dgain = vector(1), dbias = vector(2);
    const auto [dx, beta] = bw.needs(0) ? bw.slot(0) : Backward::Slot{Tensor(), 0};
    backend(X.device()).norm_grad(dx, beta, dgain, 0, dbias, 0, X, gain_value, mean, rstd, bw.dy(), args);
    if (dgain) bw.add(1, dgain);
    if (dbias) bw.add(2, dbias);
  });
  return {sum, norm};
}

}  // namespace

Var layer_norm(const Var& x, const Var& gain, const Var& bias, double eps) {
  return norm_op("layer_norm", x, {}, gain, bias, eps, true).norm;
}

Var rms_norm(const Var& x, const Var& gain, double eps) {
  return norm_op("rms_norm", x, {}, gain, {}, eps, false).norm;
}

Normed add_layer_norm(const Var& x, const Var& branch, const Var& gain, const Var& bias, double eps) {
  branch.value("layer_norm");
  return norm_op("layer_norm", x, branch, gain, bias, eps, true);
}

Normed add_rms_norm(const Var& x, const Var& branch, const Var& gain, double eps) {
  branch.value("rms_norm");
  return norm_op("rms_norm", x, branch, gain, {}, eps, false);
}

}  // namespace borealis
