// Matrices and their kernels, against plain loops in f64.
#include <cmath>

#include <doctest/doctest.h>

#include "engine/cpu/gemm.h"
#include "engine/matrix.h"
#include "engine/parallel.h"
#include "engine/rng.h"
#include "tests/compare.h"

using namespace borealis;
using doctest::Contains;

namespace {

double at(const MatrixView& m, int64_t i, int64_t j, int64_t p = 0, int64_t q = 0) {
  const int64_t k = p * m.batch.stride[0] + q * m.batch.stride[1] + i * m.row_stride + j * m.col_stride;
  return m.dtype == DType::f64 ? static_cast<const double*>(m.data)[k]
                               : static_cast<double>(static_cast<const float*>(m.data)[k]);
}

// alpha·A·B + beta·C by definition, in f64.
Tensor product(const Matrix& A, const Matrix& B, const Matrix& C, double alpha, double beta) {
  const Tensor out({C.batch().count[0], C.batch().count[1], C.rows(), C.cols()}, DType::f64);
  double* y = out.data<double>();
  for (int64_t p = 0; p < C.batch().count[0]; ++p)
    for (int64_t q = 0; q < C.batch().count[1]; ++q)
      for (int64_t i = 0; i < C.rows(); ++i)
        for (int64_t j = 0; j < C.cols(); ++j) {
          double s = 0;
          const bool a = A.batch().total() > 1, b = B.batch().total() > 1;
          for (int64_t k = 0; k < A.cols(); ++k)
            s += at(A.view(), i, k, a ? p : 0, a ? q : 0) * at(B.view(), k, j, b ? p : 0, b ? q : 0);
          *y++ = alpha * s + (beta == 0 ? 0 : beta * at(C.view(), i, j, p, q));
        }
  return out;
}

// The numbers of any matrix as a contiguous f64 Tensor.
Tensor values(const Matrix& X) {
  const Tensor out({X.batch().count[0], X.batch().count[1], X.rows(), X.cols()}, DType::f64);
  double* y = out.data<double>();
  for (int64_t p = 0; p < X.batch().count[0]; ++p)
    for (int64_t q = 0; q < X.batch().count[1]; ++q)
      for (int64_t i = 0; i < X.rows(); ++i)
        for (int64_t j = 0; j < X.cols(); ++j) *y++ = at(X.view(), i, j, p, q);
  return out;
}

double bound(DType t) { return t == DType::f64 ? 1e-13 : 1e-5; }

}  // namespace

