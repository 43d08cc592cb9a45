// Eigen's matrix product as a tile: used by both providers for f64, and by gemm_eigen.cpp for f32.
// For the provider files only, since it includes Eigen.
#pragma once

#include <Eigen/Core>

#include "gemm.h"

namespace borealis {

// c ← alpha·op(a)·op(b) + beta·c.
template <class T> void eigen_tile(const GemmTile<T>& t) {
  using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Strided = Eigen::OuterStride<>;
  using Input = Eigen::Map<const RowMajor, Eigen::Unaligned, Strided>;
  // A transposed input is mapped as it lies in memory, [k, m] or [n, k].
  const auto input = [](const Rows<const T>& x, int64_t rows, int64_t cols) {
    return Input(x.data, x.trans ? cols : rows, x.trans ? rows : cols, Strided(x.ld));
  };
  const Input a = input(t.a, t.m, t.k), b = input(t.b, t.k, t.n);
  Eigen::Map<RowMajor, Eigen::Unaligned, Strided> c(t.c.data, t.m, t.n, Strided(t.c.ld));

  if (t.beta == 0) {
    c.setZero();
  } else if (t.beta != 1) {
    c *= static_cast<T>(t.beta);
  }
  if (t.k == 0) return;
  const T alpha = static_cast<T>(t.alpha);
  if (!t.a.trans && !t.b.trans) c.noalias() += alpha * (a * b);
  if (!t.a.trans && t.b.trans) c.noalias() += alpha * (a * b.transpose());
  if (t.a.trans && !t.b.trans) c.noalias() += alpha * (a.transpose() * b);
  if (t.a.trans && t.b.trans) c.noalias() += alpha * (a.transpose() * b.transpose());
}

}  // namespace borealis
