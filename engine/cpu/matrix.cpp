// Kernels on batches of matrices that are no products: row norms, scaling, sums between layouts,
// and the small dense factorizations.
#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/cpu/backend.h"
#include "engine/cpu/gemm.h"
#include "engine/cpu/walk.h"
#include "engine/tensor.h"

namespace borealis {

namespace {

// The numbers that multiply a matrix: element (i, j) of matrix b by data[b·batch + i·row + j·col].
template <class T> struct Factors {
  const T* data;
  int64_t batch, row, col;
};

// y(i, j) ← c(i, j)·x(i, j) + beta·y(i, j). The inner loop follows y's memory. Where x lies the
// other way round, it goes in square tiles, so that both sides use whole cache lines.
template <class T> void scale(MatrixView y, MatrixView x, Factors<T> c, double beta) {
  if (y.col_stride != 1) {
    y = y.t(), x = x.t();
    std::swap(c.row, c.col);
  }
  constexpr int64_t side = 32;
  const int64_t width = x.col_stride == 1 ? std::max<int64_t>(y.cols, 1) : side;
  const int64_t bands = (y.rows + side - 1) / side;  // of `side` rows

  parallel_items(y.batch.total() * bands, grain_for(side * y.cols), [&](int64_t index) {
    const int64_t b = index / bands, first = index % bands * side;
    const int64_t last = std::min(y.rows, first + side);
    for (int64_t left = 0; left < y.cols; left += width)
      for (int64_t i = first; i < last; ++i) {
        T* const out = y.at<T>(b, i, left);
        const T* const in = x.at<T>(b, i, left);
        const T* const factor = c.data + b * c.batch + i * c.row + left * c.col;
        const int64_t n = std::min(width, y.cols - left);
        with_beta<T>(beta, [&](auto put) {
          with_strides(x.col_stride, c.col, [&](auto step_x, auto step_c) {
            each(n, [=](int64_t j) { put(out[j], factor[j * step_c] * in[j * step_x]); });
          });
        });
      }
  });
}

// out[r] ← Σ_j x(first + r, j)² for n ≤ 64 rows whose numbers lie `col_stride` apart, neighbours
// side by side: the sums run down the columns, 64 terms at a time so that rounding stays small.
template <class T> void column_sum_squares(T* out, const T* x, int64_t n, int64_t cols, int64_t col_stride) {
  T total[64] = {};
  for (int64_t from = 0; from < cols; from += 64) {
    T part[64] = {};
    for (int64_t j = from; j < std::min(cols, from + 64); ++j) {
      const T* const column = x + j * col_stride;
      each(n, [&](int64_t r) { part[r] += column[r] * column[r]; });
    }
    each(n, [&](int64_t r) { total[r] += part[r]; });
  }
  std::copy_n(total, n, out);
}

template <class T> using Dense = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
template <class T> using Mapped = Eigen::Map<Dense<T>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

// Matrix `index` of the batch, for Eigen.
template <class T> Mapped<T> mapped(const MatrixView& x, int64_t index) {
  return {x.at<T>(index), x.rows, x.cols, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(x.col_stride, x.row_stride)};
}

constexpr int64_t solve_rows = 64;  // rows of x solved together

// z ← L⁻¹ z for the rows z of X from `first` on. They lie in Z [cols, solve_rows], a row of X in a
// column, so that the loops run over rows. Blockwise:  Z_c ← L_cc⁻¹ (Z_c − Σ_{b<c} L_cb Z_b).
template <class T> void solve_band(const MatrixView& x, const MatrixView& l, int64_t index, int64_t first, T* Z) {
  constexpr int64_t side = 32;
  const int64_t n = std::min(solve_rows, x.rows - first);
  T* const X = x.at<T>(index, first);
  for (int64_t j = 0; j < x.cols; ++j)
    each(n, [&](int64_t r) { Z[j * solve_rows + r] = X[r * x.row_stride + j * x.col_stride]; });

  for (int64_t c = 0; c < x.cols; c += side) {
    const int64_t end = std::min(c + side, x.cols);
    const Rows<T> solved{Z, solve_rows};
    gemm_tile(GemmTile<T>{end - c, n, c, solved.from(c), rows_of<T>(l, index, c), solved, -1, 1});
    for (int64_t j = c; j < end; ++j) {
      T* const z = Z + j * solve_rows;
      const T* const row = l.at<T>(index, j);
      for (int64_t k = c; k < j; ++k) {
        const T* const known = Z + k * solve_rows;
        each(n, [z, known, factor = row[k * l.col_stride]](int64_t r) { z[r] -= factor * known[r]; });
      }
      each(n, [z, pivot = row[j * l.col_stride]](int64_t r) { z[r] /= pivot; });
    }
  }
  for (int64_t r = 0; r < n; ++r)
    each(x.cols, [&](int64_t j) { X[r * x.row_stride + j * x.col_stride] = Z[j * solve_rows + r]; });
}

// U = P Qᵀ of X = P Σ Qᵀ, of the singular values above `epsilon`·max(m, n)·σ₁.
Dense<double> polar_factor(const Dense<double>& X, double epsilon) {
  if (!X.allFinite()) return Dense<double>::Constant(X.rows(), X.cols(), std::nan(""));
  const Eigen::JacobiSVD<Dense<double>> svd(X, Eigen::ComputeThinU | Eigen::ComputeThinV);
  const Eigen::VectorXd& sigma = svd.singularValues();
  const double level = epsilon * static_cast<double>(std::max(X.rows(), X.cols())) * sigma[0];
  const Eigen::Index rank = (sigma.array() > level).count();
  return svd.matrixU().leftCols(rank) * svd.matrixV().leftCols(rank).transpose();
}

}  // namespace

void CpuBackend::row_sum_squares(Span out, const MatrixView& x) {
  constexpr int64_t side = 64;
  const int64_t bands = (x.rows + side - 1) / side;
  visit(x.dtype, [&]<class T>(T) {
    parallel_items(x.batch.total() * bands, grain_for(side * x.cols), [&](int64_t index) {
      const int64_t b = index / bands, first = index % bands * side;
      const int64_t n = std::min(side, x.rows - first);
      const T* const in = x.at<T>(b, first);
      T* const result = out.as<T>() + b * x.rows + first;
      // One of a matrix's two strides is 1.
      if (x.col_stride != 1) return column_sum_squares(result, in, n, x.cols, x.col_stride);
      for (int64_t r = 0; r < n; ++r) {
        const T* const row = in + r * x.row_stride;
        result[r] = lane_sum<T>(x.cols, [=](int64_t j) { return row[j] * row[j]; });
      }
    });
  });
}

void CpuBackend::scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d) {
  visit(y.dtype, [&]<class T>(T) { scale<T>(y, x, {.data = d.as<T>(), .batch = y.rows, .row = 1, .col = 0}, 0); });
}

