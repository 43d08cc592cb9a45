#include "optim/stages.h"

#include <algorithm>
#include <cmath>

#include "engine/math.h"

namespace borealis {

namespace {

// Every row to length `length`: d_i = length/√(‖X_i‖² + eps). Zero rows stay zero.
Tensor row_factors(const Matrix& X, double length, double eps) {
  const Tensor squares = row_sum_squares(X);
  return inverse_norm(eps > 0 ? affine(squares, 1, eps) : squares, 1 / length, 0, 0);
}

// √to/√from of each number, 0 where from is 0: what brings norms back.
Tensor norm_ratio(const Tensor& to_squares, const Tensor& from_squares) {
  return binary("norm_ratio", BinaryOp::mul, unary(UnaryOp::sqrt, to_squares), inverse_norm(from_squares));
}

void bring_to(const Matrix& U, const Tensor& norm_squares) {
  scale_each(U, U, norm_ratio(norm_squares, frobenius_squares(U)));
}

}  // namespace

// --- momentum --------------------------------------------------------------------------------

Tensor momentum_state(const SpectralConfig& c, const Tensor& like) {
  return c.momentum == Momentum::none ? Tensor() : Tensor::zeros(like.shape(), like.dtype(), like.device());
}

Tensor momentum(const SpectralConfig& c, const Tensor& G, const Tensor& M) {
  if (c.momentum == Momentum::none) return G.clone();
  const Tensor X = G.like();
  const double gain = c.momentum == Momentum::ema ? 1 - c.mu : 1;
  backend(G.device()).momentum(X, M, G, c.mu, gain, c.nesterov);
  return X;
}

// --- pre -------------------------------------------------------------------------------------

Tensor pre_state(const SpectralConfig& c, const Tensor& like) {
  return c.pre == Pre::second_moment ? Tensor::zeros(like.shape(), like.dtype(), like.device()) : Tensor();
}

void precondition(const SpectralConfig& c, const Tensor& x, const Tensor& G, const Tensor& V) {
  const Matrix X = x;
  const auto m = static_cast<double>(X.rows()), n = static_cast<double>(X.cols());
  switch (c.pre) {
    case Pre::none: return;
    case Pre::rows: return scale_rows(X, row_factors(X, 1, c.pre_eps), X);
    case Pre::columns: return scale_rows(X.t(), row_factors(X.t(), 1, c.pre_eps), X.t());
    case Pre::rows_columns: {
      const Tensor columns = row_factors(X.t(), 1, c.pre_eps);
      scale_rows(X, row_factors(X, 1, c.pre_eps), X);
      return scale_rows(X.t(), columns, X.t());
    }
    case Pre::row_rms: return scale_rows(X, row_factors(X, std::sqrt(n), c.pre_eps), X);
    case Pre::standardize: {
      const Tensor mean({x.numel() / X.cols()}, x.dtype(), x.device()), rstd = mean.like();
      // The eps only keeps a constant row from dividing by zero.
      backend(x.device())
          .norm(x, {}, mean, rstd, x.clone(), {}, {}, {}, {.rows = mean.numel(), .cols = X.cols(), .eps = 1e-30});
      return;
    }
    case Pre::sign: return backend(x.device()).unary(UnaryOp::sign, x, x, 0);
    case Pre::second_moment: return backend(x.device()).second_moment(x, V, G, c.beta2, c.pre_eps);
    case Pre::sinkhorn:
      for (int pass = 0; pass < 5; ++pass) {
        scale_rows(X, row_factors(X, std::sqrt(n), 0), X);
        scale_rows(X.t(), row_factors(X.t(), std::sqrt(m), 0), X.t());
      }
      return;
  }
}

// --- contra ----------------------------------------------------------------------------------

// With X̂ = X/‖X‖_F, so that no square leaves the range:  v ← X̂ᵀX̂ v/‖X̂ᵀX̂ v‖,  ‖X̂‖₂ ≈ ‖X̂ v‖.
void subtract_input(double contra, const Matrix& U, const Matrix& X) {
  const Tensor before = frobenius_squares(U);
  const Matrix unit = X.like();
  scale_each(unit, X, inverse_norm(frobenius_squares(X)));
  const Matrix v = Matrix::make(X.cols(), 1, X.batch(), X.dtype(), X.device());
  v.tensor().fill(1);
  for (int i = 0; i < 5; ++i) {
    gemm(v, unit.t(), unit * v);
    scale_each(v, v, inverse_norm(frobenius_squares(v)));
  }
  scale_each(unit, unit, inverse_norm(frobenius_squares(unit * v)));  // X/‖X‖₂
  axpby(U, -contra, unit, 1);
  bring_to(U, before);
}

// --- post ------------------------------------------------------------------------------------

Tensor post_state(const SpectralConfig& c, const Tensor& like) {
  const int64_t count = like.size(0), m = like.size(1), n = like.size(2);
  const auto zeros = [&](const Shape& shape) { return Tensor::zeros(shape, like.dtype(), like.device()); };
  switch (c.post) {
    case Post::even_rows_moment: return m > n ? zeros({count, m}) : Tensor();
    case Post::row_moment: return zeros({count, m});
    case Post::longer_moment: return zeros({count, std::max(m, n)});
    case Post::element_moment: return zeros(like.shape());
    default: return {};
  }
}

namespace {

// v ← β₂ v + (1−β₂)·mean_j Y_ij²,  Y_i ← Y_i / (√v_i + eps).
void divide_by_row_moment(const SpectralConfig& c, const Matrix& Y, const Tensor& v) {
  const Tensor squares = row_sum_squares(Y);
  axpby(v, (1 - c.beta2) / static_cast<double>(Y.cols()), squares.reshape(v.shape()), c.beta2);
  scale_rows(Y, inverse_norm(v, 1, c.post_eps, 0), Y);
}

}  // namespace

void postcondition(const SpectralConfig& c, const Tensor& u, const Tensor& X, const Tensor& V, int64_t step) {
  const Matrix U = u;
  const auto m = static_cast<double>(U.rows()), n = static_cast<double>(U.cols());
  Tensor target;
  if (c.restore == Restore::update) target = frobenius_squares(U);
  if (c.restore == Restore::input) target = frobenius_squares(X);
  if (c.restore == Restore::polar) target = Tensor::full({u.size(0)}, std::min(m, n), u.dtype(), u.device());
  switch (c.post) {
    case Post::none: break;
    case Post::even_rows:
    case Post::even_rows_moment: {
      if (m <= n) break;
      Tensor squares = row_sum_squares(U);
      double scale = 1;
      if (c.post == Post::even_rows_moment) {
        // v/(1 − β₂ᵗ) is the mean: early updates are not too long.
        axpby(V, 1 - c.beta2, squares.reshape(V.shape()), c.beta2);
        squares = V;
        scale = 1 / std::sqrt(1 - std::pow(c.beta2, static_cast<double>(step)));
      }
      const double even = std::sqrt(n / m);  // length of a row of a polar factor whose rows are equally long
      scale_rows(U, inverse_norm(squares, scale / even, c.post_eps / even, 0), U);
      break;
    }
    case Post::row_moment: divide_by_row_moment(c, U, V); break;
    case Post::longer_moment: divide_by_row_moment(c, m >= n ? U : U.t(), V); break;
    case Post::element_moment: backend(u.device()).second_moment(u, V, u, c.beta2, c.post_eps); break;
    case Post::columns_rows:
      scale_rows(U.t(), row_factors(U.t(), 1, 0), U.t());
      scale_rows(U, row_factors(U, 1, 0), U);
      break;
  }
  if (target) bring_to(U, target);
}

// --- scale, decay, apply ---------------------------------------------------------------------

double scale_factor(const SpectralConfig& c, double m, double n) {
  switch (c.scale) {
    case Scale::none: return c.alpha;
    case Scale::original: return c.alpha * std::sqrt(std::max(1.0, m / n));
    case Scale::match_rms: return c.alpha * 0.2 * std::sqrt(std::max(m, n));
    case Scale::rms_rms: return c.alpha * std::sqrt(m / n);
    case Scale::spectral: return c.alpha * std::sqrt(std::max(m, n));
    case Scale::update_rms: return c.alpha * 0.2 * std::sqrt(m * n);
  }
  return c.alpha;
}

void apply(const SpectralConfig& c, const Tensor& W, const Tensor& u, double lr, const Tensor& record) {
  const Matrix U = u;
  const double scale = scale_factor(c, static_cast<double>(U.rows()), static_cast<double>(U.cols()));
  if (c.scale == Scale::update_rms) scale_each(U, U, inverse_norm(frobenius_squares(U), 1, 1e-10, 0));
  const auto descend = [&](const Tensor& along, double by, double decay) {
    backend(W.device()).descend(W, along, lr, by, decay, record);
  };
  switch (c.decay) {
    case Decay::decoupled: return descend(u, scale, c.weight_decay);
    case Decay::cautious: {
      // What of W is to decay: W where U_ij W_ij > 0, else 0.
      const Tensor agree = unary(UnaryOp::sign, binary("cautious", BinaryOp::mul, u, W));
      descend(binary("cautious", BinaryOp::mul, unary(UnaryOp::relu, agree), W), c.weight_decay, 0);
      return descend(u, scale, 0);
    }
    case Decay::hyperball: {
      // The update is as long as W, so that lr is a relative length; the scale drops out.
      const Tensor length = frobenius_squares(W);
      bring_to(U, length);
      descend(u, 1, 0);
      return bring_to(W, length);
    }
    case Decay::uw_floor: {
      // s = max(1, floor·‖W‖_F/(scale·‖U‖_F)) = 1 + relu(… − 1)
      const Tensor ratio = norm_ratio(frobenius_squares(W), frobenius_squares(U));
      const Tensor above = unary(UnaryOp::relu, affine(ratio, c.floor / scale, -1));
      scale_each(U, U, affine(above, 1, 1));
      return descend(u, scale, 0);
    }
  }
}

}  // namespace borealis
