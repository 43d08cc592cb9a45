// Kernels in all ways they may be run: on each device, in both types, and as engine/composed.cpp spells them out.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "engine/math.h"
#include "engine/rng.h"
#include "tests/compare.h"
#include "tests/matrices.h"

namespace borealis {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(),
                 infinity = std::numeric_limits<double>::infinity();

// Where and how a kernel is run.
struct Way {
  Device device;
  DType dtype;
  bool composed;  // the default, whatever the device has

  Tensor normal(const Shape& shape, uint64_t seed = 1) const {
    return Rng(seed).normal(shape, 1, DType::f32).to(dtype).to(device);
  }
  Tensor positive(const Shape& shape, uint64_t seed = 1) const {
    return Rng(seed).uniform(shape, 0.5, 2, DType::f32).to(dtype).to(device);
  }
  Tensor of(const std::vector<double>& values, const Shape& shape) const {
    return Tensor::of<double>(shape, values).to(dtype).to(device);
  }
  Tensor of(const std::vector<double>& values) const { return of(values, {static_cast<int64_t>(values.size())}); }
  Tensor ids(const std::vector<int32_t>& values) const {
    return Tensor::of<int32_t>({static_cast<int64_t>(values.size())}, values).to(device);
  }
  Tensor record(double stopped, double step, double factor) const {
    return Tensor::of<double>({3}, {stopped, step, factor}).to(device);
  }
  Tensor fresh(const Shape& shape) const { return Tensor::full(shape, not_a_number, dtype, device); }
};

#define CALL(kernel, ...) \
  (way.composed ? backend(way.device).Backend::kernel(__VA_ARGS__) : backend(way.device).kernel(__VA_ARGS__))

using Results = std::vector<Tensor>;

// The results on the CPU are those in all other ways.
inline void compare(const std::string& what, const std::function<Results(const Way&)>& f) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Results expected = f({Device{}, dtype, false});
    for (const Device device : available_devices()) {
      const Results got = f({device, dtype, device == Device{}});
      for (size_t i = 0; i < expected.size(); ++i) {
        INFO(what, ", result ", i, dtype == DType::f32 ? " in f32 on " : " in f64 on ", device);
        CHECK(difference(got[i], expected[i]).share <= (dtype == DType::f32 ? 2e-5 : 1e-12));
      }
    }
  }
}

// Matrices and the memory they lie in.
struct View {
  std::string how;
  Tensor base;
  Matrix m;
};

// 2 × 3 matrices [rows, cols] as they may lie.
inline std::vector<View> outputs(const Way& way, int64_t rows, int64_t cols, uint64_t seed) {
  const Batch sparse{{2, 3}, {3 * rows * (cols + 5), rows * (cols + 5)}};
  const Tensor a = way.normal({2, 3, rows, cols}, seed), b = way.normal({2, 3, cols, rows}, seed),
               c = way.normal({2, rows, 3 * cols}, seed), d = way.normal({3 + 6 * rows * (cols + 5)}, seed);
  return {{"packed", a, a},
          {"transposed", b, Matrix(b).t()},
          {"heads", c, heads(c, 0, 3, cols)},
          {"sparse", d, Matrix::strided(d, 3, rows, cols, cols + 5, sparse)}};
}
inline std::vector<View> inputs(const Way& way, int64_t rows, int64_t cols, uint64_t seed) {
  std::vector<View> all = outputs(way, rows, cols, seed);
  const Tensor one = way.normal({rows, cols}, seed);
  all.push_back({"repeated", one, Matrix::strided(one, 0, rows, cols, cols, {{2, 3}, {0, 0}})});
  return all;
}
constexpr size_t output_kinds = 4, input_kinds = 5;

// f(y, x) for each pair of layouts, then for y = x; what lies between the rows must stay.
inline void compare_pairs(const std::string& what,
                          const std::function<void(const Way&, const Matrix& y, const Matrix& x)>& f) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{6, 4}, {1, 1}, {0, 3}, {3, 0}, {35, 70}})
    for (size_t y = 0; y < output_kinds; ++y) {
      const auto at = [rows = rows, cols = cols, y](const Way& way) { return outputs(way, rows, cols, 1)[y]; };
      const std::string name = what + " [" + std::to_string(rows) + ", " + std::to_string(cols) + "] " + at({}).how;
      for (size_t x = 0; x < input_kinds; ++x)
        compare(name + " of kind " + std::to_string(x), [&, rows = rows, cols = cols](const Way& way) {
          const View out = at(way), in = inputs(way, rows, cols, 2)[x];
          f(way, out.m, in.m);
          return Results{out.base};
        });
      compare(name + " in place", [&](const Way& way) {
        const View both = at(way);
        f(way, both.m, both.m);
        return Results{both.base};
      });
    }
}

// Symmetric, and positive definite.
inline Matrix definite(const Way& way, int64_t n) {
  const Matrix A = gram(way.normal({2, 3, 2 * n, n}, 3));
  add_to_diagonal(A, 1);
  return A;
}

}  // namespace borealis