void CpuBackend::matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    const T factor = static_cast<T>(alpha);
    scale<T>(y, x, {.data = &factor, .batch = 0, .row = 0, .col = 0}, beta);
  });
}

void CpuBackend::scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor) {
  visit(y.dtype, [&]<class T>(T) { scale<T>(y, x, {.data = factor.as<T>(), .batch = 1, .row = 0, .col = 0}, 0); });
}

void CpuBackend::cholesky(const MatrixView& a) {
  visit(a.dtype, [&]<class T>(T) {
    parallel_items(a.batch.total(), grain_for(a.rows * a.rows * a.rows / 12), [&](int64_t index) {
      Mapped<T> A = mapped<T>(a, index);
      const Eigen::LLT<Dense<T>> llt(A);
      const bool definite =
          llt.info() == Eigen::Success && (llt.matrixLLT().diagonal().array() > T(0)).all();  // false for a NaN
      if (definite)
        A = llt.matrixL();
      else
        A.setConstant(std::numeric_limits<T>::quiet_NaN());
    });
  });
}

void CpuBackend::solve_lower(const MatrixView& x, const MatrixView& l) {
  const int64_t bands = (x.rows + solve_rows - 1) / solve_rows;
  visit(x.dtype, [&]<class T>(T) {
    const Tensor scratch({threads(), x.cols, solve_rows}, x.dtype);
    parallel_for(x.batch.total() * bands, grain_for(solve_rows * x.cols * x.cols / 16),
                 [&](int64_t begin, int64_t end, int worker) {
                   T* const Z = scratch.data<T>() + worker * x.cols * solve_rows;
                   for (int64_t index = begin; index < end; ++index)
                     solve_band(x, l, index / bands, index % bands * solve_rows, Z);
                 });
  });
}

void CpuBackend::polar_svd(const MatrixView& u, const MatrixView& x) {
  visit(x.dtype, [&]<class T>(T) {
    if (x.rows == 0 || x.cols == 0) return;
    parallel_items(x.batch.total(), grain_for(x.rows * x.cols * std::min(x.rows, x.cols)), [&](int64_t index) {
      const Dense<double> X = mapped<T>(x, index).template cast<double>();
      mapped<T>(u, index) = polar_factor(X, std::numeric_limits<T>::epsilon()).template cast<T>();
    });
  });
}

}  // namespace borealis
