// The polar factor U = P Qᵀ of X = P Σ Qᵀ: the nearest matrix with orthonormal columns (or rows,
// for a wide X), by polynomial iterations made of matrix products only.
#pragma once

#include <array>
#include <span>

#include "../engine/matrix.h"
#include "../engine/names.h"

namespace borealis {

enum class Polar {
  quintic5,          // Muon's: five fast steps, singular values end in [0.68, 1.14]
  simple_quintic12,  // p(σ) = 2σ − 1.5σ³ + 0.5σ⁵, twelve times
  cans12,            // nine optimal cubics, then three of Newton's (arXiv 2506.10935)
  polar_express8,    // eight optimal quintics (arXiv 2505.16932)
  polar_express6,    // its first six: singular values above 1e-3 ‖X‖_F end within 3 % of 1
  polar_express5,    // five, as modded-nanogpt and dion run them: [0.86, 1.14]
  you5,              // five quintics found by search (J. You): [0.98, 1.03]
  turbo4,            // Turbo-Muon: four quintics on a matrix whose columns were evened first
  soft12,            // Soft-Muon: a mean over simple_quintic12's iterates, about σ^0.1
  identity,          // X itself: no polar factor
  svd,               // exact and slow: the reference
};

template <>
inline constexpr std::array words_of<Polar>{"polar",          "quintic5",       "simple_quintic12", "cans12",
                                            "polar_express8", "polar_express6", "polar_express5",   "you5",
                                            "turbo4",         "soft12",         "identity",         "svd"};

// One step: p(σ) = aσ + bσ³ + cσ⁵.
using PolarStep = std::array<double, 3>;

// The steps of an iteration and how its input is scaled: X / (safety ‖X‖_F + eps).
struct PolarTable {
  std::span<const PolarStep> steps;
  double safety = 1;
  double eps = 1e-7;
  // The Gram form starts afresh after so many steps (ascending; 0: never).
  std::array<size_t, 2> restarts = {0, 0};
  // Almost orthogonal layers (Turbo-Muon): then X ← X S with S_jj = (Σ_i |XᵀX|_ij)^−½, which bounds
  // σ by 1 too, closer than the Frobenius norm does, but changes the polar factor.
  bool aol = false;
  // The result is Σ_k mean[k]·(X after k steps) instead of the last one; empty: the last one.
  std::span<const double> mean = {};
};

// How the polynomial is applied: to X itself, or to its small Gram matrix. Equal up to rounding.
enum class PolarForm {
  fastest,  // gram where the sides of X differ by a factor of two or more
  direct,
  gram,
};

// Without steps for identity and svd.
const PolarTable& polar_table(Polar method);

// FLOPs of polar() on one m×n matrix, symmetric products counted as the half they are.
double polar_flops(Polar method, double m, double n, PolarForm form = PolarForm::fastest);

// The polar factor of each matrix of the batch. 0 for a zero matrix; zero rows stay zero.
Matrix polar(const Matrix& X, Polar method, PolarForm form = PolarForm::fastest);

}  // namespace borealis
