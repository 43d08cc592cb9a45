// LayerNorm and RMSNorm over rows, with x̂ = (x − mean)·rstd:  y = x̂·gain + bias.  RMSNorm is the case mean = 0.
#include "cuda/row_kernels.h"
#include "cuda/sums.h"

namespace borealis {

inline namespace norm_cu {

// With a branch, s ← x + branch first, and the norm is of s.
template <class Plan, class T>
__global__ void norm_kernel(Gate gate, T* y, T* s, T* mean_out, T* rstd_out, const T* x, const T* branch, const T* gain,
                            const T* bias, NormArgs args) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>(), cols = args.cols, first = row * cols;
  if (row >= args.rows) return;
  typename Plan::Team team;
  Row<Plan> numbers(x + first, cols);
  if (branch) numbers.add(branch + first, s + first, cols);
  const T n = static_cast<T>(cols);
  const T mean = args.center ? row_sum<Plan>(team, cols, Itself{}, numbers) / n : T(0);
  const auto square = [=](T v) { return (v - mean) * (v - mean); };
  const T squares = row_sum<Plan>(team, cols, square, numbers);
  const T rstd = 1 / fast::sqrt(squares / n + static_cast<T>(args.eps));
  const auto normed = [=](int64_t, T& to, T v, T g, T b) { to = (v - mean) * rstd * g + b; };
  write_row<Plan>(Out<T>{y + first}, cols, normed, numbers, Unheld<Plan>{gain, T(1)}, Unheld<Plan>{bias, T(0)});
  if (threadIdx.x != 0) return;
  if (args.center) mean_out[row] = mean;
  rstd_out[row] = rstd;
}

// dx = rstd (d − ⟨d⟩ − x̂ ⟨d x̂⟩) with d = dy·gain and ⟨·⟩ the row's mean; without ⟨d⟩ for RMSNorm.
template <class Plan, class T, class Array, class Put>
__global__ void norm_grad_kernel(Gate gate, Array dx, const T* x, const T* gain, const T* means, const T* rstds,
                                 const T* dy, NormArgs args, Put put) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>(), cols = args.cols, first = row * cols;
  if (row >= args.rows) return;
  typename Plan::Team team;
  const Row<Plan> of_x(x + first, cols);
  Row<Plan> of_d(dy + first, cols);
  of_d.scale(gain, cols);
  const T mean = args.center ? means[row] : T(0), rstd = rstds[row], n = static_cast<T>(cols);
  const auto x_hat = [=](T v) { return (v - mean) * rstd; };
  const T mean_d = args.center ? row_sum<Plan>(team, cols, Itself{}, of_d) / n : T(0);
  const auto term = [=](T v, T d) { return d * x_hat(v); };
  const T mean_dx_hat = row_sum<Plan>(team, cols, term, of_x, of_d) / n;
  const auto grad = [=](int64_t, T& to, T v, T d) { put(to, rstd * (d - mean_d - x_hat(v) * mean_dx_hat)); };
  write_row<Plan>(Array{dx.at + first}, cols, grad, of_x, of_d);
}

// dy·x̂
template <class T> struct GainGrad {
  const T *x, *mean, *rstd, *dy;
  int64_t cols;
  template <int n> __device__ Pack<T, n> pack(int64_t row, int64_t j) const {
    Pack<T, n> d = mapping::load<T, n>(In<T>{dy}, row * cols + j);
    const Pack<T, n> v = mapping::load<T, n>(In<T>{x}, row * cols + j);
    const T m = mean ? mean[row] : T(0), r = rstd[row];
    for (int e = 0; e < n; ++e) d.at[e] *= (v.at[e] - m) * r;
    return d;
  }
};

}  // namespace norm_cu

void CudaBackend::norm(Span y, Span s, Span mean, Span rstd, ConstSpan x, ConstSpan branch, ConstSpan gain,
                       ConstSpan bias, const NormArgs& args) {
  visit(x.dtype, [&]<class T>(T) {
    with_rows<T>(args.cols,
                 have_packs<T>(args.cols, y.as<T>(), s.as<T>(), x.as<T>(), branch.as<T>(), gain.as<T>(), bias.as<T>()),
                 [&]<class Plan>(Plan) {
                   launch_rows<Plan>(on_, "norm", args.rows, norm_kernel<Plan, T>, y.as<T>(), s.as<T>(), mean.as<T>(),
                                     rstd.as<T>(), x.as<T>(), branch.as<T>(), gain.as<T>(), bias.as<T>(), args);
                 });
  });
}

void CudaBackend::norm_grad(Span dx, double beta_x, Span dgain, double beta_gain, Span dbias, double beta_bias,
                            ConstSpan x, ConstSpan gain, ConstSpan mean, ConstSpan rstd, ConstSpan dy,
                            const NormArgs& args) {
  visit(x.dtype, [&]<class T>(T) {
    if (dx)
      with_beta<T>(dx, beta_x, [&]<class Array, class Put>(Array out, Put put) {
        with_rows<T>(args.cols, have_packs<T>(args.cols, out.at, x.as<T>(), gain.as<T>(), dy.as<T>()),
                     [&]<class Plan>(Plan) {
                       launch_rows<Plan>(on_, "norm_grad", args.rows, norm_grad_kernel<Plan, T, Array, Put>, out,
                                         x.as<T>(), gain.as<T>(), mean.as<T>(), rstd.as<T>(), dy.as<T>(), args, put);
                     });
      });
    const T *const of_x = place<T>(x), *const of_dy = place<T>(dy);
    const GainGrad<T> of_gain{of_x, place<T>(mean), place<T>(rstd), of_dy, args.cols};
    const bool packs = have_packs<T>(args.cols, of_x, of_dy);
    if (dgain) column_sums<T>(on_, "norm_grad", dgain, beta_gain, 1, args.rows, args.cols, 1, of_gain, packs, device_);
    if (dbias)
      column_sums<T>(on_, "norm_grad", dbias, beta_bias, 1, args.rows, args.cols, 1, Numbers<T>{of_dy, args.cols},
                     packs, device_);
  });
}

}  // namespace borealis
