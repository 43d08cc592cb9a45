#include "optim/matrix_stats.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/parallel.h"

namespace borealis {

namespace {

// In f64 on the CPU, contiguous: [batch, rows, cols]. Each matrix is divided by the power of two
// below its largest number, so that squares neither overflow nor vanish: exponents, one per matrix.
struct Scaled {
  Matrix X;
  std::vector<int> exponents;
};
Scaled in_double(const Matrix& X) {
  const Tensor A = copy(X).tensor().to(Device{}).to(DType::f64);
  const int64_t count = X.batch().total(), size = X.rows() * X.cols();
  std::vector<int> exponents(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    double *const first = A.data<double>() + i * size, *const last = first + size;
    double largest = 0;
    for (const double* x = first; x != last; ++x) largest = std::max(largest, std::abs(*x));
    if (largest == 0 || !std::isfinite(largest)) continue;
    const int exponent = exponents[static_cast<size_t>(i)] = std::ilogb(largest);
    for (double* x = first; x != last; ++x) *x = std::scalbn(*x, -exponent);
  }
  return {A, exponents};
}

// From the eigenvalues σ² of a Gram matrix, in ascending order.
double effective_rank(const Eigen::VectorXd& squares) {
  const double largest = squares[squares.size() - 1];
  const double noise = static_cast<double>(squares.size()) * std::numeric_limits<double>::epsilon() * largest;
  if (!(largest > 0)) return largest == 0 ? 0 : largest;
  double total = 0, weighted = 0;  // Σσ and Σ σ log σ, with σ relative to the largest
  for (const double square : squares) {
    if (square <= noise) continue;
    const double sigma = std::sqrt(square / largest);
    total += sigma;
    weighted += sigma * std::log(sigma);
  }
  return total * std::exp(-weighted / total);
}

}  // namespace

Quartiles quartiles(std::vector<double> values) {
  if (values.empty()) values = {std::numeric_limits<double>::quiet_NaN()};
  std::sort(values.begin(), values.end());
  const auto at = [&](double p) {
    const double place = p * static_cast<double>(values.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, values.size() - 1);
    return std::lerp(values[below], values[above], place - static_cast<double>(below));
  };
  return {values.front(), at(.25), at(.5), at(.75), values.back()};
}

double variation(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  double mean = 0, variance = 0;
  for (const double v : values) mean += v / n;
  // About the mean: mean square − squared mean would lose half the digits.
  for (const double v : values) variance += (v - mean) * (v - mean) / n;
  return variance == 0 ? 0 : std::sqrt(variance) / mean;
}

std::vector<double> row_norms(const Matrix& X) {
  const Scaled scaled = in_double(X);
  std::vector<double> norms = row_sum_squares(scaled.X).to_vector<double>();
  for (size_t i = 0; i < norms.size(); ++i)
    norms[i] = std::scalbn(std::sqrt(norms[i]), scaled.exponents[i / static_cast<size_t>(X.rows())]);
  return norms;
}

std::vector<double> effective_ranks(const Matrix& X) {
  const Matrix A = in_double(X.rows() < X.cols() ? X.t() : X).X;  // tall
  const Matrix squares = gram(A);
  std::vector<double> ranks(static_cast<size_t>(squares.batch().total()));
  if (A.cols() == 0) return ranks;  // of no singular value
  parallel_items(squares.batch().total(), 1, [&](int64_t i) {
    const Eigen::Map<const Eigen::MatrixXd> G(squares.view().at<double>(i), squares.rows(), squares.cols());
    // On NaN the solver would return eigenvalues that look like numbers.
    ranks[static_cast<size_t>(i)] =
        G.allFinite()
            ? effective_rank(Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(G, Eigen::EigenvaluesOnly).eigenvalues())
            : std::numeric_limits<double>::quiet_NaN();
  });
  return ranks;
}

}  // namespace borealis
