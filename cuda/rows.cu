// Softmax and its relatives: a warp or a block for each row.
#include "cuda/row_kernels.h"

namespace borealis {

inline namespace rows_cu {

// A row as its threads see it: the first `seen` of its `cols` numbers are visible.
template <class Plan> struct RowPlace {
  int64_t row, first, seen;
  bool there;

  __device__ explicit RowPlace(const RowsArgs& a) {
    row = team_row<Plan::one_warp>();
    there = row < a.rows;
    first = row * a.cols;
    const int64_t prefix = a.causal_rows ? row % a.causal_rows + a.causal_offset + 1 : a.cols;
    seen = prefix < 0 ? 0 : prefix > a.cols ? a.cols : prefix;
  }
};

template <class Plan, class T> __global__ void softmax_kernel(Gate gate, T* y, const T* x, RowsArgs args) {
  if (gate.closed()) return;
  const RowPlace<Plan> r(args);
  if (!r.there) return;
  typename Plan::Team team;
  const Row<Plan> row(x + r.first, r.seen);
  const auto [shift, sum] = exponents<Plan>(team, r.seen, Itself{}, row);
  const T scale = sum == 0 ? T(0) : 1 / sum;
  const auto probability = [&, shift = shift](int64_t j, T& to, T v) {
    to = j < r.seen ? fast::exp(v - shift) * scale : T(0);
  };
  write_row<Plan>(Out<T>{y + r.first}, args.cols, probability, row);
}

// y = x − log Σ exp(x), −∞ beyond what is seen.
template <class Plan, class T> __global__ void log_softmax_kernel(Gate gate, T* y, const T* x, RowsArgs args) {
  if (gate.closed()) return;
  const RowPlace<Plan> r(args);
  if (!r.there) return;
  typename Plan::Team team;
  const Row<Plan> row(x + r.first, r.seen);
  const auto [shift, sum] = exponents<Plan>(team, r.seen, Itself{}, row);
  const T lse = formulas::finite_shift(shift + fast::log(sum));
  const auto less_lse = [&](int64_t j, T& to, T v) { to = j < r.seen ? v - lse : -std::numeric_limits<T>::infinity(); };
  write_row<Plan>(Out<T>{y + r.first}, args.cols, less_lse, row);
}

// The gradient of softmax or log-softmax, for which f makes what is summed over the row and then what becomes of each number.
template <class Plan, class Of, class T, class Array, class Put>
__global__ void row_grad_kernel(Gate gate, Array dx, const T* y, const T* dy, RowsArgs args, Put put) {
  if (gate.closed()) return;
  const RowPlace<Plan> r(args);
  if (!r.there) return;
  typename Plan::Team team;
  const Row<Plan> row_y(y + r.first, r.seen), row_dy(dy + r.first, r.seen);
  const T sum = row_sum<Plan>(
      team, r.seen, [](T yj, T dyj) { return Of::term(yj, dyj); }, row_y, row_dy);
  const auto grad = [&](int64_t j, T& to, T yj, T dyj) { put(to, j < r.seen ? Of::grad(yj, dyj, sum) : T(0)); };
  write_row<Plan>(Array{dx.at + r.first}, args.cols, grad, row_y, row_dy);
}

struct OfSoftmax {
  template <class T> static __device__ T term(T y, T dy) { return y * dy; }
  template <class T> static __device__ T grad(T y, T dy, T dot) { return formulas::softmax_grad(y, dy, dot); }
};
struct OfLogSoftmax {
  template <class T> static __device__ T term(T, T dy) { return dy; }
  template <class T> static __device__ T grad(T y, T dy, T sum) { return formulas::log_softmax_grad(y, dy, sum); }
};

template <class Plan, class T> __global__ void logsumexp_kernel(Gate gate, T* y, const T* x, RowsArgs args) {
  if (gate.closed()) return;
  const RowPlace<Plan> r(args);
  if (!r.there) return;
  typename Plan::Team team;
  const auto [shift, sum] = exponents<Plan>(team, r.seen, Itself{}, Row<Plan>(x + r.first, r.seen));
  if (threadIdx.x == 0) y[r.row] = shift + fast::log(sum);
}

template <class Plan, class T, class Array, class Put>
__global__ void logsumexp_grad_kernel(Gate gate, Array dx, const T* x, const T* y, const T* dy, RowsArgs args,
                                      Put put) {
  if (gate.closed()) return;
  const RowPlace<Plan> r(args);
  if (!r.there) return;
  const T lse = formulas::finite_shift(y[r.row]), d = dy[r.row];
  const auto grad = [&](int64_t j, T& to, T v) { put(to, j < r.seen ? formulas::logsumexp_grad(v, lse, d) : T(0)); };
  write_row<Plan>(Array{dx.at + r.first}, args.cols, grad, Row<Plan>(x + r.first, r.seen));
}

}  // namespace rows_cu

void CudaBackend::softmax(Span y, ConstSpan x, const RowsArgs& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_rows<T>(args.cols, have_packs<T>(args.cols, place<T>(y), place<T>(x)), [&]<class Plan>(Plan) {
      launch_rows<Plan>(on_, "softmax", args.rows, softmax_kernel<Plan, T>, place<T>(y), place<T>(x), args);
    });
  });
}

void CudaBackend::log_softmax(Span y, ConstSpan x, const RowsArgs& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_rows<T>(args.cols, have_packs<T>(args.cols, place<T>(y), place<T>(x)), [&]<class Plan>(Plan) {
      launch_rows<Plan>(on_, "log_softmax", args.rows, log_softmax_kernel<Plan, T>, place<T>(y), place<T>(x), args);
    });
  });
}

namespace {

template <class Of>
void row_grad(Context& on, const char* name, Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
      with_rows<T>(args.cols, have_packs<T>(args.cols, out.at, place<T>(y), place<T>(dy)), [&]<class Plan>(Plan) {
        launch_rows<Plan>(on, name, args.rows, row_grad_kernel<Plan, Of, T, Array, Put>, out, place<T>(y), place<T>(dy),
                          args, put);
      });
    });
  });
}

}  // namespace

void CudaBackend::softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) {
  row_grad<OfSoftmax>(on_, "softmax_grad", dx, y, dy, args, beta);
}

void CudaBackend::log_softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) {
  row_grad<OfLogSoftmax>(on_, "log_softmax_grad", dx, y, dy, args, beta);
}

void CudaBackend::logsumexp(Span y, ConstSpan x, const RowsArgs& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_rows<T>(args.cols, have_packs<T>(args.cols, place<T>(x)), [&]<class Plan>(Plan) {
      launch_rows<Plan>(on_, "logsumexp", args.rows, logsumexp_kernel<Plan, T>, place<T>(y), place<T>(x), args);
    });
  });
}

void CudaBackend::logsumexp_grad(Span dx, ConstSpan x, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) {
  visit(x.dtype, [&]<class T>(T) {
    with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
      with_rows<T>(args.cols, have_packs<T>(args.cols, out.at, place<T>(x)), [&]<class Plan>(Plan) {
        launch_rows<Plan>(on_, "logsumexp_grad", args.rows, logsumexp_grad_kernel<typename Plan::Once, T, Array, Put>,
                          out, place<T>(x), place<T>(y), place<T>(dy), args, put);
      });
    });
  });
}

}  // namespace borealis
