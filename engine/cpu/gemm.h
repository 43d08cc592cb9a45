// What a provider of matrix products offers to the CPU's kernels: one tile, on the calling thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../backend.h"

namespace borealis {

// A matrix, or part of one, as rows of neighbouring numbers `ld` apart; `trans`: as the transpose of such rows.
template <class T> struct Rows {
  T* data;
  int64_t ld;
  bool trans = false;

  // Row i of what lies in memory (a column, if `trans`), and the part from there on.
  T* operator[](int64_t i) const { return data + i * ld; }
  Rows from(int64_t i) const { return {(*this)[i], ld, trans}; }
  Rows t() const { return {data, ld, !trans}; }
  operator Rows<const T>() const { return {data, ld, trans}; }
};

// Matrix `index` of the batch from element (i, j) on.
template <class T> Rows<T> rows_of(const MatrixView& x, int64_t index, int64_t i = 0, int64_t j = 0) {
  const bool trans = x.col_stride != 1;
  // A single row may be as long as it likes, whatever its stride says.
  return {x.at<T>(index, i, j), trans ? std::max(x.col_stride, x.rows) : std::max(x.row_stride, x.cols), trans};
}

// c [m, n] ← alpha·a·b + beta·c,  a: [m, k], b: [k, n]; c is not transposed, and not read with beta = 0. Runs on the
// calling thread alone, so its result cannot depend on how many there are.
template <class T> struct GemmTile {
  int64_t m, n, k;
  Rows<T> c;
  Rows<const T> a, b;
  double alpha = 1, beta = 0;
};

void gemm_tile(const GemmTile<float>& tile);
void gemm_tile(const GemmTile<double>& tile);
const char* gemm_provider();

}  // namespace borealis
