// What attention does first with the heads of queries and keys: RMS norm, then the turn. A warp for each head of each row.
#include "cuda/row_kernels.h"
#include "engine/formulas.h"

namespace borealis {

namespace {

// The head of this warp.
struct HeadPlace {
  int64_t head, row, place;  // of all rows; its row; where in the row it begins
  bool there;

  __device__ HeadPlace(int64_t rows, const RotaryArgs& args) : head(team_row<true>()) {
    row = head / args.heads, place = head % args.heads * args.dim;
    there = row < rows;
  }
};

template <class T>
__global__ void rotary_kernel(Gate gate, MatrixView y, T* rstd, MatrixView x, const T* cos, const T* sin,
                              RotaryArgs args) {
  if (gate.closed()) return;
  const HeadPlace h(x.rows, args);
  if (!h.there) return;
  RowTeam<T, true> team;
  const int64_t dim = args.dim, half = dim / 2;
  const T* const in = x.at<T>(0, h.row, h.place);
  T* const out = y.at<T>(0, h.row, h.place);
  T scale = 1;
  if (rstd) {
    const T squares = team.sum(dim, [in](int64_t i) { return in[i] * in[i]; });
    scale = 1 / fast::sqrt(squares / static_cast<T>(dim) + static_cast<T>(args.eps));
    if (team.thread() == 0) rstd[h.head] = scale;
  }
  if (!cos) {
    for (int64_t i = team.thread(); i < dim; i += team.threads) out[i] = in[i] * scale;
    return;
  }
  const formulas::Angles<T> angles(cos, sin, T(1), h.row, args);
  for (int64_t i = team.thread(); i < half; i += team.threads) {
    const formulas::Turned<T> turned = angles.turn(in[i] * scale, in[i + half] * scale, i);
    out[i] = turned.y1, out[i + half] = turned.y2;
  }
}

// With d = dy turned back, x̂ = x rstd:  dx = rstd (d − x̂ ⟨d x̂⟩), or dx = d where there was no norm. dx and dy may be one:
// a thread writes what nobody else reads from then on.
template <class T, class Put>
__global__ void rotary_grad_kernel(Gate gate, MatrixView dx, MatrixView dy, MatrixView x, const T* rstd, const T* cos,
                                   const T* sin, RotaryArgs args, Put put) {
  if (gate.closed()) return;
  const HeadPlace h(dy.rows, args);
  if (!h.there) return;
  RowTeam<T, true> team;
  const int64_t dim = args.dim, half = dim / 2;
  T* const out = dx.at<T>(0, h.row, h.place);
  const T* const d = dy.at<T>(0, h.row, h.place);
  const T* const in = rstd ? x.at<T>(0, h.row, h.place) : nullptr;
  const T scale = rstd ? rstd[h.head] : T(1), n = static_cast<T>(dim);
  const auto x_hat = [=](int64_t i) { return in[i] * scale; };
  if (!cos) {
    const T mean = team.sum(dim, [=](int64_t i) { return d[i] * x_hat(i); }) / n;
    for (int64_t i = team.thread(); i < dim; i += team.threads) put(out[i], scale * (d[i] - x_hat(i) * mean));
    return;
  }
  const formulas::Angles<T> angles(cos, sin, T(-1), h.row, args);
  T mean = 0;
  if (rstd)
    mean = team.sum(half, [=](int64_t i) {
      const formulas::Turned<T> turned = angles.turn(d[i], d[i + half], i);
      return turned.y1 * x_hat(i) + turned.y2 * x_hat(i + half);
    }) / n;
  for (int64_t i = team.thread(); i < half; i += team.threads) {
    const formulas::Turned<T> turned = angles.turn(d[i], d[i + half], i);
    put(out[i], rstd ? scale * (turned.y1 - x_hat(i) * mean) : turned.y1);
    put(out[i + half], rstd ? scale * (turned.y2 - x_hat(i + half) * mean) : turned.y2);
  }
}

}  // namespace

void CudaBackend::rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
                         const RotaryArgs& args) {
  visit(x.dtype, [&]<class T>(T) {
    launch_rows<T>(on_, "rotary", true, x.rows * args.heads, rotary_kernel<T>, y, rstd.as<T>(), x, cos.as<T>(),
                   sin.as<T>(), args);
  });
}

void CudaBackend::rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd,
                              ConstSpan cos, ConstSpan sin, const RotaryArgs& args, double beta) {
  visit(dy.dtype, [&]<class T>(T) {
    with_put<T>(beta, [&]<class Put>(Put put) {
      launch_rows<T>(on_, "rotary_grad", true, dy.rows * args.heads, rotary_grad_kernel<T, Put>, dx, dy, x,
                     rstd.as<T>(), cos.as<T>(), sin.as<T>(), args, put);
    });
  });
}

}  // namespace borealis
