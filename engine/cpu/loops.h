// What the CPU kernels share: how loops are cut into pieces, how beta is applied, how rows are
// reduced.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "../parallel.h"

namespace borealis {

// Items per piece for parallel_for when one item costs `work` element-operations: a piece should
// take well longer than a fork and join (2 … 5 µs). A multiple of 64 when items are that cheap, so
// that pieces start on cache lines and keep whole SIMD vectors.
inline int64_t grain_for(int64_t work) {
  constexpr int64_t piece = 1 << 15;
  const int64_t items = piece / std::max<int64_t>(work, 1);
  return items >= 64 ? items / 64 * 64 : std::max<int64_t>(items, 1);
}

// f(i) for i in [0, n), where f(i) neither reads nor writes what another f(j) writes: `simd`
// promises this to the compiler, which cannot see that y may be x but never x shifted.
template <class F> void each(int64_t n, F f) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) f(i);
}

// The same, in parallel pieces; `work` as in grain_for.
template <class F> void parallel_each(int64_t n, int64_t work, F f) {
  parallel_for(n, grain_for(work), [&f](int64_t first, int64_t last) {
    const F g = f;  // a copy on the stack: stores through float* cannot change what it captured
    each(last - first, [&g, first](int64_t i) { g(first + i); });
  });
}

// f(x[i], …) for every i of these spans (engine/span.h), the first of which says how many there are.
template <class T, class F, class First, class... Rest> void for_each_number(int64_t work, F f, First x, Rest... rest) {
  parallel_each(x.count, work,
                [f, x = x.template as<T>(), ... more = rest.template as<T>()](int64_t i) { f(x[i], more[i]...); });
}

// Calls loop(put) where put(y, value) is  y ← value + beta·y.  Each case is compiled by itself:
// with beta = 0 y is not read, and no test stands inside a loop.
template <class T, class Loop> void with_beta(double beta, Loop&& loop) {
  if (beta == 0)
    loop([](T& y, T value) { y = value; });
  else
    loop([b = static_cast<T>(beta)](T& y, T value) { y = value + b * y; });
}

// f(0) ∘ f(1) ∘ … ∘ f(n−1) for an associative ∘ with neutral element `neutral`. Compilers do not
// reorder floating-point sums, so the order is written for SIMD: 16 lanes, folded by a tree. It
// depends on n alone.
template <class T, class F, class Combine> T lane_reduce(int64_t n, T neutral, F f, Combine combine) {
  constexpr int lanes = 16;
  T lane[lanes];
  std::fill_n(lane, lanes, neutral);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
#pragma omp simd
    for (int l = 0; l < lanes; ++l) lane[l] = combine(lane[l], f(i + l));
  }
  if (const int64_t rest = n - i; rest > 0) {  // masked: one more vector, not `rest` single numbers
#pragma omp simd
    for (int l = 0; l < lanes; ++l) lane[l] = combine(lane[l], l < rest ? f(i + l) : neutral);
  }
#pragma GCC unroll 4
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) lane[l] = combine(lane[l], lane[l + width]);
  return lane[0];
}

// Σ_{i<n} f(i), in type T.
template <class T, class F> T lane_sum(int64_t n, F f) {
  return lane_reduce(n, T(0), f, [](T a, T b) { return a + b; });
}

// max_i x[i], passing over NaNs (exp(x − max) shows them again); −∞ when there is nothing else.
template <class T> T lane_max(const T* x, int64_t n) {
  return lane_reduce(
      n, -std::numeric_limits<T>::infinity(), [x](int64_t i) { return x[i]; }, [](T a, T b) { return a < b ? b : a; });
}

}  // namespace borealis
