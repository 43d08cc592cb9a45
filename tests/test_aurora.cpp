#include <doctest/doctest.h>

#include "optim/aurora.h"
#include "tests/compare.h"
#include "tests/matrices.h"
#include "tests/near.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};
constexpr std::array balances{Balance::published, Balance::leverage};

Tensor direction(const Tensor& G, const AuroraOptions& options) { return aurora_direction(G, options).tensor(); }

double cv(const Tensor& G, int K, double beta = 0.5, Balance balance = Balance::published) {
  return row_cv(direction(G, {.polar = Polar::svd, .balance = balance, .pp_iterations = K, .pp_beta = beta}));
}

}  // namespace

TEST_CASE("aurora: both ways of balancing give the same direction") {
  for (const DType dtype : floats) {
    for (const int K : {1, 2, 3, 5}) {
      for (const Polar method : {Polar::cans12, Polar::polar_express8, Polar::simple_quintic12}) {
        for (const double s : {0.0, 1.0, 2.0}) {
          CAPTURE(K);
          CAPTURE(s);
          CAPTURE(name(method));
          const Tensor G = with_uneven_rows(normal({256, 64}, dtype), s);
          AuroraOptions options{.polar = method, .balance = Balance::published, .pp_iterations = K};
          const Tensor published = direction(G, options);
          options.balance = Balance::leverage;
          CHECK(relative_error(direction(G, options), published) < (dtype == DType::f64 ? 1e-9 : 1e-5));
        }
      }
    }
  }
}

// One draw, exact polar factors. The values to expect are those of another draw: two digits.
TEST_CASE("aurora: row lengths come out even") {
  const Tensor iid = normal({256, 64}, DType::f64), skewed = with_uneven_rows(iid, 1);
  CHECK(row_cv(polar(iid, Polar::svd)) == near(.071).epsilon(.15));
  CHECK(row_cv(polar(skewed, Polar::svd)) == near(.63).epsilon(.15));
  for (const Balance balance : balances) {
    for (const Tensor& G : {iid, skewed}) {
      CHECK(cv(G, 1, .5, balance) == near(.0386).epsilon(.15));
      CHECK(cv(G, 2, .5, balance) == near(.0105).epsilon(.25));
      CHECK(cv(G, 3, .5, balance) == near(.0031).epsilon(.35));
      CHECK(cv(G, 30, .5, balance) < 1e-9);
    }
    CHECK(cv(iid, 2, 2. / 3, balance) < 0.7 * cv(iid, 2, .5, balance));
  }
}

// Each round multiplies the variation by about cols/rows.
TEST_CASE("aurora: the rate of balancing") {
  for (const int64_t cols : {16, 32, 64}) {
    const Tensor G = normal({128, cols}, DType::f64);
    CHECK(std::abs(cv(G, 2) / cv(G, 1) - double(cols) / 128) < .15);
  }
}

TEST_CASE("aurora: row scales, row order and rotations of the columns") {
  for (const DType dtype : floats) {
    const double bound = dtype == DType::f64 ? 1e-9 : 2e-5;
    const Tensor G = normal({96, 24}, dtype);
    const Matrix Q = polar(normal({24, 24}, dtype, 2), Polar::svd);
    for (const Balance balance : balances) {
      for (const int K : {1, 2, 4}) {
        const AuroraOptions options{.balance = balance, .pp_iterations = K};
        const Tensor U = direction(G, options);
        CHECK(relative_error(direction(with_uneven_rows(G, 1), options), U) < bound);
        CHECK(relative_error(direction(affine(G, 30, 0), options), U) < bound);
        CHECK(same_bytes(direction(affine(G, -1, 0), options), affine(U, -1, 0)));
        CHECK(relative_error(aurora_direction(Matrix(G) * Q, options).tensor(), (Matrix(U) * Q).tensor()) < bound);

        const Tensor swapped = G.like(), expected = U.like();  // the halves trade places
        for (const auto& [to, from] : {std::pair{swapped, G}, {expected, U}}) {
          to.rows(0, 48).copy_from(from.rows(48, 48));
          to.rows(48, 48).copy_from(from.rows(0, 48));
        }
        CHECK(relative_error(direction(swapped, options), expected) < bound);
      }
    }
  }
}

