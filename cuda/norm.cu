// LayerNorm and RMSNorm over rows, with x̂ = (x − mean)·rstd:  y = x̂·gain + bias.  RMSNorm is the case mean = 0.
#include <algorithm>

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

// A block takes rows one after the other: at least 8, and where there are blocks enough 48, so that what they leave behind for
// the gradients of gain and bias is little beside what they read.
constexpr int64_t enough_blocks = 256;
inline int64_t rows_of_block(int64_t rows) {
  return std::clamp<int64_t>((rows + enough_blocks - 1) / enough_blocks, 8, 48);
}

// Of a thread: as many numbers as leave room for two more of each.
template <class T, int width> using GradPlan = RowPlan<T, false, width, true, 64 / sizeof(T)>;
template <class T> constexpr int64_t longest_row = (GradPlan<T, 1>::turns) * (GradPlan<T, 1>::stride);

// dx = rstd (d − ⟨d⟩ − x̂ ⟨d x̂⟩) with d = dy·gain and ⟨·⟩ the row's mean; without ⟨d⟩ for RMSNorm.
// sums: Σ dy·x̂ and Σ dy over the block's rows, for each block.
template <class Plan, class T, class Array, class Put>
__global__ void norm_grad_kernel(Gate gate, Array dx, T* sums, const T* x, const T* gain, const T* means,
                                 const T* rstds, const T* dy, NormArgs args, int64_t some, Put put) {
  if (gate.closed()) return;
  const int64_t cols = args.cols, begin = blockIdx.x * some, end = begin + some;
  const T n = static_cast<T>(cols);
  typename Row<Plan>::Numbers gains[Plan::turns] = {}, biases[Plan::turns] = {};
  typename Plan::Team team;
  for (int64_t row = begin; row < end && row < args.rows; ++row) {
    const int64_t first = row * cols;
    const Row<Plan> of_x(x + first, cols);
    Row<Plan> of_d(dy + first, cols);
    const T mean = args.center ? means[row] : T(0), rstd = rstds[row];
    const auto x_hat = [=](T v) { return (v - mean) * rstd; };
    each_turn<Plan>(cols, [&](int k, int64_t j) {
      const auto v = of_x.pack(k, j), d = of_d.pack(k, j);
      for (int e = 0; e < Plan::width; ++e) gains[k].at[e] += d.at[e] * x_hat(v.at[e]), biases[k].at[e] += d.at[e];
    });
    of_d.scale(gain, cols);
    const T mean_d = args.center ? row_sum<Plan>(team, cols, Itself{}, of_d) / n : T(0);
    const auto term = [=](T v, T d) { return d * x_hat(v); };
    const T mean_dx_hat = row_sum<Plan>(team, cols, term, of_x, of_d) / n;
    const auto grad = [=](int64_t, T& to, T v, T d) { put(to, rstd * (d - mean_d - x_hat(v) * mean_dx_hat)); };
    if (dx.at) write_row<Plan>(Array{dx.at + first}, cols, grad, of_x, of_d);
  }
  if (!sums) return;
  const Out<T> of_gains{sums + blockIdx.x * (2 * cols)}, of_biases{of_gains.at + cols};
  each_turn<Plan>(cols, [&](int k, int64_t j) {
    mapping::store<T, Plan::width>(of_gains, j, gains[k]);
    mapping::store<T, Plan::width>(of_biases, j, biases[k]);
  });
}

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
  const int64_t cols = args.cols, some = rows_of_block(args.rows), blocks = (args.rows + some - 1) / some;
  visit(x.dtype, [&]<class T>(T) {
    if (cols > longest_row<T>)
      return Backend::norm_grad(dx, beta_x, dgain, beta_gain, dbias, beta_bias, x, gain, mean, rstd, dy, args);
    const auto numbers = static_cast<size_t>(dgain || dbias ? blocks * 2 * cols : 0);
    const Storage partial = scratch(numbers * sizeof(T));
    T* const sums = numbers ? reinterpret_cast<T*>(partial.data()) : nullptr;
    with_beta<T>(dx, beta_x, [&]<class Array, class Put>(Array out, Put put) {
      const auto run = [&]<class Plan>(Plan) {
        on_.launch("norm_grad", norm_grad_kernel<Plan, T, Array, Put>, blocks_for(blocks, 1), Plan::Team::threads,
                   sizeof(RowMemory<T>), out, sums, x.as<T>(), gain.as<T>(), mean.as<T>(), rstd.as<T>(), dy.as<T>(),
                   args, some, put);
      };
      if (blocks == 0) return;
      have_packs<T>(cols, out.at, x.as<T>(), gain.as<T>(), dy.as<T>()) ? run(GradPlan<T, 16 / sizeof(T)>{})
                                                                       : run(GradPlan<T, 1>{});
    });
    const auto add_up = [&](Span y, double beta, const T* from) {
      if (y) column_sums<T>(on_, "norm_grad", y, beta, 1, blocks, cols, 1, Numbers<T>{from, 2 * cols}, true, device_);
    };
    add_up(dgain, beta_gain, sums);
    add_up(dbias, beta_bias, sums ? sums + cols : nullptr);
  });
}

}  // namespace borealis
