// Checked calls on tensors: shape rule, output, kernel. What autograd's ops and their gradients are
// made of; no derivative here.
#pragma once

#include <limits>
#include <vector>

#include "backend.h"
#include "tensor.h"

namespace borealis {

// Fails unless both were made, have one type and live on one device.
void check_together(const char* op, const Tensor& a, const Tensor& b);

// Fails on an id outside [0, limit) that is not `ignored`. Only of ids on the CPU, where they are born: to look at others
// would wait for their device, whose kernels make NaN of what such an id finds.
constexpr int64_t none_ignored = std::numeric_limits<int64_t>::min();  // no i32
void check_ids(const char* op, const char* what, const Tensor& ids, int64_t limit, int64_t ignored = none_ignored);

// y = op(x);  dx ← op'·dy + beta·dx (`saved` is x or y, as pointwise.h says of op).
Tensor unary(UnaryOp op, const Tensor& x, double param = 0);
void unary_grad(UnaryOp op, const Tensor& dx, const Tensor& saved, const Tensor& dy, double param, double beta);

// The shape that NumPy broadcasting gives a and b; fails naming both where there is none.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);
// How to walk a and b over that shape.
Broadcast broadcast(const char* op, const Shape& a, const Shape& b);

Tensor binary(const char* name, BinaryOp op, const Tensor& a, const Tensor& b);

// x as [outer, mid, inner] around one axis (or several neighbouring ones).
struct Axes {
  int64_t outer = 1, mid = 1, inner = 1;
};
Axes around(const Shape& shape, int first_axis, int last_axis);

// The shape without the listed axes, or with size 1 there.
Shape without(const Shape& shape, const std::vector<int>& axes, bool keepdim);

// y[…] ← scale·Σ over the listed axes; an empty list means all of them. The result keeps size-1
// axes.
Tensor sum(const Tensor& x, const std::vector<int>& axes, double scale = 1);
// Sums a gradient of the broadcast shape down to the shape it was broadcast from.
Tensor sum_to(const Tensor& x, const Shape& shape);

// y = alpha·x + beta·y (y and x may be one) and y = alpha·x + shift, same shapes.
void axpby(const Tensor& y, double alpha, const Tensor& x, double beta);
Tensor affine(const Tensor& x, double alpha, double shift);

// Copies with reordered axes: y's axis i is x's axis order[i].
Tensor permute(const Tensor& x, const std::vector<int>& order);
// dst[…, first … , …] ← src + beta·dst, or the other way round, along one axis. Off that axis
// their sizes are equal; their memory is not shared.
void copy_into_slice(const Tensor& dst, const Tensor& src, int axis, int64_t first, double beta);
void copy_from_slice(const Tensor& dst, const Tensor& src, int axis, int64_t first, double beta);

}  // namespace borealis
