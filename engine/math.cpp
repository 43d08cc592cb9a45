#include "engine/math.h"

#include <algorithm>
#include <numeric>

#include "engine/matrix.h"
#include "engine/overlap.h"

namespace borealis {

namespace {

using Strides = Shape::Strides;

size_t at(int axis) { return static_cast<size_t>(axis); }

}  // namespace

void check_together(const char* op, const Tensor& a, const Tensor& b) {
  if (a.made(op).dtype() != b.made(op).dtype())
    fail(op, ": ", a.dtype(), a.shape(), " and ", b.dtype(), b.shape(), " do not mix; convert one with to()");
  if (!(a.device() == b.device()))
    fail(op, ": ", a.shape(), " is on ", a.device(), " but ", b.shape(), " is on ", b.device());
}

void check_ids(const char* op, const char* what, const Tensor& ids, int64_t limit, int64_t ignored) {
  if (ids.made(op).dtype() != DType::i32) fail(op, ": ", what, " must be i32, got ", ids.dtype(), ids.shape());
  if (ids.device().kind != Device::Kind::cpu) return;
  const std::span<const int32_t> all(ids.data<int32_t>(), static_cast<size_t>(ids.numel()));
  const auto bad =
      std::find_if(all.begin(), all.end(), [&](int32_t id) { return (id < 0 || id >= limit) && id != ignored; });
  if (bad != all.end())
    fail(op, ": ", what, " ", ids.shape(), ": ", *bad, " at place ", bad - all.begin(), " is outside 0 … ", limit - 1);
}

Tensor unary(UnaryOp op, const Tensor& x, double param) {
  const Tensor y = x.like();
  backend(x.device()).unary(op, y, x, param);
  return y;
}

void unary_grad(UnaryOp op, const Tensor& dx, const Tensor& saved, const Tensor& dy, double param, double beta) {
  for (const Tensor* t : {&saved, &dy}) {
    check_together("unary_grad", dx, *t);
    if (!(t->shape() == dx.shape()))
      fail("unary_grad: dx is ", dx.shape(), " but what goes in is ", saved.shape(), " and ", dy.shape());
    check_apart_or_same("unary_grad", dx, *t);
  }
  backend(dx.device()).unary_grad(op, dx, saved, dy, param, beta);
}

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::array<int64_t, Shape::max_rank> sizes{};
  for (int i = 1; i <= rank; ++i) {  // from the last axis; a missing axis counts as 1
    const int64_t m = i <= a.rank() ? a[-i] : 1, n = i <= b.rank() ? b[-i] : 1;
    if (m != n && m != 1 && n != 1)
      fail(op, ": ", a, " and ", b, " do not broadcast: sizes ", m, " and ", n,
           " differ and neither is 1 (axes are matched from the last)");
    sizes[at(rank - i)] = m == 1 ? n : m;
  }
  return Shape(std::span<const int64_t>(sizes.data(), at(rank)));
}

Broadcast broadcast(const char* op, const Shape& a, const Shape& b) {
  Broadcast walk{.shape = broadcast_shape(op, a, b)};
  const auto strides = [&](const Shape& s) {
    const Strides own = s.strides();
    Strides out{};
    const int missing = walk.shape.rank() - s.rank();
    for (int i = 0; i < s.rank(); ++i) out[at(i + missing)] = s[i] == 1 ? 0 : own[at(i)];
    return out;
  };
  walk.a_stride = strides(a);
  walk.b_stride = strides(b);
  return walk;
}

Tensor binary(const char* name, BinaryOp op, const Tensor& a, const Tensor& b) {
  check_together(name, a, b);
  const Broadcast walk = broadcast(name, a.shape(), b.shape());
  const Tensor y(walk.shape, a.dtype(), a.device());
  backend(a.device()).binary(op, y, a, b, walk);
  return y;
}

Axes around(const Shape& shape, int first_axis, int last_axis) {
  Axes axes;
  for (int i = 0; i < shape.rank(); ++i)
    (i < first_axis ? axes.outer : i > last_axis ? axes.inner : axes.mid) *= shape[i];
  return axes;
}

Shape without(const Shape& shape, const std::vector<int>& axes, bool keepdim) {
  std::array<int64_t, Shape::max_rank> sizes{};
  size_t rank = 0;
  for (int i = 0; i < shape.rank(); ++i) {
    const bool gone = axes.empty() || std::any_of(axes.begin(), axes.end(), [&](int a) { return shape.index(a) == i; });
    if (!gone || keepdim) sizes[rank++] = gone ? 1 : shape[i];
  }
  return Shape(std::span<const int64_t>(sizes.data(), rank));
}

