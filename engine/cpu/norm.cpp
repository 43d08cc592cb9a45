// LayerNorm (Ba, Kiros & Hinton, 2016) and RMSNorm (Zhang & Sennrich, 2019) over rows.
//
// With x̂ = (x − mean)·rstd:  y = x̂·gain + bias.  RMSNorm is the case mean = 0.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/tensor.h"

namespace borealis {

// Two passes for the statistics: the variance is taken of centred values, so it does not cancel.
void CpuBackend::norm(Span y_span, Span s_span, Span mean_span, Span rstd_span, ConstSpan x_span, ConstSpan branch_span,
                      ConstSpan gain_span, ConstSpan bias_span, const NormArgs& args) {
  visit(x_span.dtype, [&]<class T>(T) {
    const int64_t cols = args.cols;
    const T n = static_cast<T>(cols), eps = static_cast<T>(args.eps);
    const T *gain = gain_span.as<T>(), *bias = bias_span.as<T>();
    parallel_items(args.rows, grain_for(4 * cols), [&](int64_t r) {
      const T* x = x_span.as<T>() + r * cols;
      T* y = y_span.as<T>() + r * cols;
      if (branch_span) {
        T* s = s_span.as<T>() + r * cols;
        each(cols, [=, branch = branch_span.as<T>() + r * cols](int64_t j) { s[j] = x[j] + branch[j]; });
        x = s;
      }
      const T mean = args.center ? lane_sum<T>(cols, [x](int64_t j) { return x[j]; }) / n : T(0);
      const T var = lane_sum<T>(cols, [=](int64_t j) { return (x[j] - mean) * (x[j] - mean); });
      const T rstd = 1 / std::sqrt(var / n + eps);
      // The tests of gain and bias do not change inside the loop: the compiler moves them out.
      each(cols,
           [=, g = gain, b = bias](int64_t j) { y[j] = (x[j] - mean) * rstd * (g ? g[j] : T(1)) + (b ? b[j] : T(0)); });
      if (args.center) mean_span.as<T>()[r] = mean;
      rstd_span.as<T>()[r] = rstd;
    });
  });
}

// With d = dy·gain and means over a row:
//   dx = rstd (d − mean(d) − x̂ mean(d x̂)),  without mean(d) for RMSNorm;
//   dgain = Σ_rows dy x̂,  dbias = Σ_rows dy.
// One walk over x and dy serves all three. Each range of rows keeps its own sums for dgain and
// dbias; they are added in the order of the ranges.
void CpuBackend::norm_grad(Span dx_span, double beta_x, Span dgain_span, double beta_gain, Span dbias_span,
                           double beta_bias, ConstSpan x_span, ConstSpan gain_span, ConstSpan mean_span,
                           ConstSpan rstd_span, ConstSpan dy_span, const NormArgs& args) {
  // At most 64 ranges bound the workspace by 128 rows.
  const int64_t rows = args.rows, cols = args.cols;
  const int64_t grain = std::max(grain_for(4 * cols), (rows + 63) / 64);
  const int64_t pieces = (rows + grain - 1) / grain;
  visit(x_span.dtype, [&]<class T>(T) {
    const Tensor partial({2, pieces, cols}, x_span.dtype);
    const T n = static_cast<T>(cols);
    with_beta<T>(beta_x, [&](auto put) {
      parallel_for(rows, grain, [&](int64_t first, int64_t last) {
        T *sum_gain = partial.data<T>() + first / grain * cols, *sum_bias = sum_gain + pieces * cols;
        std::fill_n(sum_gain, cols, T(0));
        std::fill_n(sum_bias, cols, T(0));
        for (int64_t r = first; r < last; ++r) {
          const T *x = x_span.as<T>() + r * cols, *dy = dy_span.as<T>() + r * cols;
          const T mean = args.center ? mean_span.as<T>()[r] : T(0), rstd = rstd_span.as<T>()[r];
          const T* gain = gain_span.as<T>();
          T* dx = dx_span ? dx_span.as<T>() + r * cols : nullptr;
          const auto d = [=](int64_t j) { return dy[j] * (gain ? gain[j] : T(1)); };
          const auto x_hat = [=](int64_t j) { return (x[j] - mean) * rstd; };
          const T mean_d = args.center ? lane_sum<T>(cols, d) / n : T(0);
          const T mean_dx_hat = lane_sum<T>(cols, [=](int64_t j) { return d(j) * x_hat(j); }) / n;
          each(cols, [=](int64_t j) {
            if (dx) put(dx[j], rstd * (d(j) - mean_d - x_hat(j) * mean_dx_hat));
            sum_gain[j] += dy[j] * x_hat(j);
            sum_bias[j] += dy[j];
          });
        }
      });
    });
    if (dgain_span) sum(dgain_span, partial.rows(0, 1), 1, pieces, cols, 1, beta_gain);
    if (dbias_span) sum(dbias_span, partial.rows(1, 1), 1, pieces, cols, 1, beta_bias);
  });
}

}  // namespace borealis
