#include "optim/aurora.h"

#include <array>

namespace borealis {

namespace {

// ZᵀZ is made definite by a ridge of this part of its mean eigenvalue: well above the rounding of
// the Gram product, well below what moves a leverage score.
double ridge(DType dtype) {
  return dtype == DType::f64 ? 1e-13 : 3e-5;
}

// The squared row lengths of polar(Z), without polar(Z):
//   h_i = z_iᵀ (ZᵀZ + ρI)⁻¹ z_i = ‖L⁻¹ z_i‖²  with  L Lᵀ = ZᵀZ + ρI.   Overwrites Z.
Tensor leverage_scores(const Matrix& Z) {
  Backend& device = backend(Z.device());
  const Matrix L = Matrix::make(Z.cols(), Z.cols(), Z.batch(), Z.dtype(), Z.device());
  gemm_symmetric(L, Z.t(), Z);
  device.add_to_diagonal(L.view(), 1e-30, ridge(Z.dtype()));  // 1e-30: for Z = 0
  device.cholesky(L.view());
  device.solve_lower(Z.view(), L.view());
  return row_sum_squares(Z);
}

template <class Enum, size_t n>
Enum parse(const char* what, std::string_view text, const std::array<Enum, n>& all) {
  std::ostringstream known;
  for (const Enum e : all) {
    if (text == name(e)) return e;
    known << (e == all[0] ? "" : ", ") << name(e);
  }
  fail(what, ": there is no '", text, "'; known are ", known.str());
}

}  // namespace

const char* name(Balance balance) {
  switch (balance) {
    case Balance::none:
      return "none";
    case Balance::published:
      return "published";
    case Balance::leverage:
      return "leverage";
  }
  return "?";
}

const char* name(Where where) {
  switch (where) {
    case Where::tall:
      return "tall";
    case Where::nonsquare:
      return "nonsquare";
    case Where::wide:
      return "wide";
    case Where::up_gate:
      return "up_gate";
  }
  return "?";
}

Balance parse_balance(std::string_view text) {
  return parse("balance", text, std::array{Balance::none, Balance::published, Balance::leverage});
}

Where parse_where(std::string_view text) {
  return parse("where", text,
               std::array{Where::tall, Where::nonsquare, Where::wide, Where::up_gate});
}

// d ← 1/‖G_i‖, then K − 1 times  d ← d (even/r²)^β  with r the row lengths of polar(diag(d) G),
// which are even when all r² = cols/rows: Tyler's fixed-point iteration on the rows of G.
Matrix aurora_direction(const Matrix& G, const AuroraOptions& o) {
  if (o.balance == Balance::none) return polar(G, o.polar);

  const double even = static_cast<double>(G.cols()) / static_cast<double>(G.rows());
  const Tensor d = inverse_norm(row_sum_squares(G), 1, 0, o.row_norm_eps);
  for (int k = 1; k < o.pp_iterations; ++k) {
    const Matrix Z = scale_rows(d, G);
    const Tensor r2 =
        o.balance == Balance::published ? row_sum_squares(polar(Z, o.polar)) : leverage_scores(Z);
    backend(G.device()).rebalance(d, r2, even, o.pp_beta, o.row_sq_eps);
  }
  return polar(scale_rows(d, G), o.polar);
}

}  // namespace borealis
