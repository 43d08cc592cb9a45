#include "optim/report.h"

#include <cmath>
#include <numeric>

#include "engine/math.h"
#include "optim/matrix_stats.h"
#include "optim/polar.h"

namespace borealis {

std::vector<UpdateReport> report(const Update& update) {
  const auto ratio = [](double a, double b) { return b == 0 ? 0 : a / b; };  // NaN stays
  const auto squares = [](const Matrix& A) { return frobenius_squares(A).item(); };
  const auto inner = [](const Tensor& A, const Tensor& B) {
    return sum(binary("inner product", BinaryOp::mul, A, B), {}).item();
  };
  const std::vector<double> ranks = effective_ranks(update.after);
  const Tensor factors = update.X ? polar(update.X, Polar::cans12).tensor().reshape(update.X.shape()) : Tensor();
  std::vector<UpdateReport> reports;
  for (const ParamArena::Place& place : update.places) {
    for (int64_t b = 0; b < place.param.blocks; ++b) {
      const auto i = static_cast<int64_t>(reports.size());
      const auto matrix = [i](const Tensor& batch) { return batch.rows(i, 1); };
      const Matrix U = matrix(update.U), tall = U.rows() < U.cols() ? U.t() : U;
      UpdateReport r{.name = block_name(place.param, b), .param = place.param, .block = b};
      r.row_norm_cv = variation(row_norms(U));
      r.update_to_weight = update.rate * std::sqrt(ratio(squares(matrix(update.step)), squares(matrix(update.before))));
      r.effective_rank = ranks[reports.size()];
      r.leverage = row_sum_squares(tall).to_vector<double>();
      const double all = std::accumulate(r.leverage.begin(), r.leverage.end(), 0.0);
      for (double& h : r.leverage) h = ratio(h * static_cast<double>(r.leverage.size()), all);
      if (update.X) {
        const Matrix E = gram(tall);
        add_to_diagonal(E, -1);
        r.polar_error = std::sqrt(squares(E) / static_cast<double>(tall.cols()));
        const Tensor X = matrix(update.X);
        r.alignment = ratio(inner(X, matrix(update.U)), inner(X, matrix(factors)));
      }
      reports.push_back(std::move(r));
    }
  }
  return reports;
}

}  // namespace borealis
