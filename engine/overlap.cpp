#include "engine/overlap.h"

#include <algorithm>
#include <numeric>

namespace borealis {

Layout::Layout(const Tensor& t)
    : data_(static_cast<const std::byte*>(t.raw())),
      item_(static_cast<int64_t>(size_of(t.dtype()))),
      width_(t.numel()),
      extent_(t.numel()) {}

Layout::Layout(const MatrixView& m)
    : data_(static_cast<const std::byte*>(m.data)), item_(static_cast<int64_t>(size_of(m.dtype))) {
  if (m.extent() == 0) return;
  std::array<std::pair<int64_t, int64_t>, 4> dims{{{m.row_stride, m.rows},
                                                   {m.col_stride, m.cols},
                                                   {m.batch.stride[0], m.batch.count[0]},
                                                   {m.batch.stride[1], m.batch.count[1]}}};
  std::sort(dims.begin(), dims.end());
  width_ = extent_ = 1;
  for (const auto& [stride, count] : dims) {
    if (count == 1) continue;
    if (stride < extent_) repeats_ = true;
    if (stride == width_ && extent_ == width_)
      width_ *= count;
    else
      grid_ = std::gcd(grid_, stride);
    extent_ += stride * (count - 1);
  }
}

bool Layout::apart_from(const Layout& other) const {
  if (width_ == 0 || other.width_ == 0) return true;
  if (data_ + extent_ * item_ <= other.data_ || other.data_ + other.extent_ * other.item_ <= data_) return true;
  const int64_t grid = std::gcd(grid_, other.grid_), bytes = other.data_ - data_;
  if (grid == 0 || item_ != other.item_ || bytes % item_ != 0) return false;
  const int64_t column = (bytes / item_ % grid + grid) % grid;  // of other's runs, from ours on
  return width_ <= column && column + other.width_ <= grid;
}

void check_apart(const char* op, const Layout& output, const Layout& input) {
  if (!output.apart_from(input))
    fail(op,
         ": the output lies in the memory of an input, which would be overwritten while it is "
         "read; give the output memory of its own");
}

void check_apart_or_same(const char* op, const Tensor& output, const Tensor& input) {
  if (output.raw() != input.raw()) check_apart(op, output, input);
}

void check_apart_or_same(const char* op, const MatrixView& output, const MatrixView& input) {
  const auto alike = [](int64_t count, int64_t a, int64_t b) { return count <= 1 || a == b; };
  const MatrixView &y = output, &x = input;
  const bool same = y.data == x.data && alike(y.rows, y.row_stride, x.row_stride) &&
                    alike(y.cols, y.col_stride, x.col_stride) &&
                    alike(y.batch.count[0], y.batch.stride[0], x.batch.stride[0]) &&
                    alike(y.batch.count[1], y.batch.stride[1], x.batch.stride[1]);
  if (!same) check_apart(op, y, x);
}

void check_no_repeats(const char* op, const Layout& output) {
  if (output.repeats()) fail(op, ": matrices of the output lie on each other; give each memory of its own");
}

}  // namespace borealis
