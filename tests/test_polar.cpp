#include <doctest/doctest.h>

#include "engine/parallel.h"
#include "optim/polar.h"
#include "tests/compare.h"
#include "tests/matrices.h"
#include "tests/near.h"

using namespace borealis;

namespace {

constexpr std::array iterations{Polar::quintic5,       Polar::simple_quintic12, Polar::cans12, Polar::polar_express8,
                                Polar::polar_express6, Polar::polar_express5,   Polar::you5};
constexpr std::array exact{Polar::simple_quintic12, Polar::cans12, Polar::polar_express8, Polar::svd};
constexpr std::array floats{DType::f32, DType::f64};

// Singular values far from 0, also where it is square.
Tensor well_conditioned(int64_t rows, int64_t cols, DType dtype) {
  const Tensor X = normal({rows, cols}, dtype);
  const Matrix I = Tensor::zeros({std::min(rows, cols), std::min(rows, cols)}, dtype);
  add_to_diagonal(I, 3 * std::sqrt(double(std::max(rows, cols))));
  axpby(Matrix::strided(X, 0, I.rows(), I.cols(), cols), 1, I, 1);
  return X;
}

}  // namespace

TEST_CASE("polar: the CANS table is the generator's") {
  double a = 0.00085, b = 1;
  const auto steps = polar_table(Polar::cans12).steps;
  for (size_t i = 0; i < 9; ++i) {
    const double S = a * a + a * b + b * b, e = std::pow(S / 3, 1.5);
    const double den = 2 * e + a * a * b + a * b * b;
    CHECK(steps[i][0] == near(2 * S / den).epsilon(1e-13));
    CHECK(steps[i][1] == near(-2 / den).epsilon(1e-13));
    const double error = (2 * e - a * a * b - a * b * b) / den;
    a = 1 - error;
    b = 1 + error;
  }
}

TEST_CASE("polar: small singular values grow by the product of the linear coefficients") {
  const std::array slopes{484.88, 4096.0, 6868.2, 6363.4, 1828.1, 989.47, 492.75};
  const Tensor X = Tensor::of<double>({2, 2}, {1e-6, 0, 0, 1});
  for (size_t i = 0; i < iterations.size(); ++i) {
    const double sigma = 1e-6 / polar_table(iterations[i]).safety;
    CHECK(polar(X, iterations[i]).tensor().data<double>()[0] / sigma == near(slopes[i]).epsilon(1e-4));
  }
}

// On a diagonal matrix every step is its polynomial of each number.
TEST_CASE("polar: a diagonal matrix goes through the table's steps number by number") {
  const std::vector<double> sigma{3, 1, 0.25, 0.5};
  const double norm = std::sqrt(9 + 1 + 0.0625 + 0.25);
  Tensor X = Tensor::zeros({4, 4}, DType::f64);
  for (size_t i = 0; i < 4; ++i) X.data<double>()[5 * i] = sigma[i];
  for (const Polar method : {Polar::quintic5, Polar::simple_quintic12, Polar::cans12, Polar::polar_express8,
                             Polar::polar_express6, Polar::polar_express5, Polar::you5, Polar::turbo4, Polar::soft12}) {
    CAPTURE(std::string(name(method)));
    const PolarTable& table = polar_table(method);
    const Tensor U = polar(X, method).tensor();
    for (size_t i = 0; i < 4; ++i) {
      double x = table.aol ? 1 : sigma[i] / (table.safety * norm + table.eps);
      double mean = table.mean.empty() ? 0 : table.mean[0] * x;
      for (size_t t = 0; t < table.steps.size(); ++t) {
        const auto& [a, b, c] = table.steps[t];
        x *= a + b * x * x + c * x * x * x * x;
        if (!table.mean.empty()) mean += table.mean[t + 1] * x;
      }
      CHECK(U.data<double>()[5 * i] == near(table.mean.empty() ? x : mean).epsilon(1e-9));
    }
  }
}

