#include <doctest/doctest.h>

#include "optim/aurora.h"
#include "optim/riemannian.h"
#include "tests/compare.h"
#include "tests/matrices.h"
#include "tests/near.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

double bound(DType dtype) { return dtype == DType::f64 ? 1e-9 : 2e-5; }

Tensor direction(const Matrix& G, const RiemannianOptions& options = {}) {
  return riemannian_direction(G, options).tensor();
}

double largest(const Tensor& x) { return relative_error(x, Tensor::zeros(x.shape(), x.dtype())); }

// Column j times c^(j/(cols−1)).
Tensor with_shrinking_columns(const Tensor& X, double c) {
  const Tensor d({X.size(1)}, DType::f64);
  for (int64_t j = 0; j < d.numel(); ++j) d.data<double>()[j] = std::pow(c, double(j) / double(d.numel() - 1));
  return binary("scale", BinaryOp::mul, X, d.to(X.dtype()));
}

// The columns of the reference table.
enum class Rows { iid, uneven, very_uneven, some_small, columns_too };

Tensor gradient(Rows rows) {
  const Tensor G = normal({256, 64}, DType::f32);
  switch (rows) {
    case Rows::iid: break;
    case Rows::uneven: return with_uneven_rows(G, 1, 101);
    case Rows::very_uneven: return with_uneven_rows(G, 2, 101);
    case Rows::some_small: G.rows(0, 64).copy_from(affine(G.rows(0, 64), 1e-3, 0)); break;
    case Rows::columns_too: return with_shrinking_columns(with_uneven_rows(G, 1, 101), 1e-3);
  }
  return G;
}

}  // namespace

TEST_CASE("riemannian: what is projected is tangent") {
  for (const DType dtype : floats) {
    for (const int64_t rows : {36, 64, 128}) {
      for (const double s : {0.0, 2.0}) {
        CAPTURE(rows);
        CAPTURE(s);
        const Tensor G = with_uneven_rows(normal({rows, 32}, dtype), s);
        const double size = std::sqrt(frobenius_squares(G).item());
        const Tensor uneven = with_uneven_rows(normal({rows, 32}, dtype, 3), 0.5);
        for (const Matrix& U : {polar(uneven, Polar::cans12), Matrix(direction(G, {.outer = 1}))}) {
          const Matrix Z = tangent_projection(G, U, 20), A = U.t() * Z, E = A.like();
          axpby(E, 1, A, 0);
          axpby(E, 1, A.t(), 1);
          const Tensor along = sum(binary("along", BinaryOp::mul, Z.tensor(), U.tensor()), {1});
          CHECK(largest(E.tensor()) < (dtype == DType::f64 ? 1e-12 : 1e-4) * size);
          CHECK(largest(along) < (dtype == DType::f64 ? 1e-12 : 1e-4) * size);
          // An orthogonal projection: what it took away has no tangent part. (In f32 only where no
          // row is nearly alone in its direction.)
          if (dtype == DType::f32 && rows < 128) continue;
          const Tensor normal_part = binary("sub", BinaryOp::sub, G, Z.tensor());
          CHECK(std::abs(dot(Z, normal_part)) < bound(dtype) * size * size);
          CHECK(largest(tangent_projection(normal_part, U, 20).tensor()) < bound(dtype) * size);
        }
      }
    }
  }
}

// The settings' few steps do for it.
TEST_CASE("riemannian: conjugate gradients converge") {
  for (const double s : {0.0, 1.0, 2.0}) {
    const Tensor G = with_uneven_rows(normal({64, 32}, DType::f64), s);
    const int published = 20;
    CHECK(relative_error(direction(G), direction(G, {.cg_steps = published})) < 1e-7);
  }
}

// The alignment is ⟨G, U⟩ over its largest possible value ‖G‖_*. One draw here and another one in
// the reference: hence the tolerance (means of eight draws: .996, .776, .580, .891, .896).
TEST_CASE("riemannian: even rows and a good alignment") {
  struct Expected {
    Rows rows;
    double cv_3, alignment_3;    // after the default 3 steps: ours
    double cv_30, alignment_30;  // after 30: the reference
    double tolerance;
  };
  for (const Expected& e :
       {Expected{Rows::iid, 1e-4, .9971, 1e-6, .9969, .001}, Expected{Rows::uneven, 5e-3, .7986, 1e-5, .777, .05},
        Expected{Rows::very_uneven, .08, .6711, 5e-3, .571, .05},
        Expected{Rows::some_small, 3e-4, .8778, 1e-4, .891, .005},
        Expected{Rows::columns_too, 5e-3, .8637, 1e-4, .916, .05}}) {
    CAPTURE(e.alignment_30);
    const Tensor G = gradient(e.rows);
    const double best = dot(G, polar(G, Polar::cans12));
    const auto check = [&](int outer, double cv, double alignment, double tolerance) {
      const Tensor U = direction(G, {.outer = outer});
      CHECK(row_cv(U) < cv);
      CHECK(dot(G, U) / best == near(alignment).epsilon(tolerance));
    };
    check(3, e.cv_3, e.alignment_3, .002);
    check(30, e.cv_30, e.alignment_30, e.tolerance);
  }
}

