// The small vector formulas of spectral optimizers: what keeps norms and scales on the device.
#include <cmath>
#include <cstdint>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"

namespace borealis {

// a(i, i) ← a(i, i) + shift + relative·(Σ_k a(k, k))/rows, for each matrix.
void CpuBackend::add_to_diagonal(const MatrixView& a, double shift, double relative) {
  visit(a.dtype, [&]<class T>(T) {
    const int64_t step = a.row_stride + a.col_stride;
    const T fixed = static_cast<T>(shift), part = static_cast<T>(relative / double(a.rows));
    parallel_for(a.batch.total(), grain_for(4 * a.rows), [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b) {
        T* diagonal = a.at<T>(b);
        T trace = 0;
        if (part != 0)
          for (int64_t i = 0; i < a.rows; ++i) trace += diagonal[i * step];
        const T added = fixed + part * trace;
        for (int64_t i = 0; i < a.rows; ++i) diagonal[i * step] += added;
      }
    });
  });
}

// d ← 1/max(scale·√squares + eps, floor); 0 where squares is 0. A NaN stays a NaN.
void CpuBackend::inverse_norm(Span d_span, ConstSpan squares, double scale, double eps, double floor) {
  visit(d_span.dtype, [&]<class T>(T) {
    T* d = d_span.as<T>();
    const T* s = squares.as<T>();
    parallel_each(d_span.count, 16, [=, scale = T(scale), eps = T(eps), floor = T(floor)](int64_t i) {
      const T norm = scale * std::sqrt(s[i]) + eps;
      d[i] = s[i] == 0 ? T(0) : 1 / (norm < floor ? floor : norm);
    });
  });
}

// d ← d·(target/max(squares, floor))^beta; unchanged where squares is NaN.
void CpuBackend::rebalance(Span d_span, ConstSpan squares, double target, double beta, double floor) {
  visit(d_span.dtype, [&]<class T>(T) {
    T* d = d_span.as<T>();
    const T* s = squares.as<T>();
    const T even = static_cast<T>(target), power = static_cast<T>(beta);
    const T least = static_cast<T>(floor);
    parallel_each(d_span.count, 32, [=](int64_t i) {
      const T square = s[i] < least ? least : s[i];
      if (square == square) d[i] *= std::pow(even / square, power);
    });
  });
}

}  // namespace borealis