TEST_CASE("polar: what a factor costs, and that a matrix twice as long as wide takes the Gram form") {
  // Five times XᵀX, A² and X P.
  CHECK(polar_flops(Polar::quintic5, 10, 10) == 5 * (1 + 1 + 2) * 1000);
  CHECK(polar_flops(Polar::quintic5, 19, 10) == 5 * (1900 + 1000 + 3800));
  // In Gram form X is touched where a run begins (XᵀX) and ends (X Q): two runs, of 3 and 2 steps.
  CHECK(polar_flops(Polar::quintic5, 20, 10) == 2 * (1 + 2) * 2000 + (3 + 4 + 2 + 3 + 2) * 1000);
  CHECK(polar_flops(Polar::turbo4, 20, 10) == 2000 + 2 * (1 + 2) * 2000 + 2 * (3 + 2) * 1000);
  CHECK(polar_flops(Polar::soft12, 20, 10) == 11 * (2000 + 1000 + 4000));
  CHECK(polar_flops(Polar::svd, 20, 10) == 0);
  for (const Polar method : iterations) {
    CAPTURE(std::string(name(method)));
    for (const double m : {10., 19., 20., 21., 40.}) {
      const PolarForm form = m >= 20 ? PolarForm::gram : PolarForm::direct;
      CHECK(polar_flops(method, m, 10) == polar_flops(method, m, 10, form));
      CHECK(polar_flops(method, 10, m) == polar_flops(method, m, 10));
    }
    CHECK(polar_flops(method, 40, 10, PolarForm::gram) < polar_flops(method, 40, 10, PolarForm::direct));
  }
}

TEST_CASE("polar: orthonormal, and the exact factor") {
  for (const DType dtype : floats) {
    for (const auto& [rows, cols] : {std::pair{65, 7}, {7, 65}, {24, 24}, {1, 9}, {9, 1}, {1, 1}}) {
      const Tensor X = well_conditioned(rows, cols, dtype);
      const Tensor reference = polar(X.to(DType::f64), Polar::svd).tensor();
      for (const Polar method : exact) {
        CAPTURE(std::string(name(method)));
        CAPTURE(X.shape());
        const Tensor U = polar(X, method).tensor();
        CHECK(polar_error(U) < (dtype == DType::f64 ? 1e-10 : 5e-6));
        CHECK(relative_error(U, reference) < (dtype == DType::f64 ? 1e-9 : 2e-5));
        CHECK(frobenius_squares(U).item() == near(std::min(rows, cols)).epsilon(1e-5));
      }
      const Tensor U = polar(X, Polar::quintic5).tensor();
      CHECK(polar_error(U) < 0.54);  // singular values within [.68, 1.14]
    }
  }
}

TEST_CASE("polar: odd, and equal on a transposed view, to the bit") {
  for (const DType dtype : floats) {
    for (const Polar method : iterations) {
      const Tensor X = normal({40, 12}, dtype);
      const Tensor U = polar(X, method).tensor();
      const Tensor V = polar(affine(X, -1, 0), method).tensor();
      CHECK(same_bytes(affine(V, -1, 0), U));
      CHECK(same_bytes(packed(polar(Matrix(X).t(), method).t()), U));
      const Tensor T = packed(Matrix(X).t());  // the transpose in memory: another product order
      CHECK(relative_error(packed(polar(T, method).t()), U) < (dtype == DType::f64 ? 1e-12 : 1e-5));
    }
  }
}

TEST_CASE("polar: turns with its input, and forgets its size") {
  for (const DType dtype : floats) {
    const double bound = dtype == DType::f64 ? 1e-10 : 2e-5;
    const Tensor X = normal({64, 16}, dtype);
    const Matrix Q = polar(normal({16, 16}, dtype, 2), Polar::svd);
    const Matrix R = polar(normal({64, 64}, dtype, 3), Polar::svd);
    for (const Polar method : {Polar::cans12, Polar::polar_express8}) {
      const Matrix U = polar(X, method);
      CHECK(relative_error(polar(Matrix(X) * Q, method).tensor(), (U * Q).tensor()) < bound);
      CHECK(relative_error(polar(R * X, method).tensor(), (R * U).tensor()) < bound);
      for (const double factor : {1e-2, 1e3})
        CHECK(relative_error(polar(affine(X, factor, 0), method).tensor(), U.tensor()) < std::max(bound, 1e-6));
      CHECK(relative_error(polar(U, method).tensor(), U.tensor()) < std::max(bound, 1e-5));
    }
  }
}

