// Aurora's direction (arXiv 2606.27715): the polar factor of a tall matrix whose rows were rescaled
// so that the factor's rows come out equally long, and so every neuron learns at the same pace.
#pragma once

#include "polar.h"

namespace borealis {

// How the row scales are found. Published and leverage give the same direction.
enum class Balance {
  none,        // plain polar factor: Muon
  published,   // the released code: row lengths read off a polar factor in each round, K polar calls
  leverage,    // row lengths from a Cholesky factor of the Gram matrix: one polar call in all
  paper,       // the paper's Algorithm 3: rounds on the previous iterate, K polar calls
  riemannian,  // ascent on the matrices with orthonormal columns and even rows (optim/riemannian.h)
};

// Which matrices are balanced. A wide matrix is balanced along its columns.
enum class Where {
  tall,       // rows > cols
  nonsquare,  // also wide ones
  wide,       // only wide ones
  up_gate,    // tall ones with a neuron per row: the MLP's up and gate projections
};

template <>
inline constexpr std::array words_of<Balance>{"balance", "none", "published", "leverage", "paper", "riemannian"};
template <> inline constexpr std::array words_of<Where>{"where", "tall", "nonsquare", "wide", "up_gate"};

struct AuroraOptions {
  Polar polar = Polar::cans12;
  Balance balance = Balance::leverage;
  int pp_iterations = 2;  // K: how often the row scales are set; K = 1 makes G's own rows even
  // β: exponent of the correction; 0.5 corrects by exactly 1/length. In the paper's form the share
  // of the previous scale that stays, 0 … 1: there 0 is the full correction.
  double pp_beta = 0.5;
  // Published clamps: rows of G shorter than row_norm_eps count as that long, rows of U as
  // √row_sq_eps.
  double row_norm_eps = 1e-7, row_sq_eps = 1e-14;
};

// U ≈ polar(diag(d) G) with orthonormal columns and even rows, for each matrix of the batch. G must
// be tall (or square, where rows are even already). Zero rows of G stay zero.
Matrix aurora_direction(const Matrix& G, const AuroraOptions& options = {});

}  // namespace borealis
