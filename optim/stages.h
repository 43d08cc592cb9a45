// The stages of a spectral optimizer around its direction, on batches of equal matrices
// [count, m, n]. Their formulas stand in optim/spectral_config.h. A state is what a stage remembers
// from step to step; it starts at zero, and is undefined where there is nothing to remember.
#pragma once

#include "spectral_config.h"

namespace borealis {

// X = momentum(G), in fresh memory. M: like G.
Tensor momentum(const SpectralConfig& c, const Tensor& G, const Tensor& M);
Tensor momentum_state(const SpectralConfig& c, const Tensor& like);

// X ← pre(X). V: like X.
void precondition(const SpectralConfig& c, const Tensor& X, const Tensor& G, const Tensor& V);
Tensor pre_state(const SpectralConfig& c, const Tensor& like);

// U ← U − contra·X/‖X‖₂ at U's Frobenius norm, the spectral norm by five power iterations.
void subtract_input(double contra, const Matrix& U, const Matrix& X);

// U ← post(U), at the norm that c.restore asks for; X: what pre made. V: [count, m], [count, n] or
// like U. `step` counts from 1.
void postcondition(const SpectralConfig& c, const Tensor& U, const Tensor& X, const Tensor& V, int64_t step);
Tensor post_state(const SpectralConfig& c, const Tensor& like);

// The factor of the scale stage for a matrix [m, n] (of U/‖U‖_F for Scale::update_rms).
double scale_factor(const SpectralConfig& c, double m, double n);

// W ← decay(W) − lr·factor·scale·U, the factor of the step's record (StepRecord, engine/backend.h). What of the scale each
// matrix decides for itself (update_rms, uw_floor, hyperball's length) is multiplied into U.
void apply(const SpectralConfig& c, const Tensor& W, const Tensor& U, double lr, const Tensor& record);

}  // namespace borealis
