// Each stage of the spectral pipeline against its formula (optim/spectral_config.h), written again
// here with loops over plain doubles.
#include <limits>

#include <doctest/doctest.h>

#include "optim/spectral_methods.h"
#include "optim/stages.h"
#include "tests/compare.h"
#include "tests/matrices.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

// Two matrices each: tall, wide, square, and larger than a vector register or a piece of work.
const std::array<Shape, 6> shapes{Shape{2, 5, 3},   Shape{2, 3, 5},   Shape{2, 4, 4},
                                  Shape{2, 67, 19}, Shape{2, 19, 67}, Shape{2, 7, 1}};

double bound(DType dtype) { return dtype == DType::f64 ? 1e-12 : 2e-5; }

// --- plain doubles ---------------------------------------------------------------------------

using Line = std::vector<double*>;  // the numbers of a row, a column or a whole matrix

// A batch of matrices [count, m, n].
struct Plain {
  int64_t count = 0, m = 0, n = 0;
  std::vector<double> x = {};

  explicit Plain(const Tensor& t)
      : count(t.size(0)), m(t.size(1)), n(t.size(2)), x(t.to_vector<double>()) {}

  double& at(int64_t b, int64_t i, int64_t j) {
    return x[static_cast<size_t>((b * m + i) * n + j)];
  }
  std::vector<Line> rows() {
    std::vector<Line> all;
    for (int64_t b = 0; b < count; ++b)
      for (int64_t i = 0; i < m; ++i) {
        all.emplace_back();
        for (int64_t j = 0; j < n; ++j) all.back().push_back(&at(b, i, j));
      }
    return all;
  }
  std::vector<Line> columns() {
    std::vector<Line> all;
    for (int64_t b = 0; b < count; ++b)
      for (int64_t j = 0; j < n; ++j) {
        all.emplace_back();
        for (int64_t i = 0; i < m; ++i) all.back().push_back(&at(b, i, j));
      }
    return all;
  }
  std::vector<Line> matrices() {
    std::vector<Line> all;
    for (int64_t b = 0; b < count; ++b) {
      all.emplace_back();
      for (int64_t k = 0; k < m * n; ++k)
        all.back().push_back(&x[static_cast<size_t>(b * m * n + k)]);
    }
    return all;
  }
};

double squares(const Line& line) {
  double s = 0;
  for (const double* x : line) s += *x * *x;
  return s;
}
double length(const Line& line) { return std::sqrt(squares(line)); }
void scale(const Line& line, double factor) {
  for (double* x : line) *x *= factor;
}
// To length `to`, with eps under the root; a zero line stays.
void bring(const std::vector<Line>& lines, double to, double eps = 0) {
  for (const Line& line : lines)
    if (squares(line) > 0) scale(line, to / std::sqrt(squares(line) + eps));
}

// max|x − expected| / max|expected|; infinite where x is not finite.
double error(const Tensor& x, const Plain& expected) {
  return relative_error(x, Tensor::of<double>(x.shape(), expected.x));
}

// --- inputs ----------------------------------------------------------------------------------

// The second matrix has a zero row.
Tensor input(const Shape& shape, DType dtype, uint64_t seed) {
  const Tensor X = normal(shape, dtype, seed);
  X.rows(1, 1).reshape({shape[1], shape[2]}).rows(2, 1).fill(0);
  return X;
}

template <class F> void for_each_case(F f) {
  for (const DType dtype : floats) {
    for (const Shape& shape : shapes) {
      CAPTURE(std::string(name(dtype)));
      CAPTURE(shape);
      f(shape, dtype);
    }
  }
}

template <class Enum> std::vector<Enum> all() {
  std::vector<Enum> values;
  for (const char* word : Names<Enum>::words) values.push_back(parse<Enum>(word));
  return values;
}

}  // namespace

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
    case Pre::none:
      return;
    case Pre::rows:
      return bring(X.rows(), 1, c.pre_eps);
    case Pre::columns:
      return bring(X.columns(), 1, c.pre_eps);
    case Pre::rows_columns: {
      Plain original = X;
      const std::vector<Line> rows = original.rows(), columns = original.columns();
      for (int64_t b = 0; b < X.count; ++b)
        for (int64_t i = 0; i < X.m; ++i)
          for (int64_t j = 0; j < X.n; ++j)
            X.at(b, i, j) /=
                std::sqrt(squares(rows[static_cast<size_t>(b * X.m + i)]) + c.pre_eps + 1e-300) *
                std::sqrt(squares(columns[static_cast<size_t>(b * X.n + j)]) + c.pre_eps + 1e-300);
      return;
    }
    case Pre::row_rms:
      return bring(X.rows(), std::sqrt(n), c.pre_eps);
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
    for (const Pre kind : {Pre::rows, Pre::columns, Pre::rows_columns, Pre::row_rms, Pre::sinkhorn,
                           Pre::standardize}) {
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
      // and rounding is what its first step finds.
      for (const bool centered : {false, true}) {
        CAPTURE(shape);
        CAPTURE(centered);
        const Tensor X = normal(shape, dtype, 1), U = normal(shape, dtype, 2);
        if (centered) precondition({.pre = Pre::standardize}, X, X, {});
        axpby(U, -dot(U, X) / dot(X, X), X, 1);
        const Tensor V = U.clone();
        subtract_input(0.25, V, X);
        CHECK(dot(V, V) == doctest::Approx(dot(U, U)).epsilon(bound(dtype)));

        Plain plain(X);
        std::vector<double> start(static_cast<size_t>(plain.n));
        for (size_t j = 0; j < start.size(); ++j) start[j] = std::cos(static_cast<double>(j * j));
        const double exact = power_iteration(plain, 0, start, 500);
        const double found = -0.25 * dot(X, X) / dot(U, U) / (dot(V, X) / dot(V, U));
        CHECK(found > (centered ? 0.88 : 0.92) * exact);
        CHECK(found < (1 + 1e-4) * exact);  // ‖X v‖/‖v‖ never is more
      }
    }
  }
}

