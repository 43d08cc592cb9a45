// Riemannian Aurora (Aurora's release, github.com/tilde-research/aurora-release): steepest ascent
// of ⟨G, U⟩ over all U with orthonormal columns and even rows, where Aurora merely balances the
// rows.
#pragma once

#include "polar.h"

namespace borealis {

struct RiemannianOptions {
  Polar polar = Polar::cans12;
  int outer = 3;  // steps along the tangent space
  // Of conjugate gradients in each of them. The release takes up to 20, not preconditioned.
  int cg_steps = 8;
  double step = 0.1;       // relative to singular values of mean 1
  int balance_rounds = 2;  // back to the set after each step: rows made even, polar factor taken
};

// The part of G that is tangent at U to the set of matrices with orthonormal columns and rows of
// the lengths that U has:
//   Z = G − U S − diag(λ) U,  S symmetric, so that  UᵀZ + ZᵀU = 0  and  ⟨Z_i, U_i⟩ = 0 for all i.
// The columns of U must be orthonormal; G and U contiguous batches.
Matrix tangent_projection(const Matrix& G, const Matrix& U, int cg_steps);

// From U = polar(G), `outer` times:   U ← balanced(U + step·Z),   Z the tangent part at U of
// G n/⟨G, polar(G)⟩, whose singular values have mean 1. So the direction does not depend on the
// size of G; the release's does, since it takes Z of G itself. For each matrix of the batch; G must
// be tall. Zero rows stay zero.
Matrix riemannian_direction(const Matrix& G, const RiemannianOptions& options = {});

}  // namespace borealis
