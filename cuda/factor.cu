// Cholesky factors and what is solved with them: what leverage scores are made of. Blocks of `side` columns from left
// to right, all matrices of a batch at once: a block's own part in shared memory or by warps, what it means for the rest
// by products. For n = 768 a factor takes 35 launches, and 2n³/3 of its FLOPs are in products (which fill the upper
// triangle too). Column by column in one block of threads, 2 numbers for each of n³/6 multiplications would come from
// caches to a single multiprocessor: 0.6 GB, at 64 bytes a cycle 9 M cycles.
#include <algorithm>
#include <limits>

#include "cuda/row_kernels.h"

namespace borealis {

inline namespace factor_cu {

constexpr int side = 64;

// Rows and columns [i, i + rows), [j, j + cols) of each matrix.
MatrixView part(const MatrixView& x, int64_t i, int64_t j, int64_t rows, int64_t cols) {
  MatrixView y = x;
  y.rows = rows, y.cols = cols;
  y.data =
      static_cast<std::byte*>(x.data) + (i * x.row_stride + j * x.col_stride) * static_cast<int64_t>(size_of(x.dtype));
  return y;
}

// c ← c − a b, in whose rows or columns numbers lie side by side.
void subtract_product(Backend& on, const MatrixView& c, const MatrixView& a, const MatrixView& b) {
  if (a.cols == 0) return;
  c.col_stride == 1 ? on.gemm(c, a, b, -1, 1, false, Precision::exact)
                    : on.gemm(c.t(), b.t(), a.t(), -1, 1, false, Precision::exact);
}

// A column more than there is, so that neighbours in a column lie in different banks.
template <class T> struct FactorMemory { T at[side][side + 1]; };

// A block for each matrix of up to `side` rows. Column j, once it is as it was left by those before:
//   a_ik ← a_ik − (a_ij / a_jj) a_kj  for j < k ≤ i;  at last  l_ij = a_ij / √a_jj.
template <class T> __global__ void cholesky_kernel(Gate gate, MatrixView a) {
  if (gate.closed()) return;
  auto& shared = block_memory<FactorMemory<T>>().at;
  T* const A = a.at<T>(blockIdx.x);
  const int n = static_cast<int>(a.rows), i = static_cast<int>(threadIdx.x), first = static_cast<int>(threadIdx.y);
  const int step = static_cast<int>(blockDim.y);
  for (int j = first; j <= i && i < n; j += step) shared[i][j] = A[i * a.row_stride + j * a.col_stride];
  __syncthreads();
  bool definite = true;
  for (int j = 0; j < n; ++j) {
    const T pivot = shared[j][j];
    definite = pivot > 0;  // not for a NaN; the same for all threads
    if (!definite) break;
    if (j < i && i < n) {
      const T factor = shared[i][j] / pivot;
      for (int k = j + 1 + first; k <= i; k += step) shared[i][k] -= factor * shared[k][j];
    }
    __syncthreads();
  }
  for (int j = first; j < n && i < n; j += step) {
    const T scale = definite ? fast::sqrt(shared[j][j]) : std::numeric_limits<T>::quiet_NaN();
    T& to = A[i * a.row_stride + j * a.col_stride];
    to = !definite ? scale : j > i ? T(0) : j == i ? scale : shared[i][j] / scale;
  }
}

// A matrix of several blocks: zeros above the diagonal; NaN everywhere if a block was not definite, which reached the
// last number of the diagonal.
template <class T> struct Finish {
  MatrixView a;
  __device__ void operator()(int64_t index) const {
    const int64_t n = a.rows, i = index / n % n, j = index % n;
    T* const A = a.at<T>(index / (n * n));
    const T last = A[(n - 1) * (a.row_stride + a.col_stride)];
    T& to = A[i * a.row_stride + j * a.col_stride];
    if (last != last) {
      if (i + j < 2 * (n - 1)) to = last;
    } else if (j > i) {
      to = 0;
    }
  }
};

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
  const int64_t n = a.rows, matrices = a.batch.total();
  if (n == 0 || matrices == 0) return;
  visit(a.dtype, [&]<class T>(T) {
    for (int64_t j = 0; j < n; j += side) {
      const int64_t wide = std::min<int64_t>(side, n - j), end = j + wide, below = n - end;
      const MatrixView block = part(a, j, j, wide, wide), panel = part(a, end, j, below, wide);
      on_.launch("cholesky", cholesky_kernel<T>, blocks_for(matrices, 1), dim3(side, 4), sizeof(FactorMemory<T>),
                 block);
      if (below == 0) break;
      solve_lower(panel, block);
      subtract_product(*this, part(a, end, end, below, below), panel, panel.t());
    }
    if (n > side) each_item(on_, "cholesky", matrices * n * n, Finish<T>{a});
  });
}

void CudaBackend::solve_lower(const MatrixView& x, const MatrixView& l) {
  const int64_t rows = x.batch.total() * x.rows;
  visit(x.dtype, [&]<class T>(T) {
    for (int64_t j = 0; j < x.cols; j += side) {
      const int64_t wide = std::min<int64_t>(side, x.cols - j);
      const MatrixView now = part(x, 0, j, x.rows, wide);
      subtract_product(*this, now, part(x, 0, 0, x.rows, j), part(l, j, 0, wide, j).t());
      launch_rows<WarpRows<T>>(on_, "solve_lower", rows, solve_lower_kernel<T>, now, part(l, j, j, wide, wide), rows);
    }
  });
}

}  // namespace borealis
