// The inputs of the stages' tests, and matrix arithmetic with loops over plain doubles.
#pragma once

#include <limits>

#include <doctest/doctest.h>

#include "optim/spectral_methods.h"
#include "optim/stages.h"
#include "tests/compare.h"
#include "tests/matrices.h"

namespace borealis {
constexpr std::array floats{DType::f32, DType::f64};

// Two matrices each: tall, wide, square, and larger than a vector register or a piece of work.
inline const std::array<Shape, 6> shapes{Shape{2, 5, 3},   Shape{2, 3, 5},   Shape{2, 4, 4},
                                         Shape{2, 67, 19}, Shape{2, 19, 67}, Shape{2, 7, 1}};

inline double bound(DType dtype) { return dtype == DType::f64 ? 1e-12 : 2e-5; }

// --- plain doubles ---------------------------------------------------------------------------

using Line = std::vector<double*>;  // the numbers of a row, a column or a whole matrix

// A batch of matrices [count, m, n].
struct Plain {
  int64_t count = 0, m = 0, n = 0;
  std::vector<double> x = {};

  explicit Plain(const Tensor& t) : count(t.size(0)), m(t.size(1)), n(t.size(2)), x(t.to_vector<double>()) {}

  double& at(int64_t b, int64_t i, int64_t j) { return x[static_cast<size_t>((b * m + i) * n + j)]; }
  std::vector<Line> rows() {
    std::vector<Line> all;
    for (int64_t b = 0; b < count; ++b)
      for (int64_t i = 0; i < m; ++i) {
        all.emplace_back();
        for (int64_t j = 0; j < n; ++j) all.back().push_back(&at(b, i, j));
      }
    return all;
  }
  std::vector<Line> columns() {
    std::vector<Line> all;
    for (int64_t b = 0; b < count; ++b)
      for (int64_t j = 0; j < n; ++j) {
        all.emplace_back();
        for (int64_t i = 0; i < m; ++i) all.back().push_back(&at(b, i, j));
      }
    return all;
  }
  std::vector<Line> matrices() {
    std::vector<Line> all;
    for (int64_t b = 0; b < count; ++b) {
      all.emplace_back();
      for (int64_t k = 0; k < m * n; ++k) all.back().push_back(&x[static_cast<size_t>(b * m * n + k)]);
    }
    return all;
  }
};

inline double squares(const Line& line) {
  double s = 0;
  for (const double* x : line) s += *x * *x;
  return s;
}
inline double length(const Line& line) { return std::sqrt(squares(line)); }
inline void scale(const Line& line, double factor) {
  for (double* x : line) *x *= factor;
}
// To length `to`, with eps under the root; a zero line stays.
inline void bring(const std::vector<Line>& lines, double to, double eps = 0) {
  for (const Line& line : lines)
    if (squares(line) > 0) scale(line, to / std::sqrt(squares(line) + eps));
}

// max|x − expected| / max|expected|; infinite where x is not finite.
inline double error(const Tensor& x, const Plain& expected) {
  return relative_error(x, Tensor::of<double>(x.shape(), expected.x));
}

// --- inputs ----------------------------------------------------------------------------------

// The second matrix has a zero row.
inline Tensor input(const Shape& shape, DType dtype, uint64_t seed) {
  const Tensor X = normal(shape, dtype, seed);
  X.rows(1, 1).reshape({shape[1], shape[2]}).rows(2, 1).fill(0);
  return X;
}

template <class F> void for_each_case(F f) {
  for (const DType dtype : floats) {
    for (const Shape& shape : shapes) {
      CAPTURE(std::string(name(dtype)));
      CAPTURE(shape);
      f(shape, dtype);
    }
  }
}

template <class Enum> std::vector<Enum> all() {
  std::vector<Enum> values;
  for (const char* word : words<Enum>()) values.push_back(parse<Enum>(word));
  return values;
}

// The record of a step whose rates stand as they are given.
inline Tensor plain_record() { return Tensor::of<double>({3}, {0, 1, 1}); }

}  // namespace borealis