TEST_CASE("polar: zero stays zero, rank one is its own factor") {
  for (const DType dtype : floats) {
    for (const Polar method :
         {Polar::quintic5, Polar::simple_quintic12, Polar::cans12, Polar::polar_express8, Polar::svd}) {
      CAPTURE(std::string(name(method)));
      const Tensor zero = Tensor::zeros({12, 5}, dtype);
      CHECK(same_bytes(polar(zero, method).tensor(), zero));

      const Tensor X = normal({12, 5}, dtype);
      X.rows(3, 1).fill(0);
      const Matrix U = polar(X, method);
      CHECK(all_finite(U));
      if (method != Polar::svd) CHECK(row_sum_squares(U.tensor().rows(3, 1)).item() == 0);

      const Tensor R = (Matrix(normal({12, 1}, dtype)) * normal({1, 5}, dtype, 2)).tensor();
      const double alignment = dot(polar(R, method), R) / std::sqrt(frobenius_squares(R).item());
      CHECK(alignment == near(method == Polar::quintic5 ? .6964 : 1).epsilon(1e-4));
    }
  }
}

TEST_CASE("polar: f32 agrees with f64") {
  for (const Polar method : iterations) {
    const Tensor X = normal({96, 32}, DType::f64);
    CHECK(relative_error(polar(X.to(DType::f32), method).tensor(), polar(X, method).tensor()) < 1e-5);
  }
}

TEST_CASE("polar: a batch is its matrices one by one") {
  for (const DType dtype : floats) {
    const Tensor X = normal({3, 20, 9}, dtype);
    X.rows(1, 1).fill(0);  // its neighbours must not notice
    for (const Polar method : {Polar::quintic5, Polar::cans12, Polar::svd}) {
      const Matrix all = polar(X, method);
      for (int64_t i = 0; i < 3; ++i)
        CHECK(relative_error(all.at(i).tensor(), polar(Matrix(X).at(i), method).tensor()) <
              (dtype == DType::f64 ? 1e-13 : 1e-6));
    }
  }
}

TEST_CASE("polar: the same bytes for any number of threads") {
  const int before = threads();
  const Tensor X = normal({5, 200, 72}, DType::f32);
  set_threads(1);
  const Tensor U = polar(X, Polar::polar_express8).tensor();
  for (const int n : {2, 3, 8}) {
    set_threads(n);
    CHECK(same_bytes(polar(X, Polar::polar_express8).tensor(), U));
  }
  set_threads(before);
}

TEST_CASE("polar: the Gram form is the direct one up to rounding, whatever the spectrum") {
  // In f32 a singular value of 1e-4 is one of 1e-8 in the Gram matrix, below what it resolves.
  for (const auto& [smallest, bound] : {std::pair{1.0, 1e-4}, {1e-2, 1e-4}, {1e-3, 1e-4}, {1e-4, 3e-4}}) {
    for (const auto& [rows, cols] : {std::pair{96, 24}, {24, 96}, {33, 33}}) {
      // Columns (or rows) of lengths 1 … smallest, and one exact null vector.
      const int64_t n = std::min(rows, cols);
      const Tensor scales({n}, DType::f64);
      for (int64_t i = 0; i < n; ++i)
        scales.data<double>()[i] = i == 0 ? 0 : std::pow(smallest, double(i) / double(n - 1));
      const Matrix Q = polar(normal({n, n}, DType::f64, 5), Polar::svd);
      const Matrix V = polar(normal({rows, cols}, DType::f64, 6), Polar::svd);
      const Matrix H = Q.t() * scale_rows(scales, Q);
      const Tensor X = rows > cols ? (V * H).tensor() : (H * V).tensor();
      for (const Polar method : iterations) {
        CAPTURE(std::string(name(method)));
        CAPTURE(scales.data<double>()[n - 1]);
        const Matrix direct = polar(X, method, PolarForm::direct);
        CHECK(relative_error(polar(X, method, PolarForm::gram).tensor(), direct.tensor()) < 1e-10);
        CHECK(relative_error(polar(X.to(DType::f32), method, PolarForm::gram).tensor(), direct.tensor()) < bound);
      }
    }
  }
}

TEST_CASE("polar: methods by name") {
  for (const Polar method : iterations) CHECK(parse<Polar>(name(method)) == method);
  CHECK(parse<Polar>("svd") == Polar::svd);
  CHECK_THROWS_WITH(parse<Polar>("newton"),
                    "polar: there is no 'newton'; known are quintic5, simple_quintic12, cans12, "
                    "polar_express8, polar_express6, polar_express5, you5, turbo4, soft12, "
                    "identity, svd");
}
