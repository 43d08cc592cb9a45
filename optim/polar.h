// The polar factor U = P Qᵀ of X = P Σ Qᵀ: the nearest matrix with orthonormal columns (or rows,
// for a wide X), by polynomial iterations made of matrix products only.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "engine/matrix.h"

namespace borealis {

enum class Polar {
  quintic5,          // Muon's: five fast steps, singular values end in [0.68, 1.14]
  simple_quintic12,  // p(σ) = 2σ − 1.5σ³ + 0.5σ⁵, twelve times
  cans12,            // nine optimal cubics, then three of Newton's (arXiv 2506.10935)
  polar_express8,    // eight optimal quintics (arXiv 2505.16932)
  polar_express6,    // its first six: singular values above 1e-3 ‖X‖_F end within 3 % of 1
  svd,               // exact and slow: the reference
};

// One step: p(σ) = aσ + bσ³ + cσ⁵.
using PolarStep = std::array<double, 3>;

// The steps of an iteration and how its input is scaled: X / (safety ‖X‖_F + eps).
struct PolarTable {
  std::span<const PolarStep> steps;
  double safety = 1;
  double eps = 1e-7;
  // The Gram form starts afresh after so many steps (ascending; 0: never).
  std::array<size_t, 2> restarts = {0, 0};
};

// How the polynomial is applied: to X itself, or to its small Gram matrix. Equal up to rounding.
enum class PolarForm {
  fastest,  // gram where the sides of X differ by a factor of two or more
  direct,
  gram,
};

// Empty for Polar::svd.
const PolarTable& polar_table(Polar method);

const char* name(Polar method);
// The inverse of name(); fails naming all methods.
Polar parse_polar(std::string_view text);

// The polar factor of each matrix of the batch. 0 for a zero matrix; zero rows stay zero.
Matrix polar(const Matrix& X, Polar method, PolarForm form = PolarForm::fastest);

// [batch]: the squared Frobenius norm of each matrix.
Tensor frobenius_squares(const Matrix& X);

// 1/max(scale·√squares + eps, floor) of each number; 0 where squares is 0.
Tensor inverse_norm(const Tensor& squares, double scale, double eps, double floor);

}  // namespace borealis
