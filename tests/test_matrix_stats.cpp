// Statistics of matrices whose answers are known.
#include <limits>

#include <doctest/doctest.h>

#include "optim/matrix_stats.h"
#include "tests/matrices.h"
#include "tests/near.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

// [m, n] with the singular values ratio^0 … ratio^(n−1), m ≥ n.
Tensor geometric(int64_t m, int64_t n, double ratio) {
  std::vector<double> sigma;
  for (int64_t i = 0; i < n; ++i) sigma.push_back(std::pow(ratio, i));
  const Matrix P = polar(normal({m, n}, DType::f64, 1), Polar::svd);
  const Matrix Q = polar(normal({n, n}, DType::f64, 2), Polar::svd);
  return (P * scale_rows(Tensor::of<double>({1, n}, sigma), Q)).tensor();
}

// exp(−Σ p log p) of p_i = ratio^i (1 − ratio)/(1 − ratio^n).
double geometric_rank(int64_t n, double ratio) {
  double entropy = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double p = std::pow(ratio, i) * (1 - ratio) / (1 - std::pow(ratio, n));
    entropy -= p * std::log(p);
  }
  return std::exp(entropy);
}

double rank_of(const Matrix& X) { return effective_ranks(X).front(); }

}  // namespace

TEST_CASE("matrix stats: quartiles lie between their neighbours") {
  const Quartiles q = quartiles({4, 1, 3, 2});
  CHECK(q.min == 1);
  CHECK(q.q1 == 1.75);
  CHECK(q.median == 2.5);
  CHECK(q.q3 == 3.25);
  CHECK(q.max == 4);
  const Quartiles one = quartiles({7});
  CHECK(one.min == 7);
  CHECK(one.q3 == 7);
  CHECK(one.max == 7);
  CHECK(std::isnan(quartiles({}).median));
}

TEST_CASE("matrix stats: variation") {
  CHECK(variation({1, 3}) == .5);
  CHECK(variation({2, 2, 2}) == 0);
  CHECK(variation({0, 0}) == 0);
  CHECK(variation({}) == 0);
  CHECK(variation({0, 0, 0, 4}) == near(std::sqrt(3.0)).epsilon(1e-15));
  CHECK(variation({1e9, 1e9 + 2}) == near(1e-9).epsilon(1e-6));
}

TEST_CASE("matrix stats: norms of rows and columns, matrix after matrix") {
  for (const DType dtype : floats) {
    const Tensor X = Tensor::of<double>({2, 2, 3}, {3, 4, 0, 0, 0, 0, 1, 2, 2, 6, 0, 8}).to(dtype);
    CHECK(row_norms(X) == std::vector<double>{5, 0, 3, 10});
    CHECK(row_norms(Matrix(X.rows(0, 1)).t()) == std::vector<double>{3, 4, 0});
    CHECK(row_norms(Tensor({0, 3}, dtype)).empty());
    CHECK(row_norms(Tensor({2, 0}, dtype)) == std::vector<double>{0, 0});
  }
  // Each matrix has a size of its own, and a NaN stays in its row.
  const double large = std::ldexp(1, 700), small = std::ldexp(1, -700), nan = std::nan("");
  const Tensor X =
      Tensor::of<double>({3, 2, 2}, {3 * large, -4 * large, 0, large, 3 * small, 4 * small, 0, 0, nan, 1, 6, 8});
  const std::vector<double> norms = row_norms(X);
  CHECK(std::vector<double>(norms.begin(), norms.begin() + 4) == std::vector<double>{5 * large, large, 5 * small, 0});
  CHECK(std::isnan(norms[4]));
  CHECK(norms[5] == 10);
}

TEST_CASE("matrix stats: an infinite row leaves the others' lengths as they are") {
  const std::vector<double> norms = row_norms(Tensor::of<float>({2, 2}, {INFINITY, 1, 3, 4}));
  CHECK(std::isinf(norms[0]));
  CHECK(norms[1] == 5);
}

TEST_CASE("matrix stats: effective rank of known spectra") {
  for (const DType dtype : floats) {
    const double exact = dtype == DType::f64 ? 1e-11 : 1e-5;
    const auto close = [&](double rank) { return near(rank).epsilon(exact); };

    const Tensor I = Tensor::zeros({7, 7}, dtype);
    add_to_diagonal(I, 3);
    CHECK(rank_of(I) == close(7));
    CHECK(rank_of(polar(normal({40, 12}, dtype), Polar::svd)) == close(12));
    CHECK(rank_of(Tensor::zeros({4, 9}, dtype)) == 0);
    CHECK(rank_of(Tensor::zeros({0, 3}, dtype)) == 0);
    CHECK(rank_of(Tensor::full({1, 1}, -2, dtype)) == 1);
    const Matrix one_direction = normal({33, 1}, dtype) * normal({1, 20}, dtype, 2);
    CHECK(rank_of(one_direction) == near(1).epsilon(dtype == DType::f64 ? 1e-13 : 1e-3));

    const Tensor X = geometric(50, 24, .8).to(dtype);
    CHECK(rank_of(X) == close(geometric_rank(24, .8)));
    CHECK(rank_of(Matrix(X).t()) == rank_of(X));
    CHECK(rank_of(packed(Matrix(X).t())) == rank_of(X));
    for (const double scale :
         dtype == DType::f64 ? std::array{1e-18, 1e18, 1e-300, 1e300} : std::array{1e-18, 1e18, 1e-30, 1e30})
      CHECK(rank_of(affine(X, scale, 0)) == close(rank_of(X)));

    const Tensor batch = normal({3, 10, 30}, dtype);
    const std::vector<double> ranks = effective_ranks(batch);
    REQUIRE(ranks.size() == 3);
    for (int64_t i = 0; i < 3; ++i) CHECK(ranks[size_t(i)] == close(rank_of(Matrix(batch).at(i))));
  }
  // Most singular values are below what the Gram matrix can tell from 0.
  CHECK(rank_of(geometric(100, 80, .5)) == near(geometric_rank(80, .5)).epsilon(2e-5));
}

TEST_CASE("matrix stats: the effective rank of what is not finite is NaN") {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const Tensor X = normal({6, 5}, DType::f32);
    X.data<float>()[7] = static_cast<float>(bad);
    CHECK(std::isnan(rank_of(X)));
  }
}
