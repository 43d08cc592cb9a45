// Softmax and its relatives: a warp or a block for each row.
#include "cuda/row_kernels.h"
#include "engine/formulas.h"

namespace borealis {

namespace {

// A row as its threads see it: the first `seen` of its `cols` numbers are visible.
template <bool one_warp> struct RowPlace {
  int64_t row, first, seen;
  bool there;

  __device__ explicit RowPlace(const RowsArgs& a) {
    row = team_row<one_warp>();
    there = row < a.rows;
    first = row * a.cols;
    const int64_t prefix = a.causal_rows ? row % a.causal_rows + a.causal_offset + 1 : a.cols;
    seen = prefix < 0 ? 0 : prefix > a.cols ? a.cols : prefix;
  }
};

template <class T, bool one_warp> __global__ void softmax_kernel(Gate gate, T* y, const T* x, RowsArgs args) {
  if (gate.closed()) return;
  const RowPlace<one_warp> r(args);
  if (!r.there) return;
  x += r.first, y += r.first;
  RowTeam<T, one_warp> team;
  const T shift = row_shift(team, x, r.seen);
  const T sum = team.sum(r.seen, [=](int64_t j) { return fast::exp(x[j] - shift); });
  const T scale = sum == 0 ? T(0) : 1 / sum;
  for (int64_t j = team.thread(); j < args.cols; j += team.threads)
    y[j] = j < r.seen ? fast::exp(x[j] - shift) * scale : T(0);
}

template <class T, bool one_warp, class Put>
__global__ void softmax_grad_kernel(Gate gate, T* dx, const T* y, const T* dy, RowsArgs args, Put put) {
  if (gate.closed()) return;
  const RowPlace<one_warp> r(args);
  if (!r.there) return;
  dx += r.first, y += r.first, dy += r.first;
  RowTeam<T, one_warp> team;
  const T dot = team.sum(r.seen, [=](int64_t j) { return y[j] * dy[j]; });
  for (int64_t j = team.thread(); j < args.cols; j += team.threads)
    put(dx[j], j < r.seen ? formulas::softmax_grad(y[j], dy[j], dot) : T(0));
}

template <class T, bool one_warp> __global__ void logsumexp_kernel(Gate gate, T* y, const T* x, RowsArgs args) {
  if (gate.closed()) return;
  const RowPlace<one_warp> r(args);
  if (!r.there) return;
  x += r.first;
  RowTeam<T, one_warp> team;
  const T shift = row_shift(team, x, r.seen);
  const T sum = team.sum(r.seen, [=](int64_t j) { return fast::exp(x[j] - shift); });
  if (team.thread() == 0) y[r.row] = shift + fast::log(sum);
}

}  // namespace

void CudaBackend::softmax(Span y, ConstSpan x, const RowsArgs& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_team(args.cols, [&](auto one_warp) {
      launch_rows<T>(on_, "softmax", one_warp, args.rows, softmax_kernel<T, one_warp>, place<T>(y), place<T>(x), args);
    });
  });
}

void CudaBackend::softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    with_team(args.cols, [&](auto one_warp) {
      with_put<T>(beta, [&]<class Put>(Put put) {
        launch_rows<T>(on_, "softmax_grad", one_warp, args.rows, softmax_grad_kernel<T, one_warp, Put>, place<T>(dx),
                       place<T>(y), place<T>(dy), args, put);
      });
    });
  });
}

void CudaBackend::logsumexp(Span y, ConstSpan x, const RowsArgs& args) {
  visit(y.dtype, [&]<class T>(T) {
    with_team(args.cols, [&](auto one_warp) {
      launch_rows<T>(on_, "logsumexp", one_warp, args.rows, logsumexp_kernel<T, one_warp>, place<T>(y), place<T>(x),
                     args);
    });
  });
}

}  // namespace borealis
