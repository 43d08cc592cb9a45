// Reductions of x seen as [outer, mid, inner], and what their gradients need. Orders depend on the
// shape alone; sums of f32 are carried in f64 beyond the length where f32 would drift.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/cpu/walk.h"
#include "engine/storage.h"

namespace borealis {

namespace {

// put(r, Σ part) for each of `rows` rows of `cols` numbers, where part(first, n) is the f64 sum
// over elements first … first + n − 1. Long rows are cut into equal parts, so that one row can use
// all threads.
template <class Part, class Put> void sum_rows(int64_t rows, int64_t cols, Part part, Put put) {
  constexpr int64_t longest = 1 << 15;
  const int64_t parts = (cols + longest - 1) / longest;
  if (parts <= 1) {
    return parallel_items(rows, grain_for(cols), [&](int64_t r) { put(r, part(r * cols, cols)); });
  }
  const Storage scratch(static_cast<size_t>(rows * parts) * sizeof(double), Device{});
  double* sums = reinterpret_cast<double*>(scratch.data());
  parallel_items(rows * parts, 1, [&](int64_t i) {
    const int64_t begin = i % parts * longest;
    sums[i] = part(i / parts * cols + begin, std::min(longest, cols - begin));
  });
  for (int64_t r = 0; r < rows; ++r) put(r, lane_sum<double>(parts, [=](int64_t i) { return sums[r * parts + i]; }));
}

// sums[c] ← Σ_m x[m·stride + c] for c < width ≤ block: the rows are added in order, `run` of them
// in T (in registers when width is a constant), the runs in f64.
constexpr int64_t block = 64;

template <class T, class Width> void sum_columns(double* sums, const T* x, int64_t mid, int64_t stride, Width width) {
  constexpr int64_t run = 64;
  std::fill_n(sums, block, 0.0);
  for (int64_t begin = 0; begin < mid; begin += run) {
    T acc[block] = {};
    for (int64_t m = begin; m < std::min(mid, begin + run); ++m)
      for (int64_t c = 0; c < width; ++c) acc[c] += x[m * stride + c];
    for (int64_t c = 0; c < width; ++c) sums[c] += static_cast<double>(acc[c]);
  }
}

// The walk over [outer, mid, inner] whose second array is the reduced one and whose third place is
// m.
Broadcast reduction_walk(int64_t outer, int64_t mid, int64_t inner) {
  return {.shape = {outer, mid, inner}, .a_stride = {inner, 0, 1}, .b_stride = {0, 1, 0}};
}

}  // namespace

void CpuBackend::sum(Span y, ConstSpan x, int64_t outer, int64_t mid, int64_t inner, double scale, double beta) {
  visit(y.dtype, [&]<class T>(T) {
    T* Y = y.as<T>();
    const T* X = x.as<T>();
    with_beta<T>(beta, [&](auto put) {
      if (inner == 1) {
        sum_rows(
            outer, mid,
            [=](int64_t first, int64_t n) {
              return lane_sum<double>(n, [=](int64_t i) { return double{X[first + i]}; });
            },
            [=](int64_t r, double total) { put(Y[r], static_cast<T>(scale * total)); });
        return;
      }
      const int64_t blocks = (inner + block - 1) / block;
      parallel_items(outer * blocks, grain_for(mid * block), [=](int64_t b) {
        const int64_t o = b / blocks, begin = b % blocks * block;
        const int64_t width = std::min(block, inner - begin);
        const T* from = X + o * mid * inner + begin;
        double sums[block];
        if (width == block)
          sum_columns(sums, from, mid, inner, std::integral_constant<int64_t, block>{});
        else
          sum_columns(sums, from, mid, inner, width);
        for (int64_t c = 0; c < width; ++c) put(Y[o * inner + begin + c], static_cast<T>(scale * sums[c]));
      });
    });
  });
}

void CpuBackend::max(Span y, Span index, ConstSpan x, int64_t outer, int64_t mid, int64_t inner) {
  visit(y.dtype, [&]<class T>(T) {
    T* Y = y.as<T>();
    const T* X = x.as<T>();
    int32_t* where = index.as<int32_t>();
    parallel_items(outer * inner, grain_for(mid), [=](int64_t j) {
      const T* column = X + j / inner * mid * inner + j % inner;
      int64_t best = 0;
      T top = column[0];
      for (int64_t m = 1; m < mid; ++m) {
        const T v = column[m * inner];
        if (v > top || (std::isnan(v) && !std::isnan(top))) {
          top = v;
          best = m;
        }
      }
      Y[j] = top;
      where[j] = static_cast<int32_t>(best);
    });
  });
}

void CpuBackend::max_grad(Span dx, ConstSpan index, ConstSpan dy, int64_t outer, int64_t mid, int64_t inner,
                          double beta) {
  visit(dx.dtype, [&]<class T>(T) {
    T* dX = dx.as<T>();
    const T* dY = dy.as<T>();
    const int32_t* where = index.as<int32_t>();
    with_beta<T>(beta, [&](auto put) {
      for_each_element(reduction_walk(outer, mid, inner), 2,
                       [=](int64_t i, int64_t j, int64_t m) { put(dX[i], where[j] == m ? dY[j] : T(0)); });
    });
  });
}

void CpuBackend::sum_squares(Span y, ConstSpan x) {
  visit(x.dtype, [&]<class T>(T) {
    const T* X = x.as<T>();
    const auto part = [=](int64_t first, int64_t n) {
      return lane_sum<double>(n, [=](int64_t i) { return double{X[first + i]} * X[first + i]; });
    };
    sum_rows(1, x.count, part, [Y = y.as<double>()](int64_t, double total) { Y[0] = total; });
  });
}

// 0·x is 0 for finite x and NaN otherwise.
bool CpuBackend::all_finite(ConstSpan x) {
  bool finite = true;
  visit(x.dtype, [&]<class T>(T) {
    const T* X = x.as<T>();
    const auto part = [=](int64_t first, int64_t n) {
      return double{lane_sum<T>(n, [=](int64_t i) { return 0 * X[first + i]; })};
    };
    sum_rows(1, x.count, part, [&](int64_t, double total) { finite = total == 0; });
  });
  return finite;
}

}  // namespace borealis
