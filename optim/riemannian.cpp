#include "optim/riemannian.h"

#include <limits>

#include "engine/math.h"
#include "optim/aurora.h"

namespace borealis {

namespace {

Tensor mul(const Tensor& a, const Tensor& b) { return binary("riemannian", BinaryOp::mul, a, b); }

// 1/x of each number; 0 where x ≤ 0. The floor keeps its square finite in f32.
Tensor reciprocal(const Tensor& x) {
  return unary(UnaryOp::square, inverse_norm(unary(UnaryOp::relu, x), 1, 0, 1e-18));
}

// [batch, rows]: ⟨A_i, B_i⟩.
Tensor row_dots(const Matrix& A, const Matrix& B) {
  return sum(mul(A.tensor(), B.tensor()), {-1}).reshape({A.batch().total(), A.rows()});
}

// [batch, 1]: Σ_i a_i b_i.
Tensor dots(const Tensor& a, const Tensor& b) { return sum(mul(a, b), {1}); }

// diag(λ) U − U (Uᵀ diag(λ) U): diag(λ) U less what it has of UᵀZ + ZᵀU.
Matrix row_normal(const Tensor& lambda, const Matrix& U) {
  const Matrix V = scale_rows(lambda, U);
  const Matrix A = Matrix::make(U.cols(), U.cols(), U.batch(), U.dtype(), U.device());
  gemm_symmetric(A, U.t(), V);
  gemm(V, U, A, -1, 1);
  return V;
}

// λ with  L λ = q  for  L λ = ⟨row_normal(λ)_i, U_i⟩_i = (diag(h) − P∘P) λ,  P = UUᵀ, h_i = P_ii:
// the Laplacian of a graph with the weights P_ij², semidefinite, constants its null space; Σq = 0.
// (The release has a multiple of I for diag(h), which is right only where the rows are even.)
// By conjugate gradients, preconditioned by L's diagonal w = h − h²: near even rows L is close to
// it, and where few long rows dominate it saves most of the steps. A row without neighbours, h = 0
// or 1, keeps λ = 0.
Tensor row_multipliers(const Matrix& U, const Tensor& q, int steps) {
  const Tensor h = row_sum_squares(U), w = h.clone();
  axpby(w, -1, unary(UnaryOp::square, h), 1);
  const Tensor inverse_w = reciprocal(w), inverse_total = reciprocal(sum(w, {1}));

  // r ← r − w Σr/Σw: rounding must not push r out of the range of L. Returns r/w.
  const auto preconditioned = [&](const Tensor& r) {
    axpby(r, -1, mul(w, mul(sum(r, {1}), inverse_total)), 1);
    return mul(inverse_w, r);
  };

  const Tensor lambda = Tensor::zeros(q.shape(), q.dtype(), q.device()), r = q.clone();
  const Tensor p = preconditioned(r);
  Tensor rz = dots(r, p);
  const double eps =
      q.dtype() == DType::f64 ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon();
  const Tensor done = affine(rz, eps * eps, 0);
  for (int k = 0; k < steps; ++k) {
    const Tensor Lp = row_dots(row_normal(p, U), U);
    // α = rz/pᵀLp while rz is above rounding, 0 from then on.
    const Tensor left = rz.clone();
    axpby(left, -1, done, 1);
    const Tensor alpha = mul(unary(UnaryOp::relu, left), reciprocal(dots(p, Lp)));
    axpby(lambda, 1, mul(alpha, p), 1);
    axpby(r, -1, mul(alpha, Lp), 1);
    const Tensor z = preconditioned(r), next_rz = dots(r, z);
    const Tensor beta = mul(next_rz, reciprocal(rz));
    p.copy_from(mul(beta, p));
    axpby(p, 1, z, 1);
    rz = next_rz;
  }
  return lambda;
}

}  // namespace

// S = sym(UᵀG) − Uᵀ diag(λ) U, so  Z = (G − U sym(UᵀG)) − row_normal(λ)  and  ⟨Z_i, U_i⟩ = 0 says
// L λ = ⟨(G − U sym(UᵀG))_i, U_i⟩.
Matrix tangent_projection(const Matrix& G, const Matrix& U, int cg_steps) {
  const Matrix A = U.t() * G, B = copy(A), Z = copy(G);
  axpby(B, 0.5, A.t(), 0.5);
  gemm(Z, U, B, -1, 1);
  const Tensor lambda = row_multipliers(U, row_dots(Z, U), cg_steps);
  axpby(Z, -1, row_normal(lambda, U), 1);
  return Z;
}

Matrix riemannian_direction(const Matrix& G, const RiemannianOptions& o) {
  const Matrix X = copy(G);
  Matrix U = polar(X, o.polar);
  const Tensor inner = sum(row_dots(X, U), {1}, 1 / static_cast<double>(X.cols()));
  scale_each(X, X, reciprocal(inner).reshape({X.batch().total()}));

  const AuroraOptions even_rows{.polar = o.polar, .pp_iterations = 1};
  for (int t = 0; t < o.outer; ++t) {
    // At U = polar(X) all of X is normal, X = U S with S = UᵀX symmetric: t = 0 only balances.
    if (t > 0) {
      const Matrix Y = tangent_projection(X, U, o.cg_steps);
      axpby(Y, 1, U, o.step);  // U + step·Z
      U = Y;
    }
    for (int k = 0; k < o.balance_rounds; ++k) U = aurora_direction(U, even_rows);
  }
  return U;
}

}  // namespace borealis
