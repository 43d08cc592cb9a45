// Kernels that do the same to each element of arrays with strides of their own: f(x[i], y[i], …), 16-byte packs where all
// arrays allow them.
#pragma once

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "backend.h"
#include "types.h"

namespace borealis {

// How arrays are walked together: along the first as it lies, with axes that have the same steps in all of them as one.
template <int arrays> struct Axes {
  int rank = 0;
  int64_t size[Shape::max_rank] = {};
  int64_t stride[arrays][Shape::max_rank] = {};
  int64_t step[arrays] = {};  // between the numbers of a pack: 1, or 0 where one number stands for all

  Axes(const Shape& shape, const std::array<Shape::Strides, arrays>& strides) {
    std::array<size_t, Shape::max_rank> order{};
    size_t axes = 0;
    for (size_t axis = 0; axis < shape.sizes().size(); ++axis) {
      if (shape.sizes()[axis] == 1) continue;
      size_t at = axes++;
      for (; at > 0 && strides[0][order[at - 1]] < strides[0][axis]; --at) order[at] = order[at - 1];
      order[at] = axis;
    }
    for (size_t i = 0; i < axes; ++i) {
      const size_t axis = order[i];
      const int64_t n = shape.sizes()[axis];
      bool joins = rank > 0;
      for (size_t k = 0; k < arrays && joins; ++k) joins = stride[k][rank - 1] == strides[k][axis] * n;
      if (!joins) ++rank;
      size[rank - 1] = joins ? size[rank - 1] * n : n;
      for (size_t k = 0; k < arrays; ++k) stride[k][rank - 1] = strides[k][axis];
    }
  }

  // Whether `width` numbers at a time lie side by side in all arrays, which begin where packs may.
  bool has_packs(int64_t width) const {
    if (rank == 0 || size[rank - 1] % width != 0 || stride[0][rank - 1] != 1) return false;
    for (int k = 0; k < arrays; ++k) {
      if (stride[k][rank - 1] == 0) continue;
      if (stride[k][rank - 1] != 1) return false;
      for (int axis = 0; axis < rank - 1; ++axis)
        if (stride[k][axis] % width != 0) return false;
    }
    return true;
  }

  // The same with packs as elements.
  Axes of_packs(int64_t width) const {
    Axes packs = *this;
    packs.size[rank - 1] /= width;
    for (int k = 0; k < arrays; ++k) {
      packs.step[k] = stride[k][rank - 1];
      packs.stride[k][rank - 1] *= width;
    }
    return packs;
  }
};

namespace walking {

template <int arrays> struct Place {
  int64_t at[arrays] = {};
};

// Of element i. Index: 32 bits where they are enough, since divisions of 64 are slow.
template <class Index, int arrays> __device__ Place<arrays> place_of(const Axes<arrays>& axes, Index i) {
  Place<arrays> place;
  for (int axis = axes.rank - 1; axis >= 0; --axis) {
    const auto n = static_cast<Index>(axes.size[axis]);
    const auto here = static_cast<int64_t>(axis == 0 ? i : i % n);
    if (axis > 0) i /= n;
    for (int k = 0; k < arrays; ++k) place.at[k] += here * axes.stride[k][axis];
  }
  return place;
}

// n numbers from there on; or one number n times, with a step of 0.
template <int n, class Array> __device__ auto load(Array x, int64_t at, int64_t step) {
  using T = typename Array::Number;
  if (n == 1 || step == 1) return mapping::load<T, n>(x, at);
  Pack<T, n> all{};
  for (int e = 0; e < n; ++e) all.at[e] = x.at[at];
  return all;
}

template <int n, size_t... k, int arrays, class F, class... Array>
__device__ void step(std::index_sequence<k...>, const Place<arrays>& place, const Axes<arrays>& axes, F f, Array... x) {
  [&](auto... packs) {
    mapping::apply<n>(f, packs...);
    (mapping::store<typename Array::Number, n>(x, place.at[k], packs), ...);
  }(load<n>(x, place.at[k], axes.step[k])...);
}

template <int n, class Index, class F, class... Array>
__global__ void walk_kernel(Gate gate, int64_t count, Axes<sizeof...(Array)> axes, F f, Array... x) {
  const int64_t i = this_thread();
  if (i >= count || gate.closed()) return;
  step<n>(std::index_sequence_for<Array...>{}, place_of(axes, static_cast<Index>(i)), axes, f, x...);
}

}  // namespace walking

// f(a, b, …) for each element of a shape: numbers of `arrays`, each with its strides. f is given references; arrays are
// In, Out or InOut, and none but In has a stride of 0.
template <class F, class... Array>
void walk(Context& on, const char* name, const Shape& shape,
          const std::array<Shape::Strides, sizeof...(Array)>& strides, F f, Array... arrays) {
  if (shape.numel() == 0) return;
  constexpr int width = 16 / std::max({sizeof(typename Array::Number)...});
  const Axes<sizeof...(Array)> axes(shape, strides);
  const auto run = [&]<int n>(std::integral_constant<int, n>, const auto& walked, int64_t count) {
    const auto launch = [&]<class Index>(Index) {
      on.launch(name, walking::walk_kernel<n, Index, F, Array...>, blocks_for(count, block_threads), block_threads, 0,
                count, walked, f, arrays...);
    };
    count < int64_t{1} << 32 ? launch(uint32_t{}) : launch(uint64_t{});
  };
  if (are_aligned(arrays...) && axes.has_packs(width))
    run(std::integral_constant<int, width>{}, axes.of_packs(width), shape.numel() / width);
  else
    run(std::integral_constant<int, 1>{}, axes, shape.numel());
}

}  // namespace borealis
