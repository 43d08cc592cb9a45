// What the tests of polar factors and optimizers share: random matrices and measures of results.
#pragma once

#include <cmath>

#include "engine/math.h"
#include "engine/matrix.h"
#include "engine/rng.h"
#include "optim/polar.h"

namespace borealis {

// N(0, 1), the same numbers for f32 and f64 (exact in f32).
inline Tensor normal(const Shape& shape, DType dtype, uint64_t seed = 1) {
  return Rng(seed).normal(shape, 1, DType::f32).to(dtype);
}

// Row i times exp(s·N(0, 1)).
inline Tensor with_uneven_rows(const Tensor& X, double s, uint64_t seed = 7) {
  const Tensor d = Rng(seed).normal({X.size(0)}, s, DType::f32);
  for (float& x : std::span(d.data<float>(), static_cast<size_t>(d.numel()))) x = std::exp(x);
  return scale_rows(d.to(X.dtype()), X).tensor();
}

// A fresh contiguous copy, also of a transposed view.
inline Tensor packed(const Matrix& X) {
  const Matrix Y = X.like();
  axpby(Y, 1, X, 0);
  return Y.tensor();
}

// ‖UᵀU − I‖_F/√d on the short side.
inline double polar_error(const Matrix& U) {
  const Matrix E = U.rows() > U.cols() ? U.t() * U : U * U.t();
  add_to_diagonal(E, -1);
  return std::sqrt(frobenius_squares(E).item() / static_cast<double>(E.rows()));
}

// Standard deviation / mean of the row lengths.
inline double row_cv(const Matrix& U) {
  const std::vector<double> squares = row_sum_squares(U).to_vector<double>();
  const double rows = static_cast<double>(U.rows());
  double mean = 0, variance = 0;
  for (const double square : squares) mean += std::sqrt(square) / rows;
  for (const double square : squares) variance += std::pow(std::sqrt(square) - mean, 2) / rows;
  return std::sqrt(variance) / mean;
}

inline bool all_finite(const Matrix& X) { return backend(X.device()).all_finite(packed(X)); }

// Σ A_ij B_ij
inline double dot(const Matrix& A, const Matrix& B) {
  return sum(binary("dot", BinaryOp::mul, packed(A), packed(B)), {}).item();
}

}  // namespace borealis
