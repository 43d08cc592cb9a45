// What the rows and singular values of a matrix say of a network: pure statistics, for reports.
#pragma once

#include <vector>

#include "../engine/matrix.h"

namespace borealis {

struct Quartiles {
  double min = 0, q1 = 0, median = 0, q3 = 0, max = 0;
};

// Quantile p of the n sorted values lies at place p·(n − 1), linear between neighbours (as NumPy
// has it). All NaN when there is none. The values must not be NaN.
Quartiles quartiles(std::vector<double> values);

// Standard deviation / mean (of the population); 0 for a list that is empty or all zero, NaN for
// one with a NaN.
double variation(const std::vector<double>& values);

// The length of each row, matrix after matrix of the batch; of columns through X.t(). Computed in
// double on the CPU; no square leaves its range.
std::vector<double> row_norms(const Matrix& X);

// One per matrix of the batch: exp(−Σ p_i log p_i) with p_i = σ_i/Σσ, the number of equal singular
// values that are spread as widely (Roy and Vetterli, 2007). 1 for rank one, the short side for
// orthonormal rows or columns, 0 for a zero matrix, NaN for one that is not finite.
//
// σ² are eigenvalues of the small Gram matrix, all in double on the CPU. Singular values below
// √(dε) of the largest (3e-7 for a short side d = 384) are lost in that and count as 0. Without any
// such the result is exact to 1e-13; a spectrum that falls through the limit loses a few 1e-6 of
// it, and the worst there can be (σ_1, all others just below the limit) 0.2 %.
std::vector<double> effective_ranks(const Matrix& X);

}  // namespace borealis