// --- post, restore -----------------------------------------------------------------------------

namespace {

// v ← β₂ v + (1−β₂)·part·‖line‖² for each line; line ← to·line/(√(v/unbias) + eps).
void divide_by_moment(const SpectralConfig& c, const std::vector<Line>& lines,
                      std::vector<double>& v, double part, double unbias, double to) {
  for (size_t i = 0; i < lines.size(); ++i) {
    v[i] = c.beta2 * v[i] + (1 - c.beta2) * part * squares(lines[i]);
    if (v[i] > 0) scale(lines[i], to / (std::sqrt(v[i] / unbias) + c.post_eps));
  }
}

void expected_post(const SpectralConfig& c, Plain& U, Plain& X, std::vector<double>& v, int step) {
  const auto m = static_cast<double>(U.m), n = static_cast<double>(U.n);
  std::vector<double> target;
  for (const Line& matrix : (c.restore == Restore::input ? X : U).matrices())
    target.push_back(c.restore == Restore::polar ? std::sqrt(std::min(m, n)) : length(matrix));

  switch (c.post) {
    case Post::none:
      break;
    case Post::even_rows:
      if (m > n)
        for (const Line& row : U.rows()) scale(row, std::sqrt(n / m) / (length(row) + c.post_eps));
      break;
    case Post::even_rows_moment:
      if (m > n) divide_by_moment(c, U.rows(), v, 1, 1 - std::pow(c.beta2, step), std::sqrt(n / m));
      break;
    case Post::row_moment:
      divide_by_moment(c, U.rows(), v, 1 / n, 1, 1);
      break;
    case Post::longer_moment:
      if (m >= n)
        divide_by_moment(c, U.rows(), v, 1 / n, 1, 1);
      else
        divide_by_moment(c, U.columns(), v, 1 / m, 1, 1);
      break;
    case Post::element_moment:
      for (size_t k = 0; k < U.x.size(); ++k) {
        v[k] = c.beta2 * v[k] + (1 - c.beta2) * U.x[k] * U.x[k];
        U.x[k] /= std::sqrt(v[k]) + c.post_eps;
      }
      break;
    case Post::columns_rows:
      bring(U.columns(), 1);
      bring(U.rows(), 1);
      break;
  }
  if (c.restore == Restore::none) return;
  for (size_t b = 0; b < target.size(); ++b) bring({U.matrices()[b]}, target[b]);
}

}  // namespace

TEST_CASE("stages: post and restore") {
  for_each_case([](const Shape& shape, DType dtype) {
    for (const Post kind : all<Post>()) {
      for (const Restore restore : all<Restore>()) {
        CAPTURE(std::string(name(kind)));
        CAPTURE(std::string(name(restore)));
        const SpectralConfig c{.post = kind, .beta2 = 0.8, .post_eps = 1e-3, .restore = restore};
        const Tensor V = post_state(c, normal(shape, dtype));
        std::vector<double> v(static_cast<size_t>(normal(shape, dtype).numel()), 0);
        for (int t = 1; t <= 3; ++t) {
          const auto seed = static_cast<uint64_t>(t);
          const Tensor U = input(shape, dtype, seed), X = input(shape, dtype, seed + 10);
          const Tensor before = X.clone();
          Plain expected(U), plain_X(X);
          expected_post(c, expected, plain_X, v, t);
          postcondition(c, U, X, V, t);
          CHECK(error(U, expected) < bound(dtype));
          CHECK(same_bytes(X, before));
          if (V) {
            v.resize(static_cast<size_t>(V.numel()));
            CHECK(relative_error(V, Tensor::of<double>(V.shape(), v)) < bound(dtype));
          }
        }
      }
    }
  });
}

// --- scale, decay, apply -------------------------------------------------------------------------

