// Kernels in all ways they may be run: on each device, in both types, as engine/composed.cpp spells them out, wherever their
// tensors lie, and behind a closed gate.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "engine/backend.h"
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

  static constexpr int none = -1, all = -2;
  int shifted = none;   // which tensor lies one number behind where memory begins: the first that is made is 0
  bool closed = false;  // each kernel is also called behind a closed gate
  std::shared_ptr<std::vector<Tensor>> made = std::make_shared<std::vector<Tensor>>();

  // Memory that nothing has written.
  Tensor room(const Shape& shape, DType of) const {
    const bool shift = shifted == all || shifted == static_cast<int>(made->size());
    made->push_back(shift ? Tensor({shape.numel() + 1}, of, device).flat_view(1, shape) : Tensor(shape, of, device));
    return made->back();
  }
  // A host's tensor on the device.
  Tensor placed(const Tensor& t) const {
    const Tensor there = room(t.shape(), t.dtype());
    there.copy_from(t);
    return there;
  }
  Tensor normal(const Shape& shape, uint64_t seed = 1) const {
    return placed(Rng(seed).normal(shape, 1, DType::f32).to(dtype));
  }
  Tensor positive(const Shape& shape, uint64_t seed = 1) const {
    return placed(Rng(seed).uniform(shape, 0.5, 2, DType::f32).to(dtype));
  }
  Tensor of(const std::vector<double>& values, const Shape& shape) const {
    return placed(Tensor::of<double>(shape, values).to(dtype));
  }
  Tensor of(const std::vector<double>& values) const { return of(values, {static_cast<int64_t>(values.size())}); }
  Tensor ids(const std::vector<int32_t>& values) const {
    return placed(Tensor::of<int32_t>({static_cast<int64_t>(values.size())}, values));
  }
  Tensor record(double stopped, double step, double factor) const {
    return Tensor::of<double>({3}, {stopped, step, factor}).to(device);
  }
  // NaN; where accesses are watched, what must not be read.
  Tensor fresh(const Shape& shape) const { return fresh(shape, dtype); }
  Tensor fresh(const Shape& shape, DType of) const {
    const bool watched = BOREALIS_CHECKED && device != Device{};
    return watched ? room(shape, of) : placed(Tensor::full(shape, of == DType::i32 ? 0 : not_a_number, of));
  }
  // What beta meets: nothing that may be read where it is 0.
  Tensor old(const Shape& shape, double beta, uint64_t seed = 9) const {
    return beta == 0 ? fresh(shape) : normal(shape, seed);
  }

  template <class F> void call(const char* kernel, F f) const {
    Backend& on = backend(device);
    const Tensor stopped = record(1, 0, 1);
    if (closed && on.gate(stopped)) {
      std::vector<Tensor> before;
      for (const Tensor& t : *made) before.push_back(t.to(Device{}));
      f(on);
      on.gate({});
      for (size_t i = 0; i < before.size(); ++i) {
        INFO(kernel, " behind a closed gate: tensor ", i);
        CHECK(same_bytes((*made)[i], before[i]));
      }
    }
    f(on);
  }
};

// The device's own kernel; or, with CALL, what way.composed says.
#define OWN(kernel, ...) way.call(#kernel, [&](Backend& on_device) { on_device.kernel(__VA_ARGS__); })
#define CALL(kernel, ...)                                                                  \
  way.call(#kernel, [&](Backend& on_device) {                                              \
    way.composed ? on_device.Backend::kernel(__VA_ARGS__) : on_device.kernel(__VA_ARGS__); \
  })

using Results = std::vector<Tensor>;
using Run = std::function<Results(const Way&)>;

inline void check_close(const std::string& what, const Way& way, const Results& got, const Results& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    INFO(what, ", result ", i, way.dtype == DType::f32 ? " in f32 on " : " in f64 on ", way.device, ", shifted ",
         way.shifted);
    CHECK(difference(got[i], expected[i]).share <= (way.dtype == DType::f32 ? 2e-5 : 1e-12));
  }
}

// The results on the CPU are those in all other ways.
inline void compare(const std::string& what, const Run& f) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Results expected = f({Device{}, dtype, false});
    for (const Device device : available_devices()) {
      const Way way{device, dtype, device == Device{}};
      check_close(what, way, f(way), expected);
    }
  }
}

// Devices with kernels of their own. (Of the checked ones, cuda:2, whose kernels are the GPU's.)
inline std::vector<Device> with_kernels() {
  std::vector<Device> devices = available_devices();
  devices.erase(devices.begin(), BOREALIS_CHECKED ? devices.end() - 1 : devices.begin() + 1);
  return devices;
}

// As the CPU. Small ones thoroughly: wherever the tensors begin, and not at all behind a closed gate; long ones in f32
// alone.
enum class How { thorough, both_types, f32 };
inline void check(const std::string& what, How how, const Run& f) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    if (how == How::f32 && dtype == DType::f64) continue;
    const Way here{Device{}, dtype, false};
    const Results expected = f(here);
    for (const Device device : with_kernels()) {
      Way way{device, dtype, false};
      way.closed = how == How::thorough;
      check_close(what, way, f(way), expected);
      for (int k = Way::all; how == How::thorough && k < static_cast<int>(here.made->size()); ++k) {
        Way other{device, dtype, false};
        other.shifted = k;
        check_close(what, other, f(other), expected);
      }
    }
  }
}
inline How thorough_if(bool small) { return small ? How::thorough : How::both_types; }

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
