// Kernels on batches of matrices, however they lie.
#include "cuda/row_kernels.h"
#include "cuda/sums.h"
#include "cuda/walk.h"

namespace borealis {

inline namespace matrix_cu {

Shape shape_of(const MatrixView& x) { return {x.batch.count[0], x.batch.count[1], x.rows, x.cols}; }
Shape::Strides strides_of(const MatrixView& x) {
  return {x.batch.stride[0], x.batch.stride[1], x.row_stride, x.col_stride};
}

struct Scale {
  template <class T> __device__ void operator()(T& y, T x, T d) const { y = d * x; }
};

template <class T, class Put> struct Affine {
  T alpha;
  Put put;
  __device__ void operator()(T& y, T x) const { put(y, alpha * x); }
};

template <class T> In<T> in(const MatrixView& x) { return {static_cast<const T*>(x.data)}; }

// The square of each number of a batch of matrices; row: of all of them.
template <class T> struct SquareAt {
  MatrixView x;
  template <int n> __device__ Pack<T, n> pack(int64_t row, int64_t i) const {
    Pack<T, n> squares = mapping::load<T, n>(In<T>{x.at<T>(row / x.rows, row % x.rows, i)}, 0);
    for (T& s : squares.at) s *= s;
    return squares;
  }
};

// Rows that lie one number after the other.
template <class Plan, class T> __global__ void row_sum_squares_kernel(Gate gate, T* out, int64_t rows, MatrixView x) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>();
  if (row >= rows) return;
  typename Plan::Team team;
  const Row<Plan> numbers(x.at<T>(row / x.rows, row % x.rows), x.cols);
  const T sum = row_sum<Plan>(
      team, x.cols, [](T v) { return v * v; }, numbers);
  if (threadIdx.x == 0) out[row] = sum;
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

}  // namespace matrix_cu

// Rows of numbers that lie apart are columns of what lies side by side.
void CudaBackend::row_sum_squares(Span out, const MatrixView& x) {
  if (out.count == 0) return;
  visit(out.dtype, [&]<class T>(T) {
    const auto in_packs = [&](const MatrixView& m) {
      constexpr int64_t width = 16 / sizeof(T);
      return m.col_stride == 1 && m.row_stride % width == 0 && m.batch.stride[0] % width == 0 &&
             m.batch.stride[1] % width == 0 && have_packs<T>(m.cols, static_cast<const T*>(m.data));
    };
    if (x.col_stride == 1 || x.cols == 1)
      return with_rows<T>(x.cols, in_packs(x), [&]<class Plan>(Plan) {
        launch_rows<Plan>(on_, "row_sum_squares", out.count, row_sum_squares_kernel<Plan, T>, out.as<T>(), out.count,
                          x);
      });
    const MatrixView columns = x.t();
    column_sums<T>(on_, "row_sum_squares", out, 0, x.batch.total(), columns.rows, columns.cols, 1, SquareAt<T>{columns},
                   in_packs(columns), device_);
  });
}

void CudaBackend::scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d) {
  visit(y.dtype, [&]<class T>(T) {
    walk(on_, "scale_rows", shape_of(y), {strides_of(y), strides_of(x), {y.batch.count[1] * y.rows, y.rows, 1, 0}},
         Scale{}, Out<T>{static_cast<T*>(y.data)}, in<T>(x), in<T>(d));
  });
}

void CudaBackend::matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    with_beta<T>({y.data, y.dtype, y.extent()}, beta, [&]<class Array, class Put>(Array out, Put put) {
      walk(on_, "matrix_affine", shape_of(y), {strides_of(y), strides_of(x)},
           Affine<T, Put>{static_cast<T>(alpha), put}, out, in<T>(x));
    });
  });
}

void CudaBackend::scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor) {
  visit(y.dtype, [&]<class T>(T) {
    walk(on_, "scale_each", shape_of(y), {strides_of(y), strides_of(x), {y.batch.count[1], 1, 0, 0}}, Scale{},
         Out<T>{static_cast<T*>(y.data)}, in<T>(x), in<T>(factor));
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
