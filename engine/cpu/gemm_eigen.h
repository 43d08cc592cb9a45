// Eigen's matrix product as a tile: used by both providers for f64, and by gemm_eigen.cpp for f32.
// For the provider files only, since it includes Eigen.
#pragma once

#include <Eigen/Core>

#include "gemm.h"

namespace borealis {

// c ← alpha·op(a)·op(b) + beta·c.
template <class T> void eigen_tile(const GemmTile& t) {
  using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Strided = Eigen::OuterStride<>;
  using Input = Eigen::Map<const RowMajor, Eigen::Unaligned, Strided>;
  // A transposed input is mapped as it lies in memory, [k, m] or [n, k].
  const Input a(static_cast<const T*>(t.a), t.trans_a ? t.k : t.m, t.trans_a ? t.m : t.k, Strided(t.lda));
  const Input b(static_cast<const T*>(t.b), t.trans_b ? t.n : t.k, t.trans_b ? t.k : t.n, Strided(t.ldb));
  Eigen::Map<RowMajor, Eigen::Unaligned, Strided> c(static_cast<T*>(t.c), t.m, t.n, Strided(t.ldc));

  if (t.beta == 0) {
    c.setZero();
  } else if (t.beta != 1) {
    c *= static_cast<T>(t.beta);
  }
  if (t.k == 0) return;
  const T alpha = static_cast<T>(t.alpha);
  if (!t.trans_a && !t.trans_b) c.noalias() += alpha * (a * b);
  if (!t.trans_a && t.trans_b) c.noalias() += alpha * (a * b.transpose());
  if (t.trans_a && !t.trans_b) c.noalias() += alpha * (a.transpose() * b);
  if (t.trans_a && t.trans_b) c.noalias() += alpha * (a.transpose() * b.transpose());
}

}  // namespace borealis
