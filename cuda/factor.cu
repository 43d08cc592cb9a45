// Cholesky factors and what is solved with them: what leverage scores are made of. Simple kernels that wait for nobody.
#include <limits>

#include "cuda/row_kernels.h"

namespace borealis {

inline namespace factor_cu {

// Column by column, a block for each matrix:  d = √(a_jj − Σ_k l_jk²),  l_ij = (a_ij − Σ_k l_ik l_jk)/d  with k < j < i.
// Each warp finds the pivot by itself; the rows below it are shared out among the warps.
template <class T> __global__ void cholesky_kernel(Gate gate, MatrixView a) {
  if (gate.closed()) return;
  const int64_t n = a.rows, down = a.row_stride, across = a.col_stride;
  T* const A = a.at<T>(blockIdx.x);
  const auto at = [=](int64_t i, int64_t j) -> T& { return A[i * down + j * across]; };
  RowTeam<T, true> warp;
  const auto dot = [&](int64_t i, int64_t j) { return warp.sum(j, [=](int64_t k) { return at(i, k) * at(j, k); }); };
  bool definite = true;
  for (int64_t j = 0; j < n && definite; ++j) {
    const T pivot = at(j, j) - dot(j, j);
    definite = pivot > 0;  // not for a NaN; the same for all threads
    const T d = fast::sqrt(pivot);
    __syncthreads();  // all have read a_jj
    for (int64_t i = j + threadIdx.y; i < n; i += row_warps) {
      const T sum = dot(i, j);
      if (threadIdx.x == 0) at(i, j) = i == j ? d : (at(i, j) - sum) / d;
    }
    __syncthreads();
  }
  for (int64_t i = threadIdx.y; i < n; i += row_warps)
    for (int64_t j = threadIdx.x; j < n; j += 32)
      if (!definite)
        at(i, j) = std::numeric_limits<T>::quiet_NaN();
      else if (j > i)
        at(i, j) = 0;
}

// A warp for each row x of each matrix:  y_j = (x_j − Σ_{k<j} l_jk y_k)/l_jj, in place.
template <class T> __global__ void solve_lower_kernel(Gate gate, MatrixView x, MatrixView l, int64_t rows) {
  if (gate.closed()) return;
  const int64_t row = team_row<true>();
  if (row >= rows) return;
  T* const y = x.at<T>(row / x.rows, row % x.rows);
  const T* const L = l.at<T>(row / x.rows);
  RowTeam<T, true> warp;
  for (int64_t j = 0; j < x.cols; ++j) {
    const T* const of_j = L + j * l.row_stride;
    const T dot = warp.sum(j, [=](int64_t k) { return of_j[k * l.col_stride] * y[k * x.col_stride]; });
    if (threadIdx.x == 0) y[j * x.col_stride] = (y[j * x.col_stride] - dot) / of_j[j * l.col_stride];
    __syncwarp();
  }
}

}  // namespace factor_cu

void CudaBackend::cholesky(const MatrixView& a) {
  if (a.rows == 0 || a.batch.total() == 0) return;
  visit(a.dtype, [&]<class T>(T) {
    on_.launch("cholesky", cholesky_kernel<T>, blocks_for(a.batch.total(), 1), dim3(32, row_warps), 0, a);
  });
}

void CudaBackend::solve_lower(const MatrixView& x, const MatrixView& l) {
  if (x.cols == 0) return;
  visit(x.dtype, [&]<class T>(T) {
    launch_rows<WarpRows<T>>(on_, "solve_lower", x.batch.total() * x.rows, solve_lower_kernel<T>, x, l,
                             x.batch.total() * x.rows);
  });
}

}  // namespace borealis
