#include "optim/aurora.h"

#include "engine/math.h"
#include "optim/riemannian.h"

namespace borealis {

namespace {

// Algorithm 3 of the paper: with X₀ = G/‖G‖_F and D₋₁ = I, K times
//   D_k = D_{k−1}^β diag(r)^(1−β)  with r the row lengths of X_k,   X_{k+1} = polar(D_k⁻¹ X_k).
Matrix paper_direction(const Matrix& G, const AuroraOptions& o) {
  Matrix X = G.like();
  scale_each(X, G, inverse_norm(frobenius_squares(G)));
  Tensor log_D2;  // log D_k²
  for (int k = 0; k < o.pp_iterations; ++k) {
    const Tensor log_r2 = unary(UnaryOp::log, row_sum_squares(X));
    if (k == 0)
      log_D2 = affine(log_r2, 1 - o.pp_beta, 0);
    else
      axpby(log_D2, 1 - o.pp_beta, log_r2, o.pp_beta);
    // A zero row has log r² = −∞ and D = 0, of which inverse_norm makes 0.
    X = polar(scale_rows(inverse_norm(unary(UnaryOp::exp, log_D2)), X), o.polar);
  }
  return X;
}

}  // namespace

// d ← 1/‖G_i‖, then K − 1 times  d ← d (even/r²)^β  with r the row lengths of polar(diag(d) G),
// which are even when all r² = cols/rows: Tyler's fixed-point iteration on the rows of G.
Matrix aurora_direction(const Matrix& G, const AuroraOptions& o) {
  if (o.balance == Balance::none) return polar(G, o.polar);
  if (o.balance == Balance::paper) return paper_direction(G, o);
  if (o.balance == Balance::riemannian) return riemannian_direction(G, {.polar = o.polar});

  const double even = static_cast<double>(G.cols()) / static_cast<double>(G.rows());
  // ZᵀZ is made definite by a ridge of this part of its mean eigenvalue: well above the rounding of
  // the Gram product, well below what moves a leverage score.
  const double ridge = G.dtype() == DType::f64 ? 1e-13 : 3e-5;
  const Tensor d = inverse_norm(row_sum_squares(G), 1, 0, o.row_norm_eps);
  for (int k = 1; k < o.pp_iterations; ++k) {
    const Matrix Z = scale_rows(d, G);
    const Tensor r2 = o.balance == Balance::published ? row_sum_squares(polar(Z, o.polar)) : leverage_scores(Z, ridge);
    backend(G.device()).rebalance(d, r2, even, o.pp_beta, o.row_sq_eps);
  }
  return polar(scale_rows(d, G), o.polar);
}

}  // namespace borealis
