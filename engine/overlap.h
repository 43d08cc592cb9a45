// Which numbers a view of memory reaches, and whether two views share one: a call whose output is
// also an input would read what it has just written.
#pragma once

#include <array>
#include <cstddef>

#include "backend.h"
#include "tensor.h"

namespace borealis {

// Runs of `width` neighbouring numbers, repeated with up to four strides. Nothing has width 0.
class Layout {
 public:
  Layout(const Tensor& t);      // implicit: what a call is given
  Layout(const MatrixView& m);  // implicit: all matrices of the batch

  // Whether some number is reached twice. Sure if false; true also for strides that are not nested.
  bool repeats() const { return repeats_; }
  // Whether no number is reached by both. Sure if true: they lie apart, or keep to different
  // columns of one grid, as the heads of q and k in packed rows do.
  bool apart_from(const Layout& other) const;

 private:
  const std::byte* data_;
  int64_t item_;  // bytes of a number
  int64_t width_ = 0;
  int64_t extent_ = 0;  // from the first number to the end of the last
  int64_t grid_ = 0;    // every stride is a multiple of this; 0 without strides
  bool repeats_ = false;
};

// Fails in the name of `op` unless the output shares no number with the input.
void check_apart(const char* op, const Layout& output, const Layout& input);
// The same for outputs that may be the input itself, number for number. Matrices of equal sizes.
void check_apart_or_same(const char* op, const Tensor& output, const Tensor& input);
void check_apart_or_same(const char* op, const MatrixView& output, const MatrixView& input);
// Fails unless every number of the output has a place of its own.
void check_no_repeats(const char* op, const Layout& output);

}  // namespace borealis
