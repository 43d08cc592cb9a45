// Sizes of a tensor, kept inline.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

#include "engine/error.h"

namespace borealis {

// Up to six sizes, outermost first. Rank 0 is a single number.
class Shape {
 public:
  static constexpr int max_rank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) { assign({sizes.begin(), sizes.size()}); }
  explicit Shape(std::span<const int64_t> sizes) { assign(sizes); }

  int rank() const { return rank_; }

  // The size along `axis`; negative axes count from the end.
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(index(axis))]; }
  void set(int axis, int64_t size) { sizes_[static_cast<size_t>(index(axis))] = size; }

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

  std::span<const int64_t> sizes() const { return {sizes_.data(), static_cast<size_t>(rank_)}; }

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && a.sizes_ == b.sizes_;
  }

  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    out << '[';
    for (int i = 0; i < s.rank_; ++i) out << (i ? ", " : "") << s.sizes_[static_cast<size_t>(i)];
    return out << ']';
  }

 private:
  void assign(std::span<const int64_t> sizes) {
    if (sizes.size() > max_rank)
      fail("shape: ", sizes.size(), " axes, but at most 6 are supported");
    rank_ = static_cast<int>(sizes.size());
    int64_t n = 1;
    for (size_t i = 0; i < sizes.size(); ++i) {
      sizes_[i] = sizes[i];
      if (sizes[i] < 0 || __builtin_mul_overflow(n, sizes[i], &n) || n > (int64_t{1} << 48))
        fail("shape: ", *this, " is not a shape: a size is negative or the total absurd");
    }
  }

  std::array<int64_t, max_rank> sizes_{};  // entries past rank_ stay 0, so == can compare all
  int rank_ = 0;
};

}  // namespace borealis