namespace {

double expected_scale(const SpectralConfig& c, double m, double n, double length_of_U) {
  switch (c.scale) {
    case Scale::none:
      return c.alpha;
    case Scale::original:
      return c.alpha * (m > n ? std::sqrt(m / n) : 1);
    case Scale::match_rms:
      return c.alpha * 0.2 * (m > n ? std::sqrt(m) : std::sqrt(n));
    case Scale::rms_rms:
      return c.alpha * std::sqrt(m) / std::sqrt(n);
    case Scale::spectral:
      return c.alpha * (m > n ? std::sqrt(m) : std::sqrt(n));
    case Scale::update_rms:
      return length_of_U > 0 ? c.alpha * 0.2 * std::sqrt(m) * std::sqrt(n) / (length_of_U + 1e-10)
                             : 0;
  }
  return 0;
}

void expected_apply(const SpectralConfig& c, Plain& W, Plain& U, double lr) {
  const std::vector<Line> weights = W.matrices(), updates = U.matrices();
  for (size_t b = 0; b < weights.size(); ++b) {
    const Line &w = weights[b], &u = updates[b];
    const double before = length(w);
    double s = expected_scale(c, static_cast<double>(W.m), static_cast<double>(W.n), length(u));
    if (c.decay == Decay::hyperball) s = length(u) > 0 ? before / length(u) : 0;
    if (c.decay == Decay::uw_floor && length(u) > 0)
      s *= std::max(1.0, c.floor * before / (s * length(u)));
    for (size_t k = 0; k < w.size(); ++k) {
      const bool decays =
          c.decay == Decay::decoupled || (c.decay == Decay::cautious && *u[k] * *w[k] > 0);
      if (decays) *w[k] *= 1 - lr * c.weight_decay;
      *w[k] -= lr * s * *u[k];
    }
    if (c.decay == Decay::hyperball && before > 0) scale(w, before / length(w));
  }
}

}  // namespace

TEST_CASE("stages: scale, decay and apply") {
  for_each_case([](const Shape& shape, DType dtype) {
    for (const Scale kind : all<Scale>()) {
      for (const Decay decay : all<Decay>()) {
        for (const double floor : {0.35, 50.0}) {  // below and above what the update has anyway
          const bool keeps_length = decay == Decay::hyperball || decay == Decay::uw_floor;
          const SpectralConfig c{.scale = decay == Decay::hyperball ? Scale::none : kind,
                                 .alpha = decay == Decay::hyperball ? 1 : 0.7,
                                 .decay = decay,
                                 .weight_decay = keeps_length ? 0 : 0.4,
                                 .floor = floor};
          CAPTURE(std::string(name(kind)));
          CAPTURE(std::string(name(decay)));
          CAPTURE(floor);
          check(c);
          const Tensor W = normal(shape, dtype, 3), U = input(shape, dtype, 4);
          Plain expected(W), plain_U(U);
          expected_apply(c, expected, plain_U, 0.5);
          apply(c, W, U, 0.5);
          CHECK(error(W, expected) < bound(dtype));
        }
      }
    }
  });
}

TEST_CASE("stages: the floor under an update") {
  for (const DType dtype : floats) {
    const SpectralConfig c{
        .scale = Scale::none, .decay = Decay::uw_floor, .weight_decay = 0, .floor = 0.35};
    // The first matrix is large: its update of length 1 becomes 0.35·‖W‖. The second is zero: its
    // update stays as it is.
    const Tensor W = normal({2, 8, 8}, dtype, 1), U = normal({2, 8, 8}, dtype, 2);
    W.rows(1, 1).fill(0);
    scale_each(U, U, inverse_norm(frobenius_squares(U), 1, 0, 0));
    const Tensor before = W.clone(), direction = U.clone();
    apply(c, W, U, 1);
    axpby(before, -1, W, 1);  // what was subtracted
    const std::vector<double> moved = frobenius_squares(before).to_vector<double>();
    const double weight = frobenius_squares(normal({2, 8, 8}, dtype, 1)).to_vector<double>()[0];
    CHECK(moved[0] == doctest::Approx(0.35 * 0.35 * weight).epsilon(1e-5));
    CHECK(moved[1] == doctest::Approx(1).epsilon(1e-5));
    CHECK(same_bytes(W.rows(1, 1), affine(direction.rows(1, 1), -1, 0)));
  }
}

TEST_CASE("stages: hyperball keeps each matrix's length") {
  for (const DType dtype : floats) {
    const SpectralConfig c{.scale = Scale::none, .decay = Decay::hyperball, .weight_decay = 0};
    const Tensor W = normal({2, 12, 5}, dtype, 1);
    const std::vector<double> before = frobenius_squares(W).to_vector<double>();
    for (uint64_t t = 1; t <= 20; ++t) apply(c, W, normal({2, 12, 5}, dtype, t + 1), 0.3);
    const std::vector<double> after = frobenius_squares(W).to_vector<double>();
    for (size_t b = 0; b < 2; ++b)
      CHECK(after[b] == doctest::Approx(before[b]).epsilon(bound(dtype)));
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
        apply(c, W, U, 0.1);
        passes(W);
      }
    }
  });
}
