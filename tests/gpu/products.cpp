// Products as the device lays them out, against the CPU's in f64: every transpose, distance of rows, batch and beta.
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

#include "engine/matrix.h"
#include "engine/rng.h"
#include "tests/compare.h"
#include "tests/gpu/rows.h"

namespace borealis::gpu {

namespace {

// How matrices lie: counts of the two batch dimensions; side by side in their rows, as heads do, or one behind the other;
// numbers between one outer index and the next.
struct Layout {
  const char* name;
  int64_t outer, inner;
  bool heads;
  int64_t between;
};
constexpr Layout layouts[] = {{"one", 1, 1, false, 0},
                              {"a batch", 3, 1, false, 5},
                              {"two batch dimensions", 2, 3, false, 0},
                              {"two batch dimensions apart", 2, 3, false, 7},
                              {"heads", 2, 3, true, 0}};

struct Type {
  const char* name;
  DType dtype;
  Precision precision;
  double rounding;  // of a sum of n products: times √n
};
constexpr Type types[] = {{"f32", DType::f32, Precision::exact, 1e-6},
                          {"TF32", DType::f32, Precision::tf32, 1e-6},
                          {"f64", DType::f64, Precision::exact, 1e-14}};

// A matrix for each index of a layout, in memory that is larger.
struct Place {
  int64_t rows, cols, gap;  // numbers between the rows
  Layout layout;

  int64_t ld() const { return (layout.heads ? layout.inner : 1) * cols + gap; }
  int64_t step() const { return layout.heads ? cols : rows * ld(); }
  int64_t outer_step() const { return rows * ld() * (layout.heads ? 1 : layout.inner) + layout.between; }
  int64_t first() const { return gap % 4; }  // off the border of 16 bytes, if rows are
  int64_t size() const { return first() + layout.outer * outer_step(); }
  Matrix in(const Tensor& memory) const {
    return Matrix::strided(memory, first(), rows, cols, ld(), {{layout.outer, layout.inner}, {outer_step(), step()}});
  }
};

// N(0, 1); for tensor cores numbers that are bf16 already, of which they round nothing away.
Tensor numbers(int64_t count, uint64_t seed, const Type& type) {
  const Tensor x = Rng(seed).normal({count}, 1, DType::f32);
  if (type.precision != Precision::exact)
    for (float& v : std::span(x.data<float>(), static_cast<size_t>(count))) {
      uint32_t bits;
      std::memcpy(&bits, &v, sizeof bits);
      bits &= 0xFFFF0000u;
      std::memcpy(&v, &bits, sizeof bits);
    }
  return x.to(type.dtype);
}

struct Sizes {
  int64_t m, n, k;
};

void compare(const Setting& s, const Type& type, const Sizes& size, bool trans_a, bool trans_b, int64_t gap,
             const Layout& layout, bool repeat_b, double beta, Worst& worst) {
  const auto& [m, n, k] = size;
  const Place of_a{trans_a ? k : m, trans_a ? m : k, gap, layout}, of_c{m, n, gap, layout};
  const Place of_b{trans_b ? n : k, trans_b ? k : n, gap, repeat_b ? layouts[0] : layout};
  const Tensor a = numbers(of_a.size(), 1, type), b = numbers(of_b.size(), 2, type), c = numbers(of_c.size(), 3, type);
  if (beta == 0) c.fill(std::numeric_limits<double>::quiet_NaN());  // which must not be read, nor written between rows
  // All of C's memory, after C ← −0.75 A B + beta C.
  const auto result = [&](Device device, DType dtype, Precision precision) {
    const Tensor there = c.clone().to(dtype).to(device);
    const Matrix A = of_a.in(a.to(dtype).to(device)), B = of_b.in(b.to(dtype).to(device));
    gemm(of_c.in(there), trans_a ? A.t() : A, trans_b ? B.t() : B, -0.75, beta, precision);
    return there;
  };
  const Difference d =
      difference(result(s.device, type.dtype, type.precision), result({}, DType::f64, Precision::exact));
  std::ostringstream which, note;
  which << (trans_a ? 'T' : 'N') << (trans_b ? 'T' : 'N') << ' ' << m << 'x' << n << 'x' << k << ", rows " << gap
        << " apart, " << layout.name << (repeat_b ? " by one matrix" : "") << ", beta " << beta;
  note << "number " << d.at << " of C's memory: " << d.a << " here, " << d.b << " on the CPU";
  worst.add(which.str(), d.share, type.rounding * std::sqrt(static_cast<double>(k)), d.share > 0 ? note.str() : "");
}

}  // namespace

void products(const Setting& s) {
  for (const Type& type : types) {
    Worst worst(std::string(type.name) + " against f64");
    for (const Sizes& size : {Sizes{1, 1, 1}, {1, 5, 7}, {31, 3, 17}, {32, 32, 32}, {67, 130, 33}, {128, 96, 512}}) {
      if ((s.few || stand_in) && size.m > 50) continue;
      for (const bool trans_a : {false, true})
        for (const bool trans_b : {false, true})
          for (const int64_t gap : {0, 3, 8})
            for (const Layout& layout : layouts)
              for (const double beta : {0.0, 0.5}) {
                compare(s, type, size, trans_a, trans_b, gap, layout, false, beta, worst);
                if (layout.outer > 1) compare(s, type, size, trans_a, trans_b, gap, layout, true, beta, worst);
              }
    }
    worst.report();
  }
}

}  // namespace borealis::gpu