TEST_CASE("aurora: a balanced matrix is its own direction") {
  const Tensor even = direction(normal({60, 20}, DType::f64), {.polar = Polar::svd, .pp_iterations = 60});
  for (const Balance balance : balances) CHECK(relative_error(direction(even, {.balance = balance}), even) < 1e-9);
}

TEST_CASE("aurora: zero rows stay zero and disturb nobody") {
  for (const DType dtype : floats) {
    const Tensor G = normal({48, 12}, dtype), alive = normal({48, 12}, dtype).rows(2, 46);
    G.rows(0, 2).fill(0);
    for (const Balance balance : balances) {
      for (const int K : {2, 8, 12}) {
        const AuroraOptions options{.balance = balance, .pp_iterations = K};
        const Tensor U = direction(G, options);
        REQUIRE(all_finite(U));
        CHECK(same_bytes(U.rows(0, 2), Tensor::zeros({2, 12}, dtype)));
        // The target is cols/rows with the dead rows counted: only a common factor, which is lost.
        CHECK(relative_error(U.rows(2, 46), direction(alive, options)) < (dtype == DType::f64 ? 1e-9 : 2e-5));

        const Tensor zero = Tensor::zeros({48, 12}, dtype);
        CHECK(same_bytes(direction(zero, options), zero));
      }
    }
  }
}

TEST_CASE("aurora: finite where no balance exists") {
  for (const DType dtype : floats) {
    const Tensor same = normal({64, 16}, dtype), tiny = normal({64, 16}, dtype),
                 thin = (Matrix(normal({64, 3}, dtype)) * normal({3, 16}, dtype, 2)).tensor(),
                 column = normal({9, 1}, dtype);
    for (int64_t i = 1; i < 8; ++i) same.rows(i, 1).copy_from(same.rows(0, 1));
    tiny.rows(0, 1).copy_from(affine(tiny.rows(0, 1), 1e-15, 0));
    for (const Balance balance : balances) {
      for (const int K : {2, 10}) {
        const AuroraOptions options{.balance = balance, .pp_iterations = K};
        for (const Tensor& G : {same, tiny, thin, column}) CHECK(all_finite(direction(G, options)));
      }
    }
    CHECK(row_cv(direction(column, {.pp_iterations = 1})) < 1e-6);  // ±1/√rows
  }
}

TEST_CASE("aurora: a batch is its matrices one by one") {
  for (const DType dtype : floats) {
    const Tensor G = normal({3, 40, 10}, dtype);
    G.rows(1, 1).fill(0);
    for (const Balance balance : balances) {
      const Matrix all = aurora_direction(G, {.balance = balance});
      for (int64_t i = 0; i < 3; ++i)
        CHECK(relative_error(all.at(i).tensor(), aurora_direction(Matrix(G).at(i), {.balance = balance}).tensor()) <
              (dtype == DType::f64 ? 1e-12 : 1e-5));
    }
  }
}

TEST_CASE("aurora: settings by name") {
  for (const Balance b : {Balance::none, Balance::published, Balance::leverage}) CHECK(parse<Balance>(name(b)) == b);
  for (const Where w : {Where::tall, Where::nonsquare, Where::wide, Where::up_gate}) CHECK(parse<Where>(name(w)) == w);
  CHECK_THROWS_WITH(parse<Where>("up"), "where: there is no 'up'; known are tall, nonsquare, wide, up_gate");
  CHECK_THROWS_WITH(parse<Balance>("code"),
                    "balance: there is no 'code'; known are none, published, leverage, paper, "
                    "riemannian");
}
