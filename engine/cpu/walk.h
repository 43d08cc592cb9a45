// Nested loops over up to three arrays of one shape, each with its own strides: broadcasting and
// strided copies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "../backend.h"
#include "../shape.h"
#include "loops.h"

namespace borealis {

using Strides = Shape::Strides;

// Invariants: axes are ordered so that array 0, the one written, moves least along the last; axes
// of size 1 are gone; two neighbours along which every array walks alike are one axis.
class Walk {
 public:
  using Place = std::array<int64_t, 3>;  // one element's offset in every array
  using Run = std::function<void(const Place&, int64_t n)>;
  using Tile = std::function<void(const Place&, int64_t rows, int64_t cols)>;

  Walk(const Shape& shape, const Strides& first, const Strides& second, const Strides& third = {});

  int64_t inner_stride(size_t array) const { return axes_[rank_ - 1].stride[array]; }

  // f(place, n) for runs of n elements along the last axis, together all elements, in parallel
  // pieces.
  void for_each_run(int64_t work, const Run& f) const;

  // Whether array 1 is contiguous along another axis than the last, as the source of a transpose
  // is (one that repeats its numbers along the last needs no tiles). Makes that axis the last but one.
  bool bring_transposed_axis_inside();
  int64_t row_stride(size_t array) const { return axes_[rank_ - 2].stride[array]; }

  // f(place, rows, cols) for tiles of at most side × side elements over the last two axes.
  void for_each_tile(int64_t side, const Tile& f) const;

 private:
  struct Axis {
    int64_t size = 1;
    Place stride{};
  };
  void move(Place& place, size_t axis, int64_t steps) const {
    for (size_t k = 0; k < place.size(); ++k) place[k] += steps * axes_[axis].stride[k];
  }

  std::array<Axis, Shape::max_rank> axes_{};
  size_t rank_ = 0;
  int64_t total_;
};

// Strides known to the compiler: 1 lets it load vectors, 0 keeps the number in a register.
using Zero = std::integral_constant<int64_t, 0>;
using One = std::integral_constant<int64_t, 1>;

template <class F> void with_strides(int64_t first, int64_t second, F&& f) {
  if (first == 1 && second == 1)
    f(One{}, One{});
  else if (first == 1 && second == 0)
    f(One{}, Zero{});
  else if (first == 0 && second == 1)
    f(Zero{}, One{});
  else
    f(first, second);
}

// f(i, j, k) with the places of one element in y, a and b, for all elements of a broadcast.
template <class F> void for_each_element(const Broadcast& walk, int64_t work, F f) {
  const Walk w(walk.shape, walk.shape.strides(), walk.a_stride, walk.b_stride);
  with_strides(w.inner_stride(1), w.inner_stride(2), [&](auto a_stride, auto b_stride) {
    w.for_each_run(work, [=](const Walk::Place& at, int64_t n) {
      each(n, [=](int64_t i) { f(at[0] + i, at[1] + i * a_stride, at[2] + i * b_stride); });
    });
  });
}

}  // namespace borealis
