// Kernels on batches of matrices, however they lie.
#include "cuda/block.h"
#include "cuda/walk.h"

namespace borealis {

namespace {

Shape shape_of(const MatrixView& x) { return {x.batch.count[0], x.batch.count[1], x.rows, x.cols}; }
Shape::Strides strides_of(const MatrixView& x) {
  return {x.batch.stride[0], x.batch.stride[1], x.row_stride, x.col_stride};
}

template <class T> struct Scale {
  T* y;
  const T *x, *d;
  __device__ void operator()(const Place& p) const { y[p.at[0]] = d[p.at[2]] * x[p.at[1]]; }
};

template <class T, class Put> struct Affine {
  T* y;
  const T* x;
  T alpha;
  Put put;
  __device__ void operator()(const Place& p) const { put(y[p.at[0]], alpha * x[p.at[1]]); }
};

// A block for each row.
template <class T> __global__ void row_sum_squares_kernel(Gate gate, T* out, MatrixView x) {
  if (gate.closed()) return;
  const T* const row = x.at<T>(blockIdx.x / x.rows, blockIdx.x % x.rows);
  RowTeam<T, false> team;
  const T sum = team.sum(x.cols, [row, step = x.col_stride](int64_t j) { return row[j * step] * row[j * step]; });
  if (team.thread() == 0) out[blockIdx.x] = sum;
}

// A block for each matrix.
template <class T> __global__ void add_to_diagonal_kernel(Gate gate, MatrixView a, T fixed, T part) {
  if (gate.closed()) return;
  T* const diagonal = a.at<T>(blockIdx.x);
  const int64_t step = a.row_stride + a.col_stride;
  RowTeam<T, false> team;
  const T added = part == 0 ? fixed : fixed + part * team.sum(a.rows, [=](int64_t i) { return diagonal[i * step]; });
  for (int64_t i = team.thread(); i < a.rows; i += team.threads) diagonal[i * step] += added;
}

}  // namespace

void CudaBackend::row_sum_squares(Span out, const MatrixView& x) {
  if (out.count == 0) return;
  visit(out.dtype, [&]<class T>(T) {
    on_.launch("row_sum_squares", row_sum_squares_kernel<T>, blocks_for(out.count, 1), dim3(32 * row_warps),
               sizeof(RowMemory<T>), out.as<T>(), x);
  });
}

void CudaBackend::scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d) {
  const Shape::Strides of_d{y.batch.count[1] * y.rows, y.rows, 1, 0};
  visit(y.dtype, [&]<class T>(T) {
    walk(on_, "scale_rows", shape_of(y), {shape_of(y), strides_of(y), strides_of(x), of_d},
         Scale<T>{static_cast<T*>(y.data), static_cast<const T*>(x.data), d.as<T>()});
  });
}

void CudaBackend::matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    with_put<T>(beta, [&]<class Put>(Put put) {
      walk(on_, "matrix_affine", shape_of(y), {shape_of(y), strides_of(y), strides_of(x), {}},
           Affine<T, Put>{static_cast<T*>(y.data), static_cast<const T*>(x.data), static_cast<T>(alpha), put});
    });
  });
}

void CudaBackend::scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor) {
  visit(y.dtype, [&]<class T>(T) {
    walk(on_, "scale_each", shape_of(y), {shape_of(y), strides_of(y), strides_of(x), {y.batch.count[1], 1, 0, 0}},
         Scale<T>{static_cast<T*>(y.data), static_cast<const T*>(x.data), factor.as<T>()});
  });
}

void CudaBackend::add_to_diagonal(const MatrixView& a, double shift, double relative) {
  if (a.rows == 0 || a.batch.total() == 0) return;
  visit(a.dtype, [&]<class T>(T) {
    on_.launch("add_to_diagonal", add_to_diagonal_kernel<T>, blocks_for(a.batch.total(), 1), dim3(32 * row_warps),
               sizeof(RowMemory<T>), a, static_cast<T>(shift), static_cast<T>(relative / static_cast<double>(a.rows)));
  });
}

}  // namespace borealis