Tensor sum(const Tensor& x, const std::vector<int>& axes, double scale) {
  if (x.shape().rank() == 0) return affine(x, scale, 0);
  std::array<bool, Shape::max_rank> gone{};
  for (int i = 0; i < x.shape().rank(); ++i) gone[at(i)] = axes.empty();
  for (const int a : axes) gone[at(x.shape().index(a))] = true;

  // One kernel call per run of neighbouring axes, the last run first: each makes the next one
  // smaller.
  Tensor y = x;
  for (int last = x.shape().rank() - 1; last >= 0; --last) {
    if (!gone[at(last)]) continue;
    int first = last;
    while (first > 0 && gone[at(first - 1)]) --first;
    const auto [outer, mid, inner] = around(y.shape(), first, last);
    Shape s = y.shape();
    for (int i = first; i <= last; ++i) s.set(i, 1);
    const Tensor z(s, x.dtype(), x.device());
    backend(x.device()).sum(z, y, outer, mid, inner, scale, 0);
    y = z;
    scale = 1;
    last = first;
  }
  return y;
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  std::vector<int> axes;
  const int missing = x.shape().rank() - shape.rank();
  for (int i = 0; i < x.shape().rank(); ++i)
    if (i < missing || (shape[i - missing] == 1 && x.shape()[i] != 1)) axes.push_back(i);
  return (axes.empty() ? x : sum(x, axes)).reshape(shape);
}

void axpby(const Tensor& y, double alpha, const Tensor& x, double beta) {
  check_together("axpby", y, x);
  if (!(y.shape() == x.shape())) fail("axpby: y is ", y.shape(), " but x is ", x.shape());
  check_apart_or_same("axpby", y, x);
  backend(y.device()).affine(y, x, alpha, 0, beta);
}

Tensor affine(const Tensor& x, double alpha, double shift) {
  const Tensor y = x.like();
  backend(x.device()).affine(y, x, alpha, shift, 0);
  return y;
}

Tensor permute(const Tensor& x, const std::vector<int>& order) {
  const int rank = x.shape().rank();
  std::vector<int> from, every(at(rank));
  for (const int a : order) from.push_back(x.shape().index(a));
  std::iota(every.begin(), every.end(), 0);
  if (!std::is_permutation(from.begin(), from.end(), every.begin(), every.end()))
    fail("permute: the order of ", order.size(), " axes must name each axis of ", x.shape(), " once");

  const Strides own = x.shape().strides();
  StridedCopy walk;
  std::vector<int64_t> sizes;
  for (int i = 0; i < rank; ++i) {
    sizes.push_back(x.shape()[from[at(i)]]);
    walk.src_stride[at(i)] = own[at(from[at(i)])];
  }
  walk.shape = Shape(std::span<const int64_t>(sizes));
  walk.dst_stride = walk.shape.strides();
  const Tensor y(walk.shape, x.dtype(), x.device());
  backend(x.device()).strided_copy(y, x, walk, 0);
  return y;
}

namespace {

// Both directions: the part of `whole` along `axis` from `first` on, as large as `part`.
void copy_slice(const char* op, const Tensor& whole, const Tensor& part, int axis, int64_t first, double beta,
                bool into_whole) {
  check_together(op, whole, part);
  const int a = whole.shape().index(axis);
  const bool alike = part.shape().rank() == whole.shape().rank();
  Shape expected = whole.shape();
  if (alike) expected.set(a, part.shape()[a]);
  if (!alike || !(part.shape() == expected) || !Range{first, part.shape()[a]}.inside(whole.shape()[a]))
    fail(op, ": ", part.shape(), " from ", first, " on along axis ", axis, " is no part of ", whole.shape());
  if (part.numel() == 0) return;

  const Strides steps = whole.shape().strides(), own = part.shape().strides();
  const int64_t start = first * steps[at(a)];
  const Tensor rest = whole.flat_view(start, {whole.numel() - start});
  const auto [outer, mid, inner] = around(part.shape(), a, a);
  check_apart(op, Matrix::strided(whole, start, outer, mid * inner, whole.shape()[a] * inner).view(), part);
  if (into_whole)
    backend(whole.device()).strided_copy(rest, part, {part.shape(), steps, own}, beta);
  else
    backend(whole.device()).strided_copy(part, rest, {part.shape(), own, steps}, beta);
}

}  // namespace

void copy_into_slice(const Tensor& dst, const Tensor& src, int axis, int64_t first, double beta) {
  copy_slice("copy_into_slice", dst, src, axis, first, beta, true);
}

void copy_from_slice(const Tensor& dst, const Tensor& src, int axis, int64_t first, double beta) {
  copy_slice("copy_from_slice", src, dst, axis, first, beta, false);
}

}  // namespace borealis
