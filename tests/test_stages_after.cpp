// The stages of the spectral pipeline behind the direction, against their formulas
// (optim/spectral_config.h), written again here with loops over plain doubles.
#include "tests/near.h"
#include "tests/plain_stages.h"

using namespace borealis;

// --- post, restore -----------------------------------------------------------------------------

namespace {

// v ← β₂ v + (1−β₂)·part·‖line‖² for each line; line ← to·line/(√(v/unbias) + eps).
void divide_by_moment(const SpectralConfig& c, const std::vector<Line>& lines, std::vector<double>& v, double part,
                      double unbias, double to) {
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
    case Post::none: break;
    case Post::even_rows:
      if (m > n)
        for (const Line& row : U.rows()) scale(row, std::sqrt(n / m) / (length(row) + c.post_eps));
      break;
    case Post::even_rows_moment:
      if (m > n) divide_by_moment(c, U.rows(), v, 1, 1 - std::pow(c.beta2, step), std::sqrt(n / m));
      break;
    case Post::row_moment: divide_by_moment(c, U.rows(), v, 1 / n, 1, 1); break;
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
    case Scale::none: return c.alpha;
    case Scale::original: return c.alpha * (m > n ? std::sqrt(m / n) : 1);
    case Scale::match_rms: return c.alpha * 0.2 * (m > n ? std::sqrt(m) : std::sqrt(n));
    case Scale::rms_rms: return c.alpha * std::sqrt(m) / std::sqrt(n);
    case Scale::spectral: return c.alpha * (m > n ? std::sqrt(m) : std::sqrt(n));
    case Scale::update_rms:
      return length_of_U > 0 ? c.alpha * 0.2 * std::sqrt(m) * std::sqrt(n) / (length_of_U + 1e-10) : 0;
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
    if (c.decay == Decay::uw_floor && length(u) > 0) s *= std::max(1.0, c.floor * before / (s * length(u)));
    for (size_t k = 0; k < w.size(); ++k) {
      const bool decays = c.decay == Decay::decoupled || (c.decay == Decay::cautious && *u[k] * *w[k] > 0);
      if (decays) *w[k] *= 1 - lr * c.weight_decay;
      *w[k] -= lr * s * *u[k];
    }
    if (c.decay == Decay::hyperball && before > 0) scale(w, before / length(w));
  }
}

}  // namespace

TEST_CASE("stages: what evens out tall matrices remembers nothing of others") {
  const SpectralConfig c{.post = Post::even_rows_moment};
  CHECK(post_state(c, Tensor({2, 5, 3})).shape() == Shape{2, 5});
  CHECK(!post_state(c, Tensor({2, 3, 5})));
  CHECK(!post_state(c, Tensor({2, 3, 3})));
}

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
          apply(c, W, U, 0.5, plain_record());
          CHECK(error(W, expected) < bound(dtype));
        }
      }
    }
  });
}

TEST_CASE("stages: the floor under an update") {
  for (const DType dtype : floats) {
    const SpectralConfig c{.scale = Scale::none, .decay = Decay::uw_floor, .weight_decay = 0, .floor = 0.35};
    // The first matrix is large: its update of length 1 becomes 0.35·‖W‖. The second is zero: its
    // update stays as it is.
    const Tensor W = normal({2, 8, 8}, dtype, 1), U = normal({2, 8, 8}, dtype, 2);
    W.rows(1, 1).fill(0);
    scale_each(U, U, inverse_norm(frobenius_squares(U), 1, 0, 0));
    const Tensor before = W.clone(), direction = U.clone();
    apply(c, W, U, 1, plain_record());
    axpby(before, -1, W, 1);  // what was subtracted
    const std::vector<double> moved = frobenius_squares(before).to_vector<double>();
    const double weight = frobenius_squares(normal({2, 8, 8}, dtype, 1)).to_vector<double>()[0];
    CHECK(moved[0] == near(0.35 * 0.35 * weight).epsilon(1e-5));
    CHECK(moved[1] == near(1).epsilon(1e-5));
    CHECK(same_bytes(W.rows(1, 1), affine(direction.rows(1, 1), -1, 0)));
  }
}

TEST_CASE("stages: hyperball keeps each matrix's length") {
  for (const DType dtype : floats) {
    const SpectralConfig c{.scale = Scale::none, .decay = Decay::hyperball, .weight_decay = 0};
    const Tensor W = normal({2, 12, 5}, dtype, 1);
    const std::vector<double> before = frobenius_squares(W).to_vector<double>();
    for (uint64_t t = 1; t <= 20; ++t) apply(c, W, normal({2, 12, 5}, dtype, t + 1), 0.3, plain_record());
    const std::vector<double> after = frobenius_squares(W).to_vector<double>();
    for (size_t b = 0; b < 2; ++b) CHECK(after[b] == near(before[b]).epsilon(bound(dtype)));
  }
}
