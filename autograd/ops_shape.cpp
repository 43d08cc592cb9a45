#include <numeric>

#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

// The same numbers under another shape. dx = dy, reshaped back.
Var reshape(const Var& x, const Shape& shape) {
  const Shape before = x.value("reshape").shape();
  return record("reshape", x.value().reshape(shape), {x},
                [before](Backward& bw) { bw.add(0, bw.dy().reshape(before)); });
}

// y's axis i is x's axis order[i]. dx = dy under the inverse order.
Var permute(const Var& x, const std::vector<int>& order) {
  const Tensor y = permute(x.value("permute"), order);
  std::vector<int> inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i)
    inverse[static_cast<size_t>(x.shape().index(order[i]))] = static_cast<int>(i);
  return record("permute", y, {x}, [inverse](Backward& bw) { bw.add(0, permute(bw.dy(), inverse)); });
}

Var transpose(const Var& x, int axis_a, int axis_b) {
  std::vector<int> order(static_cast<size_t>(x.value("transpose").shape().rank()));
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[static_cast<size_t>(x.shape().index(axis_a))], order[static_cast<size_t>(x.shape().index(axis_b))]);
  return permute(x, order);
}

namespace {

// Zeros into x[…, first : first + count, …]: one zero, repeated.
void clear_slice(const Tensor& x, int axis, int64_t first, int64_t count) {
  if (count == 0 || x.numel() == 0) return;
  Shape part = x.shape();
  part.set(axis, count);
  const Shape::Strides steps = x.shape().strides();
  const int64_t start = first * steps[static_cast<size_t>(axis)];
  backend(x.device())
      .strided_copy(x.flat_view(start, {x.numel() - start}), Tensor::zeros({1}, x.dtype(), x.device()),
                    {.shape = part, .dst_stride = steps, .src_stride = {}}, 0);
}

}  // namespace

// y = x[…, first : first + count, …]. dx = dy there, 0 elsewhere.
Var slice(const Var& x, int axis, int64_t first, int64_t count) {
  const int a = x.value("slice").shape().index(axis);
  if (const Range range{first, count}; !range.inside(x.shape()[a]))
    fail("slice: ", range, " is outside axis ", axis, " of ", x.shape());
  Shape part = x.shape();
  part.set(a, count);
  Tensor y;
  if (a == 0) {
    y = x.value().rows(first, count);  // a view: nothing writes into a Var's value
  } else {
    y = Tensor(part, x.dtype(), x.device());
    copy_from_slice(y, x.value(), a, first, 0);
  }
  return record("slice", y, {x}, [a, first, count](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    copy_into_slice(g, bw.dy(), a, first, beta);
    if (beta == 0) {
      const int64_t behind = first + count;
      clear_slice(g, a, 0, first);
      clear_slice(g, a, behind, g.size(a) - behind);
    }
  });
}

// The xs one after the other along one axis. Each gets its part of dy.
Var concat(const std::vector<Var>& xs, int axis) {
  if (xs.empty()) fail("concat: takes at least one tensor");
  const int a = xs[0].value("concat").shape().index(axis);
  Shape shape = xs[0].shape();
  int64_t total = 0;
  for (const Var& x : xs) {
    Shape other = x.value("concat").shape();
    if (other.rank() == shape.rank()) other.set(a, shape[a]);
    if (!(other == shape)) fail("concat: ", xs[0].shape(), " and ", x.shape(), " differ in more than axis ", axis);
    check_together("concat", xs[0].value(), x.value());
    total += x.shape()[a];
  }
  shape.set(a, total);
  const Tensor y(shape, xs[0].dtype(), xs[0].device());
  std::vector<Shape> parts;
  int64_t first = 0;
  for (const Var& x : xs) {
    copy_into_slice(y, x.value(), a, first, 0);
    parts.push_back(x.shape());
    first += x.shape()[a];
  }
  return record("concat", y, xs, [a, parts](Backward& bw) {
    int64_t at = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (bw.needs(static_cast<int>(i))) {
        const auto [g, beta] = bw.slot(static_cast<int>(i));
        copy_from_slice(g, bw.dy(), a, at, beta);
      }
      at += parts[i][a];
    }
  });
}

}  // namespace borealis
