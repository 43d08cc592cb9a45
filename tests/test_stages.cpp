// The stages of the spectral pipeline up to the direction, and zeros in all of them, against their
// formulas (optim/spectral_config.h), written again here with loops over plain doubles.
#include "tests/near.h"
#include "tests/plain_stages.h"

using namespace borealis;

// --- momentum --------------------------------------------------------------------------------

TEST_CASE("stages: momentum") {
  for_each_case([](const Shape& shape, DType dtype) {
    for (const Momentum kind : all<Momentum>()) {
      for (const bool nesterov : {true, false}) {
        CAPTURE(std::string(name(kind)));
        CAPTURE(nesterov);
        const SpectralConfig c{.momentum = kind, .mu = 0.9, .nesterov = nesterov};
        const Tensor M = momentum_state(c, normal(shape, dtype));
        CHECK(M.defined() == (kind != Momentum::none));
        Plain expected_M(Tensor::zeros(shape, dtype));
        for (uint64_t t = 1; t <= 3; ++t) {
          const Tensor G = input(shape, dtype, t), before = G.clone();
          Plain X(G);
          for (size_t k = 0; k < X.x.size(); ++k) {
            const double g = X.x[k], gain = kind == Momentum::ema ? 1 - 0.9 : 1;
            double& m = expected_M.x[k];
            m = 0.9 * m + gain * g;
            if (kind != Momentum::none) X.x[k] = nesterov ? gain * g + 0.9 * m : m;
          }
          const Tensor got = momentum(c, G, M);
          CHECK(error(got, X) < bound(dtype));
          if (M) CHECK(error(M, expected_M) < bound(dtype));
          got.fill(7);  // fresh memory: neither the gradient nor the state may notice
          CHECK(same_bytes(G, before));
          if (M) CHECK(error(M, expected_M) < bound(dtype));
        }
      }
    }
  });
}

// --- pre -------------------------------------------------------------------------------------

namespace {

void expected_pre(const SpectralConfig& c, Plain& X, Plain& G, Plain& V) {
  const auto m = static_cast<double>(X.m), n = static_cast<double>(X.n);
  switch (c.pre) {
    case Pre::none: return;
    case Pre::rows: return bring(X.rows(), 1, c.pre_eps);
    case Pre::columns: return bring(X.columns(), 1, c.pre_eps);
    case Pre::rows_columns: {
      Plain original = X;
      const std::vector<Line> rows = original.rows(), columns = original.columns();
      for (int64_t b = 0; b < X.count; ++b)
        for (int64_t i = 0; i < X.m; ++i)
          for (int64_t j = 0; j < X.n; ++j)
            X.at(b, i, j) /= std::sqrt(squares(rows[static_cast<size_t>(b * X.m + i)]) + c.pre_eps + 1e-300) *
                             std::sqrt(squares(columns[static_cast<size_t>(b * X.n + j)]) + c.pre_eps + 1e-300);
      return;
    }
    case Pre::row_rms: return bring(X.rows(), std::sqrt(n), c.pre_eps);
    case Pre::standardize:
      for (const Line& row : X.rows()) {
        double mean = 0;
        for (const double* x : row) mean += *x / n;
        for (double* x : row) *x -= mean;
      }
      return bring(X.rows(), std::sqrt(n));  // then the standard deviation is ‖X_i‖/√n
    case Pre::sign:
      for (double& x : X.x) x = x > 0 ? 1 : x < 0 ? -1 : 0;
      return;
    case Pre::second_moment:
      for (size_t k = 0; k < X.x.size(); ++k) {
        V.x[k] = c.beta2 * V.x[k] + (1 - c.beta2) * G.x[k] * G.x[k];
        X.x[k] /= std::sqrt(V.x[k]) + c.pre_eps;
      }
      return;
    case Pre::sinkhorn:
      for (int pass = 0; pass < 5; ++pass) {
        bring(X.rows(), std::sqrt(n));
        bring(X.columns(), std::sqrt(m));
      }
      return;
  }
}

}  // namespace

