// What attention does first with the heads of queries and keys: RMS norm, then the turn. A warp for each head of each row.
#include "cuda/row_kernels.h"
#include "engine/formulas.h"

namespace borealis {

inline namespace rotary_cu {

// Half a head: at most 8 numbers a lane.
template <class T> using HalfHead = RowPlan<T, true, 1, true, 8>;
constexpr int64_t longest_half = 32 * HalfHead<float>::numbers;

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
  using Plan = HalfHead<T>;
  RowTeam<T, true> team;
  const int64_t dim = args.dim, half = dim / 2;
  const T* const in = x.at<T>(0, h.row, h.place);
  T* const out = y.at<T>(0, h.row, h.place);
  const auto scale_of = [&](T squares) {
    const T scale = 1 / fast::sqrt(squares / static_cast<T>(dim) + static_cast<T>(args.eps));
    if (threadIdx.x == 0) rstd[h.head] = scale;
    return scale;
  };
  if (!cos) {
    const Row<WarpRows<T>> all(in, dim);
    const T scale = scale_of(row_sum<WarpRows<T>>(
        team, dim, [](T v) { return v * v; }, all));
    return write_row<WarpRows<T>>(
        Out<T>{out}, dim, [=](int64_t, T& to, T v) { to = v * scale; }, all);
  }
  const Row<Plan> lower(in, half), upper(in + half, half);
  const auto square = [](T v1, T v2) { return v1 * v1 + v2 * v2; };
  const T scale = rstd ? scale_of(row_sum<Plan>(team, half, square, lower, upper)) : T(1);
  const formulas::Angles<T> angles(cos, sin, T(1), h.row, args);
  each_turn<Plan>(half, [&](int k, int64_t i) {
    const auto turned = angles.turn(lower.pack(k, i).at[0] * scale, upper.pack(k, i).at[0] * scale, i);
    out[i] = turned.y1, out[i + half] = turned.y2;
  });
}

// With d = dy turned back, x̂ = x rstd:  dx = rstd (d − x̂ ⟨d x̂⟩), or dx = d where there was no norm. dx and dy may be one:
// a thread writes what nobody else reads from then on.
template <class T, class Put>
__global__ void rotary_grad_kernel(Gate gate, MatrixView dx, MatrixView dy, MatrixView x, const T* rstd, const T* cos,
                                   const T* sin, RotaryArgs args, Put put) {
  if (gate.closed()) return;
  const HeadPlace h(dy.rows, args);
  if (!h.there) return;
  using Plan = HalfHead<T>;
  RowTeam<T, true> team;
  const int64_t dim = args.dim, half = dim / 2;
  T* const out = dx.at<T>(0, h.row, h.place);
  const T* const d = dy.at<T>(0, h.row, h.place);
  const T* const in = rstd ? x.at<T>(0, h.row, h.place) : nullptr;
  const T scale = rstd ? rstd[h.head] : T(1), n = static_cast<T>(dim);
  if (!cos) {
    using Whole = WarpRows<T>;
    const Row<Whole> of_d(d, dim), of_x(in, dim);
    const T mean = row_sum<Whole>(
                       team, dim, [=](T dj, T v) { return dj * (v * scale); }, of_d, of_x) /
                   n;
    each_turn<Whole>(dim, [&](int k, int64_t i) {
      put(out[i], scale * (of_d.pack(k, i).at[0] - of_x.pack(k, i).at[0] * scale * mean));
    });
    return;
  }
  const formulas::Angles<T> angles(cos, sin, T(-1), h.row, args);
  const int64_t seen = rstd ? half : 0;
  const Row<Plan> x1(in, seen), x2(rstd ? in + half : nullptr, seen);  // zeros without a norm
  T y1[Plan::turns] = {}, y2[Plan::turns] = {}, mean = 0;
  each_turn<Plan>(half, [&](int k, int64_t i) {
    const formulas::Turned<T> turned = angles.turn(d[i], d[i + half], i);
    y1[k] = turned.y1, y2[k] = turned.y2;
    mean += y1[k] * (x1.pack(k, i).at[0] * scale) + y2[k] * (x2.pack(k, i).at[0] * scale);
  });
  mean = rstd ? team.reduce(mean, Plus{}) / n : T(0);
  each_turn<Plan>(half, [&](int k, int64_t i) {
    put(out[i], scale * (y1[k] - x1.pack(k, i).at[0] * scale * mean));
    put(out[i + half], scale * (y2[k] - x2.pack(k, i).at[0] * scale * mean));
  });
}

}  // namespace rotary_cu

void CudaBackend::rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
                         const RotaryArgs& args) {
  if (args.dim > 2 * longest_half) return Backend::rotary(y, rstd, x, cos, sin, args);
  visit(x.dtype, [&]<class T>(T) {
    launch_rows<HalfHead<T>>(on_, "rotary", x.rows * args.heads, rotary_kernel<T>, y, rstd.as<T>(), x, cos.as<T>(),
                             sin.as<T>(), args);
  });
}

void CudaBackend::rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd,
                              ConstSpan cos, ConstSpan sin, const RotaryArgs& args, double beta) {
  if (args.dim > 2 * longest_half) return Backend::rotary_grad(dx, dy, x, rstd, cos, sin, args, beta);
  visit(dy.dtype, [&]<class T>(T) {
    with_put<T>(beta, [&]<class Put>(Put put) {
      launch_rows<HalfHead<T>>(on_, "rotary_grad", dy.rows * args.heads, rotary_grad_kernel<T, Put>, dx, dy, x,
                               rstd.as<T>(), cos.as<T>(), sin.as<T>(), args, put);
    });
  });
}

}  // namespace borealis
