// Kernels over strided arrays.
#pragma once

#include "backend.h"
#include "types.h"

namespace borealis {

// How three arrays are walked together: axes with the same steps in all of them count as one.
struct Axes {
  int rank = 0;
  int64_t size[Shape::max_rank] = {};
  int64_t stride[3][Shape::max_rank] = {};

  Axes(const Shape& shape, const Shape::Strides& first, const Shape::Strides& second, const Shape::Strides& third) {
    const Shape::Strides* const from[3] = {&first, &second, &third};
    for (size_t axis = 0; axis < shape.sizes().size(); ++axis) {
      const int64_t n = shape.sizes()[axis];
      if (n == 1) continue;
      bool joins = rank > 0;
      for (int k = 0; k < 3 && joins; ++k) joins = stride[k][rank - 1] == (*from[k])[axis] * n;
      if (!joins) ++rank;
      size[rank - 1] = joins ? size[rank - 1] * n : n;
      for (int k = 0; k < 3; ++k) stride[k][rank - 1] = (*from[k])[axis];
    }
  }
};

struct Place {
  int64_t at[3] = {0, 0, 0};
};

// Of element i. Index: 32 bits where they are enough, since divisions of 64 are slow.
template <class Index> __device__ Place place_of(const Axes& axes, Index i) {
  Place place;
  for (int axis = axes.rank - 1; axis >= 0; --axis) {
    const auto n = static_cast<Index>(axes.size[axis]);
    const auto here = static_cast<int64_t>(i % n);
    i /= n;
    for (int k = 0; k < 3; ++k) place.at[k] += here * axes.stride[k][axis];
  }
  return place;
}

template <class Index, class F> struct AtPlace {
  Axes axes;
  F f;
  __device__ void operator()(int64_t i) const { f(place_of(axes, static_cast<Index>(i))); }
};

// f(place) for each element of a shape.
template <class F> void walk(Context& on, const char* name, const Shape& shape, const Axes& axes, F f) {
  const int64_t count = shape.numel();
  if (count < int64_t{1} << 32)
    each_item(on, name, count, AtPlace<uint32_t, F>{axes, f});
  else
    each_item(on, name, count, AtPlace<uint64_t, F>{axes, f});
}

}  // namespace borealis
