// LayerNorm and RMSNorm over rows, with x̂ = (x − mean)·rstd:  y = x̂·gain + bias.  RMSNorm is the case mean = 0.
#include "cuda/row_kernels.h"
#include "cuda/sums.h"

namespace borealis {

namespace {

// With a branch, s ← x + branch first, and the norm is of s. A thread reads again what it wrote itself.
template <class T, bool one_warp>
__global__ void norm_kernel(Gate gate, T* y, T* s, T* mean_out, T* rstd_out, const T* x, const T* branch, const T* gain,
                            const T* bias, NormArgs args) {
  if (gate.closed()) return;
  const int64_t row = team_row<one_warp>(), cols = args.cols, first = row * cols;
  if (row >= args.rows) return;
  RowTeam<T, one_warp> team;
  x += first, y += first;
  if (branch) {
    for (int64_t j = team.thread(); j < cols; j += team.threads) s[first + j] = x[j] + branch[first + j];
    x = s + first;
  }
  const T n = static_cast<T>(cols);
  const T mean = args.center ? team.sum(cols, [=](int64_t j) { return x[j]; }) / n : T(0);
  const T squares = team.sum(cols, [=](int64_t j) { return (x[j] - mean) * (x[j] - mean); });
  const T rstd = 1 / fast::sqrt(squares / n + static_cast<T>(args.eps));
  for (int64_t j = team.thread(); j < cols; j += team.threads)
    y[j] = (x[j] - mean) * rstd * (gain ? gain[j] : T(1)) + (bias ? bias[j] : T(0));
  if (team.thread() != 0) return;
  if (args.center) mean_out[row] = mean;
  rstd_out[row] = rstd;
}

// dx = rstd (d − ⟨d⟩ − x̂ ⟨d x̂⟩) with d = dy·gain and ⟨·⟩ the row's mean; without ⟨d⟩ for RMSNorm.
template <class T, bool one_warp, class Put>
__global__ void norm_grad_kernel(Gate gate, T* dx, const T* x, const T* gain, const T* means, const T* rstds,
                                 const T* dy, NormArgs args, Put put) {
  if (gate.closed()) return;
  const int64_t row = team_row<one_warp>(), cols = args.cols;
  if (row >= args.rows) return;
  RowTeam<T, one_warp> team;
  x += row * cols, dx += row * cols, dy += row * cols;
  const T mean = args.center ? means[row] : T(0), rstd = rstds[row], n = static_cast<T>(cols);
  const auto d = [=](int64_t j) { return dy[j] * (gain ? gain[j] : T(1)); };
  const auto x_hat = [=](int64_t j) { return (x[j] - mean) * rstd; };
  const T mean_d = args.center ? team.sum(cols, d) / n : T(0);
  const T mean_dx_hat = team.sum(cols, [=](int64_t j) { return d(j) * x_hat(j); }) / n;
  for (int64_t j = team.thread(); j < cols; j += team.threads)
    put(dx[j], rstd * (d(j) - mean_d - x_hat(j) * mean_dx_hat));
}

// dy·x̂
template <class T> struct GainGrad {
  const T *x, *mean, *rstd, *dy;
  int64_t cols;
  __device__ T operator()(int64_t row, int64_t j) const {
    return dy[row * cols + j] * ((x[row * cols + j] - (mean ? mean[row] : T(0))) * rstd[row]);
  }
};

}  // namespace

void CudaBackend::norm(Span y, Span s, Span mean, Span rstd, ConstSpan x, ConstSpan branch, ConstSpan gain,
                       ConstSpan bias, const NormArgs& args) {
  visit(x.dtype, [&]<class T>(T) {
    with_team(args.cols, [&](auto one_warp) {
      launch_rows<T>(on_, "norm", one_warp, args.rows, norm_kernel<T, one_warp>, y.as<T>(), s.as<T>(), mean.as<T>(),
                     rstd.as<T>(), x.as<T>(), branch.as<T>(), gain.as<T>(), bias.as<T>(), args);
    });
  });
}

void CudaBackend::norm_grad(Span dx, double beta_x, Span dgain, double beta_gain, Span dbias, double beta_bias,
                            ConstSpan x, ConstSpan gain, ConstSpan mean, ConstSpan rstd, ConstSpan dy,
                            const NormArgs& args) {
  visit(x.dtype, [&]<class T>(T) {
    if (dx)
      with_team(args.cols, [&](auto one_warp) {
        with_put<T>(beta_x, [&]<class Put>(Put put) {
          launch_rows<T>(on_, "norm_grad", one_warp, args.rows, norm_grad_kernel<T, one_warp, Put>, dx.as<T>(),
                         x.as<T>(), gain.as<T>(), mean.as<T>(), rstd.as<T>(), dy.as<T>(), args, put);
        });
      });
    const GainGrad<T> of_gain{place<T>(x), place<T>(mean), place<T>(rstd), place<T>(dy), args.cols};
    if (dgain) column_sums<T>(on_, "norm_grad", dgain, beta_gain, 1, args.rows, args.cols, 1, of_gain, device_);
    if (dbias)
      column_sums<T>(on_, "norm_grad", dbias, beta_bias, 1, args.rows, args.cols, 1,
                     Numbers<T>{place<T>(dy), args.cols}, device_);
  });
}

}  // namespace borealis
