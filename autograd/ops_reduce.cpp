#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

namespace {

// y = scale Σ x over the axes.   dx = scale dy, repeated along them.
Var sum_op(const char* name, const Var& x, const std::vector<int>& axes, bool keepdim, double scale) {
  const Tensor X = x.value(name);
  const Shape kept = without(X.shape(), axes, true);
  const Tensor y = sum(X, axes, scale).reshape(without(X.shape(), axes, keepdim));
  return record(name, y, {x}, [walk = broadcast(name, X.shape(), kept), scale](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    const Tensor dy = scale == 1 ? bw.dy() : affine(bw.dy(), scale, 0);
    backend(g.device()).strided_copy(g, dy, {walk.shape, walk.a_stride, walk.b_stride}, beta);
  });
}

// All axes in order, but `axis` last.
std::vector<int> axis_last(int rank, int axis) {
  std::vector<int> order;
  for (int i = 0; i < rank; ++i)
    if (i != axis) order.push_back(i);
  order.push_back(axis);
  return order;
}

RowsArgs rows_of(const Tensor& x) {
  const int last = x.shape().rank() - 1;
  return {.rows = around(x.shape(), last, last).outer, .cols = x.shape()[last]};
}

// y = f(x) along an axis, whose gradient is made of y and dy.
Var rows_op(const char* name, const Var& x, int axis, void (Backend::*f)(Span, ConstSpan, const RowsArgs&),
            void (Backend::*grad)(Span, ConstSpan, ConstSpan, const RowsArgs&, double)) {
  const int a = x.value(name).shape().index(axis), last = x.shape().rank() - 1;
  if (a != last) return transpose(rows_op(name, transpose(x, a, last), last, f, grad), a, last);
  const RowsArgs args = rows_of(x.value());
  const Tensor y = x.value().like();
  (backend(y.device()).*f)(y, x.value(), args);
  return record(name, y, {x}, [y, args, grad](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    (backend(g.device()).*grad)(g, y, bw.dy(), args, beta);
  });
}

}  // namespace

Var sum(const Var& x, const std::vector<int>& axes, bool keepdim) { return sum_op("sum", x, axes, keepdim, 1); }

Var mean(const Var& x, const std::vector<int>& axes, bool keepdim) {
  const int64_t kept = without(x.value("mean").shape(), axes, true).numel();
  if (x.shape().numel() == 0) fail("mean: ", x.shape(), " has no numbers to average");
  return sum_op("mean", x, axes, keepdim, static_cast<double>(kept) / static_cast<double>(x.shape().numel()));
}

// y = max x along the axis.   dx = dy where the first maximum stands.
Var max(const Var& x, int axis, bool keepdim) {
  const int a = x.value("max").shape().index(axis);
  if (x.shape()[a] == 0) fail("max: axis ", axis, " of ", x.shape(), " is empty");
  const Axes axes = around(x.shape(), a, a);
  const Tensor y(without(x.shape(), {a}, keepdim), x.dtype(), x.device());
  const Tensor index(y.shape(), DType::i32, x.device());
  backend(x.device()).max(y, index, x.value(), axes.outer, axes.mid, axes.inner);
  return record("max", y, {x}, [index, axes](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).max_grad(g, index, bw.dy(), axes.outer, axes.mid, axes.inner, beta);
  });
}

// y = eˣ/Σeˣ.   dx = y (dy − ⟨y, dy⟩).
Var softmax(const Var& x, int axis) { return rows_op("softmax", x, axis, &Backend::softmax, &Backend::softmax_grad); }

// y = x − log Σeˣ.   dx = dy − eʸ Σdy.
Var log_softmax(const Var& x, int axis) {
  return rows_op("log_softmax", x, axis, &Backend::log_softmax, &Backend::log_softmax_grad);
}

// y = log Σeˣ.   dx = eˣ⁻ʸ dy.
Var logsumexp(const Var& x, int axis) {
  const int a = x.value("logsumexp").shape().index(axis), rank = x.shape().rank();
  const Var z = a == rank - 1 ? x : permute(x, axis_last(rank, a));
  const RowsArgs args = rows_of(z.value());
  const Tensor Z = z.value(), y(without(x.shape(), {a}, false), x.dtype(), x.device());
  backend(y.device()).logsumexp(y, Z, args);
  return record("logsumexp", y, {z}, [Z, y, args](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).logsumexp_grad(g, Z, y, bw.dy(), args, beta);
  });
}

}  // namespace borealis