TEST_CASE("stages: pre") {
  for_each_case([](const Shape& shape, DType dtype) {
    for (const Pre kind : all<Pre>()) {
      for (const double eps : {1e-8, 0.5}) {
        if (kind == Pre::standardize && shape[2] == 1) continue;  // it has no deviation
        CAPTURE(std::string(name(kind)));
        CAPTURE(eps);
        const SpectralConfig c{.pre = kind, .pre_eps = eps, .beta2 = 0.8};
        const Tensor V = pre_state(c, normal(shape, dtype));
        CHECK(V.defined() == (kind == Pre::second_moment));
        Plain expected_V(Tensor::zeros(shape, dtype));
        for (uint64_t t = 1; t <= 3; ++t) {
          const Tensor G = input(shape, dtype, t), X = input(shape, dtype, t + 10);
          Plain plain_G(G), expected(X);
          expected_pre(c, expected, plain_G, expected_V);
          precondition(c, X, G, V);
          CHECK(error(X, expected) < bound(dtype));
          if (V) CHECK(error(V, expected_V) < bound(dtype));
        }
      }
    }
  });
}

TEST_CASE("stages: lengths far from 1") {
  for (const DType dtype : floats) {
    const Tensor X = normal({2, 6, 4}, dtype);
    for (const Pre kind : {Pre::rows, Pre::columns, Pre::rows_columns, Pre::row_rms, Pre::sinkhorn, Pre::standardize}) {
      CAPTURE(std::string(name(kind)));
      const SpectralConfig c{.pre = kind};
      const Tensor expected = X.clone();
      precondition(c, expected, X, {});
      for (const double factor : {1e-10, 1e10}) {
        const Tensor scaled = affine(X, factor, 0);
        precondition(c, scaled, scaled, {});
        // Both factors divide by the matrix's size: it comes out smaller by one of them.
        const double back = kind == Pre::rows_columns ? factor : 1;
        // standardize has an eps under its root: 1e-30.
        CHECK(relative_error(affine(scaled, back, 0), expected) <
              (kind == Pre::standardize ? std::max(1e-9, bound(dtype)) : bound(dtype)));
      }
    }
  }
}

// --- contra ----------------------------------------------------------------------------------

namespace {

double norm(const std::vector<double>& a) {
  double s = 0;
  for (const double x : a) s += x * x;
  return std::sqrt(s);
}

// `times` v ← XᵀX v, then ‖X v‖/‖v‖.
double power_iteration(Plain& X, size_t b, std::vector<double> v, int times) {
  const std::vector<Line> rows = X.rows(), columns = X.columns();
  std::vector<double> y(static_cast<size_t>(X.m));
  const auto inner = [](const Line& line, const std::vector<double>& a) {
    double s = 0;
    for (size_t k = 0; k < a.size(); ++k) s += *line[k] * a[k];
    return s;
  };
  for (int t = 0;; ++t) {
    for (size_t i = 0; i < y.size(); ++i) y[i] = inner(rows[b * y.size() + i], v);
    if (t == times) return norm(y) / norm(v);
    for (size_t j = 0; j < v.size(); ++j) v[j] = inner(columns[b * v.size() + j], y);
    const double size = norm(v);
    for (double& x : v) x /= size;
  }
}

}  // namespace

TEST_CASE("stages: contra") {
  for_each_case([](const Shape& shape, DType dtype) {
    const Tensor X = input(shape, dtype, 1), U = input(shape, dtype, 2);
    Plain plain(X), expected(U);
    const std::vector<Line> from = plain.matrices(), to = expected.matrices();
    for (size_t b = 0; b < to.size(); ++b) {
      const double before = length(to[b]);
      const std::vector<double> ones(static_cast<size_t>(plain.n), 1);
      const double spectral = power_iteration(plain, b, ones, 5);
      for (size_t k = 0; k < to[b].size(); ++k) *to[b][k] -= 0.3 * *from[b][k] / spectral;
      scale(to[b], before / length(to[b]));
    }
    subtract_input(0.3, U, X);
    CHECK(error(U, expected) < bound(dtype));
  });
}

