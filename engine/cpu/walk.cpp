#include "engine/cpu/walk.h"

#include <algorithm>

#include "engine/cpu/loops.h"

namespace borealis {

Walk::Walk(const Shape& shape, const Strides& first, const Strides& second, const Strides& third)
    : total_(shape.numel()) {
  for (size_t i = 0; i < shape.sizes().size(); ++i)
    if (shape.sizes()[i] != 1) axes_[rank_++] = {shape.sizes()[i], {first[i], second[i], third[i]}};
  std::stable_sort(axes_.begin(), axes_.begin() + static_cast<std::ptrdiff_t>(rank_),
                   [](const Axis& a, const Axis& b) { return a.stride[0] > b.stride[0]; });

  const auto walk_alike = [](const Axis& outer, const Axis& inner) {
    for (size_t k = 0; k < outer.stride.size(); ++k)
      if (outer.stride[k] != inner.stride[k] * inner.size) return false;
    return true;
  };
  size_t last = 0;
  for (size_t axis = 1; axis < rank_; ++axis) {
    if (walk_alike(axes_[last], axes_[axis]))
      axes_[last] = {axes_[last].size * axes_[axis].size, axes_[axis].stride};
    else
      axes_[++last] = axes_[axis];
  }
  rank_ = last + 1;  // a single number is one axis of size 1
}

void Walk::for_each_run(int64_t work, const Run& f) const {
  parallel_for(total_, grain_for(work), [this, &f](int64_t first, int64_t last) {
    std::array<int64_t, Shape::max_rank> index{};
    Place place{};
    int64_t rest = first;
    for (size_t axis = rank_; axis-- > 0; rest /= axes_[axis].size) {
      index[axis] = rest % axes_[axis].size;
      move(place, axis, index[axis]);
    }
    const size_t inner = rank_ - 1;
    while (first < last) {
      const int64_t n = std::min(last - first, axes_[inner].size - index[inner]);
      f(place, n);
      first += n;
      index[inner] += n;
      move(place, inner, n);
      for (size_t axis = inner; axis > 0 && index[axis] == axes_[axis].size; --axis) {
        move(place, axis, -index[axis]);
        move(place, axis - 1, 1);
        index[axis] = 0;
        ++index[axis - 1];
      }
    }
  });
}

bool Walk::bring_transposed_axis_inside() {
  const auto begin = axes_.begin(), last = begin + static_cast<std::ptrdiff_t>(rank_ - 1);
  const auto unit = std::find_if(begin, last, [](const Axis& a) { return a.stride[1] == 1; });
  if (unit == last || inner_stride(1) == 0) return false;
  std::rotate(unit, unit + 1, last);
  return true;
}

void Walk::for_each_tile(int64_t side, const Tile& f) const {
  const Axis &row = axes_[rank_ - 2], &col = axes_[rank_ - 1];
  const int64_t down = (row.size + side - 1) / side, across = (col.size + side - 1) / side;
  const int64_t tiles = total_ / std::max<int64_t>(row.size * col.size, 1) * down * across;
  parallel_items(tiles, grain_for(2 * side * side), [&](int64_t tile) {
    const int64_t i = tile / across % down * side, j = tile % across * side;
    Place place{};
    move(place, rank_ - 2, i);
    move(place, rank_ - 1, j);
    int64_t rest = tile / (down * across);
    for (size_t axis = rank_ - 2; axis-- > 0; rest /= axes_[axis].size) move(place, axis, rest % axes_[axis].size);
    f(place, std::min(side, row.size - i), std::min(side, col.size - j));
  });
}

}  // namespace borealis
