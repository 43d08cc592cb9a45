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

void CpuBackend::inverse_norm(Span d, ConstSpan squares, double scale, double eps, double floor) {
  visit(d.dtype, [&]<class T>(T) {
    const auto f = [scale = T(scale), eps = T(eps), floor = T(floor)](T& y, T s) {
      y = formulas::inverse_norm(s, scale, eps, floor);
    };
    for_each_number<T>(16, f, d, squares);
  });
}

void CpuBackend::rebalance(Span d, ConstSpan squares, double target, double beta, double floor) {
  visit(d.dtype, [&]<class T>(T) {
    const auto f = [target = T(target), beta = T(beta), floor = T(floor)](T& y, T s) {
      y = formulas::rebalance(y, s, target, beta, floor);
    };
    for_each_number<T>(32, f, d, squares);
  });
}

}  // namespace borealis