// What was taken for ‖X‖₂ shows where ⟨U, X⟩ = 0:  U' = s(U − contra·X/‖X‖₂)  has
// ⟨U', X⟩/⟨U', U⟩ = −contra ‖X‖²_F/(‖X‖₂ ‖U‖²_F).
TEST_CASE("stages: contra finds the spectral norm to a few percent, and keeps the length") {
  for (const DType dtype : floats) {
    for (const Shape& shape : {Shape{1, 48, 12}, Shape{1, 12, 48}, Shape{1, 24, 24}}) {
      // Rows of mean 0, as behind a LayerNorm: then the power iteration starts in the null space,
      // and rounding is what its first step finds: another on each kind of processor (0.876 of the norm on one).
      for (const bool centered : {false, true}) {
        CAPTURE(shape);
        CAPTURE(centered);
        const Tensor X = normal(shape, dtype, 1), U = normal(shape, dtype, 2);
        if (centered) precondition({.pre = Pre::standardize}, X, X, {});
        axpby(U, -dot(U, X) / dot(X, X), X, 1);
        const Tensor V = U.clone();
        subtract_input(0.25, V, X);
        CHECK(dot(V, V) == near(dot(U, U)).epsilon(bound(dtype)));

        Plain plain(X);
        std::vector<double> start(static_cast<size_t>(plain.n));
        for (size_t j = 0; j < start.size(); ++j) start[j] = std::cos(static_cast<double>(j * j));
        const double exact = power_iteration(plain, 0, start, 500);
        const double found = -0.25 * dot(X, X) / dot(U, U) / (dot(V, X) / dot(V, U));
        CHECK(found > (centered ? 0.8 : 0.92) * exact);
        CHECK(found < (1 + 1e-4) * exact);  // ‖X v‖/‖v‖ never is more
      }
    }
  }
}

// --- zeros -------------------------------------------------------------------------------------

TEST_CASE("stages: a zero matrix passes every stage as zero, a zero row as a zero row") {
  for_each_case([](const Shape& shape, DType dtype) {
    // The first matrix is zero, the second has a zero row. No eps, so that nothing hides behind it.
    const Tensor G = input(shape, dtype, 1), zero = Tensor::zeros(shape, dtype);
    G.rows(0, 1).fill(0);
    const auto passes = [&](const Tensor& T) {
      REQUIRE(all_finite(T));
      CHECK(same_bytes(T.rows(0, 1), zero.rows(0, 1)));
      const Tensor row = T.rows(1, 1).reshape({shape[1], shape[2]}).rows(2, 1);
      for (const double x : row.to_vector<double>()) CHECK(x == 0);
    };
    for (const Pre kind : all<Pre>()) {
      CAPTURE(std::string(name(kind)));
      const SpectralConfig c{.pre = kind, .pre_eps = 0};
      const Tensor X = G.clone();
      precondition(c, X, G, pre_state(c, G));
      passes(X);
    }
    const SpectralConfig moment{.pre = Pre::second_moment, .pre_eps = 1e-10};
    const Tensor X = G.clone();
    precondition(moment, X, G, pre_state(moment, G));
    passes(X);

    const Tensor contra = G.clone();
    subtract_input(0.2, contra, G);
    passes(contra);

    for (const Post kind : all<Post>()) {
      for (const Restore restore : {Restore::none, Restore::update, Restore::polar}) {
        CAPTURE(std::string(name(kind)));
        CAPTURE(std::string(name(restore)));
        const SpectralConfig c{.post = kind, .restore = restore};  // with its default post_eps
        const Tensor U = G.clone();
        postcondition(c, U, G, post_state(c, G), 1);
        passes(U);
      }
    }
    for (const Scale kind : all<Scale>()) {
      for (const Decay decay : all<Decay>()) {
        CAPTURE(std::string(name(kind)));
        CAPTURE(std::string(name(decay)));
        const SpectralConfig c{.scale = kind, .decay = decay};
        const Tensor W = zero.clone(), U = G.clone();
        apply(c, W, U, 0.1, plain_record());
        passes(W);
      }
    }
  });
}