TEST_CASE("riemannian: among even directions it climbs above the balanced one") {
  const Tensor G = with_uneven_rows(normal({128, 32}, DType::f32), 1);
  double last = dot(G, aurora_direction(G, {.pp_iterations = 12}));
  for (const int outer : {6, 12, 24}) {
    const double inner = dot(G, direction(G, {.outer = outer}));
    CHECK(inner > last);
    last = inner;
  }
}

TEST_CASE("riemannian: scale, sign and rotations of the columns") {
  for (const DType dtype : floats) {
    const Tensor G = with_uneven_rows(normal({96, 24}, dtype), 1), U = direction(G);
    for (const double scale : {1e-3, 30.0, 1e3})
      CHECK(relative_error(direction(affine(G, scale, 0)), U) < bound(dtype));
    CHECK(relative_error(U.to(DType::f64), direction(G.to(DType::f64))) < bound(dtype));
    CHECK(same_bytes(direction(affine(G, -1, 0)), affine(U, -1, 0)));
    const Matrix Q = polar(normal({24, 24}, dtype, 2), Polar::svd);
    CHECK(relative_error(direction(Matrix(G) * Q), (Matrix(U) * Q).tensor()) < bound(dtype));
  }
}

TEST_CASE("riemannian: an even matrix is its own direction") {
  const Matrix even = aurora_direction(normal({60, 20}, DType::f64), {.polar = Polar::svd, .pp_iterations = 60});
  CHECK(relative_error(direction(even), even.tensor()) < 1e-9);
}

TEST_CASE("riemannian: zero rows stay zero and disturb nobody") {
  for (const DType dtype : floats) {
    const Tensor G = normal({48, 12}, dtype), alive = normal({48, 12}, dtype).rows(2, 46);
    G.rows(0, 2).fill(0);
    const Tensor U = direction(G), zero = Tensor::zeros({48, 12}, dtype);
    CHECK(same_bytes(U.rows(0, 2), Tensor::zeros({2, 12}, dtype)));
    CHECK(relative_error(U.rows(2, 46), direction(alive)) < bound(dtype));
    CHECK(same_bytes(direction(zero), zero));
  }
}

TEST_CASE("riemannian: finite where no even direction exists") {
  for (const DType dtype : floats) {
    const Tensor same = normal({64, 16}, dtype), tiny = normal({64, 16}, dtype), big = normal({64, 16}, dtype),
                 column = normal({9, 1}, dtype),
                 thin = (Matrix(normal({64, 3}, dtype)) * normal({3, 16}, dtype, 2)).tensor();
    for (int64_t i = 1; i < 8; ++i) same.rows(i, 1).copy_from(same.rows(0, 1));
    tiny.rows(0, 1).copy_from(affine(tiny.rows(0, 1), 1e-15, 0));
    big.rows(0, 16).copy_from(affine(big.rows(0, 16), 1e6, 0));
    for (const Tensor& G : {same, tiny, big, thin, column}) {
      CHECK(all_finite(direction(G, {.outer = 5, .cg_steps = 40})));
      CHECK(all_finite(tangent_projection(G, polar(G, Polar::svd), 40)));
    }
  }
}

TEST_CASE("riemannian: a batch is its matrices one by one, and may be a transposed view") {
  for (const DType dtype : floats) {
    const Tensor G = normal({2, 2, 40, 10}, dtype);
    Matrix(G).at(2).tensor().fill(0);
    const Tensor all = direction(G);
    REQUIRE(all.shape() == G.shape());
    for (int64_t i = 0; i < 4; ++i)
      CHECK(relative_error(Matrix(all).at(i).tensor(), direction(Matrix(G).at(i))) <
            (dtype == DType::f64 ? 1e-12 : 1e-5));
    CHECK(same_bytes(direction(Matrix(permute(G, {0, 1, 3, 2})).t()), all));
  }
}

TEST_CASE("riemannian: three steps unless told otherwise, and each counts") {
  const Matrix G = normal({40, 12}, DType::f64);
  CHECK(same_bytes(direction(G), direction(G, {.outer = 3})));
  for (const int outer : {1, 2, 4}) CHECK(relative_error(direction(G), direction(G, {.outer = outer})) > 1e-6);
}
