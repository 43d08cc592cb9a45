// Sizes of a tensor, kept inline.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "error.h"

namespace borealis {

// The items first … first + count of something; any numbers, so no plain sum of them is safe.
struct Range {
  int64_t first, count;

  bool inside(int64_t size) const { return first >= 0 && count >= 0 && first <= size && count <= size - first; }
  friend std::ostream& operator<<(std::ostream& out, const Range& r) {
    int64_t end = 0;
    out << r.first << " … ";
    if (__builtin_add_overflow(r.first, r.count, &end)) return out << r.first << " + " << r.count;
    return out << end;
  }
};

// Up to six sizes, outermost first. Rank 0 is a single number.
class Shape {
 public:
  static constexpr int max_rank = 6;
  // What the sizes may come to, zeros aside: far above any memory, and no product of some of them
  // overflows.
  static constexpr int64_t max_numel = int64_t{1} << 48;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
    if (sizes.size() > max_rank) fail("shape: ", sizes.size(), " axes, but at most 6 are supported");
    std::copy(sizes.begin(), sizes.end(), sizes_.begin());
    int64_t n = 1;
    for (const int64_t size : sizes) {
      if (size < 0 || size > max_numel / n)
        fail("shape: ", *this, " is not a shape: a size is negative or the total absurd");
      n *= std::max<int64_t>(size, 1);
    }
  }

  int rank() const { return rank_; }

  // The size along `axis`; negative axes count from the end.
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(index(axis))]; }
  void set(int axis, int64_t size) {
    Shape other = *this;
    other.sizes_[static_cast<size_t>(index(axis))] = size;
    *this = Shape(other.sizes());
  }

  // `axis` as a number in [0, rank); fails outside.
  int index(int axis) const {
    const int i = axis < 0 ? axis + rank_ : axis;
    if (i < 0 || i >= rank_) fail("shape: axis ", axis, " does not exist in ", *this);
    return i;
  }

  int64_t numel() const {
    int64_t n = 1;
    for (const int64_t size : sizes()) n *= size;
    return n;
  }

  // Row-major strides in elements.
  using Strides = std::array<int64_t, max_rank>;
  Strides strides() const {
    Strides s{};
    int64_t stride = 1;
    for (size_t i = sizes().size(); i-- > 0; stride *= sizes_[i]) s[i] = stride;
    return s;
  }

  std::span<const int64_t> sizes() const { return {sizes_.data(), static_cast<size_t>(rank_)}; }

  friend bool operator==(const Shape& a, const Shape& b) { return a.rank_ == b.rank_ && a.sizes_ == b.sizes_; }

  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    out << '[';
    for (int i = 0; i < s.rank_; ++i) out << (i ? ", " : "") << s.sizes_[static_cast<size_t>(i)];
    return out << ']';
  }

 private:
  std::array<int64_t, max_rank> sizes_{};  // entries past rank_ stay 0, so == can compare all
  int rank_ = 0;
};

}  // namespace borealis
