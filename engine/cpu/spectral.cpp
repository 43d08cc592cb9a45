// The small vector formulas of spectral optimizers: what keeps norms and scales on the device.
#include <cstdint>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/formulas.h"

namespace borealis {

// a(i, i) ← a(i, i) + shift + relative·(Σ_k a(k, k))/rows, for each matrix.
void CpuBackend::add_to_diagonal(const MatrixView& a, double shift, double relative) {
  visit(a.dtype, [&]<class T>(T) {
    const int64_t step = a.row_stride + a.col_stride;
    const T fixed = static_cast<T>(shift), part = static_cast<T>(relative / double(a.rows));
    parallel_items(a.batch.total(), grain_for(4 * a.rows), [&](int64_t b) {
      T* diagonal = a.at<T>(b);
      T trace = 0;
      if (part != 0)
        for (int64_t i = 0; i < a.rows; ++i) trace += diagonal[i * step];
      const T added = fixed + part * trace;
      for (int64_t i = 0; i < a.rows; ++i) diagonal[i * step] += added;
    });
  });
}

void CpuBackend::inverse_norm(Span d_span, ConstSpan squares, double scale, double eps, double floor) {
  visit(d_span.dtype, [&]<class T>(T) {
    T* d = d_span.as<T>();
    const T* s = squares.as<T>();
    parallel_each(d_span.count, 16, [=, scale = T(scale), eps = T(eps), floor = T(floor)](int64_t i) {
      d[i] = formulas::inverse_norm(s[i], scale, eps, floor);
    });
  });
}

void CpuBackend::rebalance(Span d_span, ConstSpan squares, double target, double beta, double floor) {
  visit(d_span.dtype, [&]<class T>(T) {
    T* d = d_span.as<T>();
    const T* s = squares.as<T>();
    parallel_each(d_span.count, 32, [=, target = T(target), beta = T(beta), floor = T(floor)](int64_t i) {
      d[i] = formulas::rebalance(d[i], s[i], target, beta, floor);
    });
  });
}

}  // namespace borealis