TEST_CASE("matrix: views, transposes, batches, and their limits") {
  const Tensor t = Rng(1).normal({2, 3, 4, 5}, 1);
  const Matrix M = t;
  CHECK(M.rows() == 4);
  CHECK(M.t().rows() == 5);
  CHECK(M.batch().total() == 6);
  CHECK(M.tensor().same_storage(t));
  CHECK(relative_error(values(M.at(4)).reshape({4, 5}), t.reshape({6, 4, 5}).rows(4, 1).reshape({4, 5})) == 0);
  CHECK_THROWS_WITH_AS(M.t().tensor(), Contains("is not contiguous"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(M.at(6), "matrix: number 6 of a batch of 6", std::invalid_argument);
  CHECK_THROWS_WITH_AS(Matrix(Tensor({3})), Contains("[3] is not a matrix"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(Matrix::strided(t, 101, 4, 5, 5), Contains("does not fit"), std::invalid_argument);
}

TEST_CASE("gemm: all transposes, leading dimensions, alpha and beta") {
  for (const DType type : {DType::f32, DType::f64})
    for (const int64_t m : {1, 5, 67})
      for (const int64_t n : {1, 33, 130})
        for (const int64_t k : {1, 17, 129})
          for (const int form : {0, 1, 2, 3}) {
            Rng rng(1);
            const bool ta = form & 1, tb = form & 2;
            const Tensor a = rng.normal({(ta ? k : m), (ta ? m : k) + 3}, 1, type);
            const Tensor b = rng.normal({(tb ? n : k), (tb ? k : n) + 1}, 1, type);
            const Tensor c = rng.normal({m, n + 2}, 1, type);
            Matrix A = Matrix::strided(a, 0, a.size(0), a.size(1) - 3, a.size(1));
            Matrix B = Matrix::strided(b, 0, b.size(0), b.size(1) - 1, b.size(1));
            if (ta) A = A.t();
            if (tb) B = B.t();
            const Matrix C = Matrix::strided(c, 0, m, n, n + 2);
            const Tensor expected = product(A, B, C, 0.5, -2);
            const Tensor edge = c.clone();
            gemm(C, A, B, 0.5, -2);
            INFO(m, " x ", n, " x ", k, " form ", form);
            CHECK(relative_error(values(C), expected) <= bound(type));
            // What lies beside C is not touched.
            const std::vector<double> now = c.to_vector<double>(), was = edge.to_vector<double>();
            for (int64_t i = 0; i < m; ++i) {
              CHECK(now[static_cast<size_t>(i * (n + 2) + n)] == was[static_cast<size_t>(i * (n + 2) + n)]);
              CHECK(now[static_cast<size_t>(i * (n + 2) + n + 1)] == was[static_cast<size_t>(i * (n + 2) + n + 1)]);
            }
          }
}

TEST_CASE("gemm_symmetric: the same numbers as gemm, symmetric to the bit") {
  for (const DType type : {DType::f32, DType::f64}) {
    for (const int64_t n : {1, 7, 32, 65, 128, 200}) {
      CAPTURE(n);
      const Tensor X = Rng(3).normal({3, n + 5, n}, 1, type);
      const Matrix A = X, C = Matrix::make(n, n, A.batch(), type, {}), D = C.like();
      for (const double beta : {0.0, 0.5}) {
        gemm(C, A.t(), A, 2, beta);
        gemm_symmetric(D, A.t(), A, 2, beta);
        CHECK(relative_error(D.tensor(), C.tensor()) < (type == DType::f64 ? 1e-14 : 1e-5));
        const Matrix T = D.like();
        axpby(T, 1, D.t(), 0);
        CHECK(same_bytes(T.tensor(), D.tensor()));
      }
    }
  }
  CHECK_THROWS_WITH(gemm_symmetric(Tensor({2, 3}), Tensor({2, 2}), Tensor({2, 3})),
                    "gemm_symmetric: the result must be square, got [2, 3]");
  CHECK_THROWS_WITH(gemm_symmetric(Tensor({3, 2}), Tensor({3, 2}), Tensor({2, 2})),
                    "gemm_symmetric: the result must be square, got [3, 2]");
}

TEST_CASE("gemm: a result of a wider type, and products that may be coarser") {
  Rng rng(2);
  const Tensor a = rng.normal({2, 9, 7}, 1), b = rng.normal({9, 5}, 1), before = rng.normal({2, 7, 5}, 1, DType::f64);
  const Tensor wide = before.clone(), expected = before.clone();
  gemm(wide, Matrix(a).t(), b, 0.5, 2);
  gemm(expected, Matrix(a.to(DType::f64)).t(), b.to(DType::f64), 0.5, 2);
  CHECK(same_bytes(wide, expected));
  CHECK_THROWS_WITH(gemm(Tensor({2, 2}), Tensor({2, 2}, DType::f64), Tensor({2, 2}, DType::f64)),
                    "gemm: [2, 2] f32 = [2, 2] f64 * [2, 2] f64: types or devices do not mix");

  const Tensor exact({2, 7, 5}), coarse = exact.like();
  gemm(exact, Matrix(a).t(), b);
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    gemm(coarse, Matrix(a).t(), b, 1, 0, precision);
    CHECK(relative_error(coarse, exact) <= (precision == Precision::tf32 ? 1e-2 : 5e-2));  // the CPU's is exact
  }
}

TEST_CASE("gemm: beta = 0 never reads C, a transposed C, an empty inner size") {
  for (const DType type : {DType::f32, DType::f64}) {
    Rng rng(2);
    const Matrix A = rng.normal({7, 9}, 1, type), B = rng.normal({9, 5}, 1, type);
    const Tensor c = Tensor::full({7, 5}, std::nan(""), type);
    gemm(c, A, B);
    CHECK(relative_error(values(c), product(A, B, c, 1, 0)) <= bound(type));
    const Tensor d = Tensor::full({5, 7}, std::nan(""), type);
    gemm(Matrix(d).t(), A, B);
    CHECK(relative_error(values(Matrix(d).t()), values(c)) <= bound(type));
    for (const Device device : available_devices()) {
      const Tensor e = Tensor::full({2, 3}, 4, type, device), none({2, 0}, type, device);
      gemm(e, none, Tensor({0, 3}, type, device), 1, 0.5);
      CHECK(e.to_vector<double>() == std::vector<double>(6, 2));
      gemm(e, none, Matrix(Tensor({3, 0}, type, device)).t(), 1, 0.5);
      CHECK(e.to_vector<double>() == std::vector<double>(6, 1));
    }
  }
}

TEST_CASE("gemm: batches, repeated ones, heads inside packed rows") {
  for (const DType type : {DType::f32, DType::f64}) {
    Rng rng(3);
    const Matrix A = rng.normal({2, 3, 5, 7}, 1, type), B = rng.normal({2, 3, 7, 4}, 1, type),
                 one = rng.normal({7, 4}, 1, type);
    CHECK(relative_error(values(A * B), product(A, B, A * B, 1, 0)) <= bound(type));
    CHECK(relative_error(values(A * one), product(A, one, A * one, 1, 0)) <= bound(type));

    // [B = 2, T = 6, heads = 3 · dim = 4]: scores of each head without copying it out.
    const Tensor q = rng.normal({2, 6, 12}, 1, type);
    const Matrix Q = Matrix::strided(q, 0, 6, 4, 12, {{2, 3}, {72, 4}});
    CHECK(relative_error(values(Q * Q.t()), product(Q, Q.t(), Q * Q.t(), 1, 0)) <= bound(type));
  }
  CHECK_THROWS_WITH_AS(Matrix(Tensor({2, 3})) * Matrix(Tensor({2, 3})), Contains("do not fit"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(Matrix(Tensor({2, 3, 4})) * Matrix(Tensor({3, 4, 2})), Contains("batches differ"),
                       std::invalid_argument);
}

TEST_CASE("matrix kernels: row norms, scaling, sums, by definition") {
  for (const DType type : {DType::f32, DType::f64})
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {67, 300}, {300, 67}})
      for (const bool turned : {false, true}) {
        const Shape shape{rows, cols};  // clang 14 cannot capture the two
        INFO(shape, turned);
        Rng rng(4);
        const Tensor x = rng.normal({2, 3, rows, cols}, 1, type);
        const Matrix X = turned ? Matrix(x).t() : Matrix(x);
        const Tensor d = rng.normal({6, X.rows()}, 1, type);
        const Tensor plain = values(X).reshape({6, X.rows(), X.cols()});
        const double* v = plain.data<double>();
        const std::vector<double> factor = d.to_vector<double>();

        const Tensor squares({6, X.rows()}, DType::f64), scaled = plain.like(), sums = plain.like(),
                                                         each = plain.like();
        const Tensor f = rng.normal({6}, 1, type);
        const std::vector<double> per_matrix = f.to_vector<double>();
        for (int64_t r = 0; r < 6 * X.rows(); ++r) {
          double s = 0;
          for (int64_t j = 0; j < X.cols(); ++j) {
            const int64_t k = r * X.cols() + j;
            s += v[k] * v[k];
            scaled.data<double>()[k] = factor[static_cast<size_t>(r)] * v[k];
            sums.data<double>()[k] = 2 * v[k] - 0.5;
            each.data<double>()[k] = per_matrix[static_cast<size_t>(r / X.rows())] * v[k];
          }
          squares.data<double>()[r] = s;
        }
        const auto flat = [&](const Matrix& Y) { return values(Y).reshape(plain.shape()); };
        CHECK(relative_error(row_sum_squares(X), squares) <= bound(type));
        CHECK(relative_error(flat(scale_rows(d, X)), scaled) <= bound(type));
        const Matrix Y = X.like();
        Y.tensor().fill(0.5);
        axpby(Y, 2, X, -1);
        CHECK(relative_error(flat(Y), sums) <= bound(type));
        scale_each(Y, X, f);
        CHECK(relative_error(flat(Y), each) <= bound(type));
      }
  CHECK_THROWS_WITH_AS(scale_rows(Tensor({3}), Matrix(Tensor({4, 2}))), Contains("scale_rows: d is [3]"),
                       std::invalid_argument);
}

TEST_CASE("matrix kernels: Cholesky and the triangular solve undo the product") {
  Backend& cpu = backend(Device{});
  for (const DType type : {DType::f32, DType::f64})
    for (const int64_t n : {1, 2, 17, 64, 131}) {
      INFO("n = ", n);
      Rng rng(5);
      const Matrix X = rng.normal({2, 2 * n, n}, 1, type);
      const Tensor gram = (X.t() * X).tensor();
      for (int64_t k = 0; k < 2 * n; ++k) {  // well conditioned: + n on the diagonal
        const int64_t place = k / n * n * n + k % n * (n + 1);
        const Tensor entry = gram.flat_view(place, {1});
        entry.fill(entry.item() + static_cast<double>(n));
      }
      const Matrix L = gram.clone();
      cpu.cholesky(L.view());
      CHECK(relative_error(values(L * L.t()), values(Matrix(gram))) <= 3 * bound(type));
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = i + 1; j < n; ++j) CHECK(at(L.view(), i, j, 0, 1) == 0);

      // X ← X L⁻ᵀ, so multiplying by Lᵀ brings X back.
      const Matrix Z = X.tensor().clone();
      cpu.solve_lower(Z.view(), L.view());
      CHECK(relative_error(values(Z * L.t()), values(X)) <= 3 * bound(type));
    }
  const Tensor bad = Tensor::of<double>({2, 2}, {1, 2, 2, 1});
  cpu.cholesky(Matrix(bad).view());
  CHECK(std::isnan(bad.to_vector<double>()[3]));
}

TEST_CASE("matrix kernels: the polar factor by SVD is orthogonal, zero stays zero") {
  Backend& cpu = backend(Device{});
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {9, 1}, {1, 9}, {20, 7}, {7, 20}, {16, 16}}) {
    const Shape shape{rows, cols};
    INFO(shape);
    const Matrix X = Rng(6).normal({rows, cols}, 1, DType::f64), U = X.like();
    cpu.polar_svd(U.view(), X.view());
    const Matrix G = rows >= cols ? U.t() * U : U * U.t();
    const Tensor identity = Tensor::zeros({1, 1, G.rows(), G.rows()}, DType::f64);
    for (int64_t i = 0; i < G.rows(); ++i) identity.data<double>()[i * (G.rows() + 1)] = 1;
    CHECK(relative_error(values(G), identity) <= 1e-13);
  }
  const Matrix zero = Tensor::zeros({5, 3}, DType::f64), U = zero.like();
  cpu.polar_svd(U.view(), zero.view());
  CHECK(U.tensor().to_vector<double>() == std::vector<double>(15, 0));
}

TEST_CASE("matrix kernels: the same bytes for any number of threads") {
  const int before = threads();
  const Tensor a = Rng(8).normal({3, 200, 150}, 1), d = Rng(9).uniform({3, 200}, 0.5, 2);
  const auto all = [&] {
    const Matrix A = a;
    const Matrix gram = A.t() * A, L = gram.tensor().clone(), Z = a.clone();
    backend(Device{}).cholesky(L.view());
    backend(Device{}).solve_lower(Z.view(), L.view());
    const Tensor s({1}, DType::f64);
    backend(Device{}).sum_squares(s, a);
    return std::vector<Tensor>{
        gram.tensor(), L.tensor(), Z.tensor(), s, row_sum_squares(A), scale_rows(d, A).tensor(), (A * gram).tensor()};
  };
  set_threads(1);
  const std::vector<Tensor> alone = all();
  for (const int count : {2, 3, 8}) {
    set_threads(count);
    const std::vector<Tensor> together = all();
    for (size_t i = 0; i < alone.size(); ++i) {
      INFO(count, " threads, result ", i);
      CHECK(same_bytes(together[i], alone[i]));
    }
  }
  set_threads(before);
}
