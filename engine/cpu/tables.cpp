// Kernels that look something up: embeddings, and the angles of the rotary embedding.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/formulas.h"

namespace borealis {

// y[i] = table[ids[i]]; NaN (all bits set) where there is no such row.
void CpuBackend::embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) {
  const int32_t* id = ids.as<int32_t>();
  const size_t row = static_cast<size_t>(cols) * size_of(table.dtype);
  const int64_t table_rows = cols ? table.count / cols : 0;
  const auto* from = static_cast<const std::byte*>(table.data);
  auto* to = static_cast<std::byte*>(y.data);
  parallel_for(ids.count, grain_for(cols), [=](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      std::byte* const y_row = to + static_cast<size_t>(i) * row;
      if (id[i] >= 0 && id[i] < table_rows)
        std::memcpy(y_row, from + static_cast<size_t>(id[i]) * row, row);
      else
        std::memset(y_row, 0xFF, row);
    }
  });
}

// dtable[ids[i]] += dy[i]. Ids repeat, so a piece owns a range of table rows: it reads all ids and
// adds its own in the order of i. (Pieces of columns would split every row between threads, whose
// caches then fight over neighbouring lines: slower than one thread.)
void CpuBackend::embedding_grad(Span dtable, ConstSpan ids, ConstSpan dy, int64_t cols, double beta) {
  if (dtable.count == 0) return;
  if (beta == 0)
    fill(dtable, 0);
  else if (beta != 1)
    affine(dtable, dtable, beta, 0, 0);
  const int32_t* id = ids.as<int32_t>();
  const int64_t n = ids.count, table_rows = dtable.count / cols;
  // An add costs an eighth of what grain_for counts; 16 pieces bound the reading of ids.
  const int64_t work = n * cols / table_rows / 8;
  const int64_t grain = std::max(grain_for(work), (table_rows + 15) / 16);
  visit(dtable.dtype, [&]<class T>(T) {
    parallel_for(table_rows, grain, [&](int64_t first, int64_t last) {
      for (int64_t i = 0; i < n; ++i) {
        if (id[i] < first || id[i] >= last) continue;
        T* y = dtable.as<T>() + id[i] * cols;
        const T* x = dy.as<T>() + i * cols;
        each(cols, [=](int64_t j) { y[j] += x[j]; });
      }
    });
  });
}

// x₁ = x[i] and x₂ = x[i + dim/2] of each head are a pair.
void CpuBackend::rotary(Span y_span, ConstSpan x_span, ConstSpan cos_span, ConstSpan sin_span, const RotaryArgs& args,
                        double beta) {
  const int64_t half = args.dim / 2, cols = args.heads * args.dim;
  visit(x_span.dtype, [&]<class T>(T) {
    const T sign = args.inverse ? T(-1) : T(1);
    with_beta<T>(beta, [&](auto put) {
      parallel_for(args.outer * args.t, grain_for(3 * cols), [&](int64_t first, int64_t last) {
        for (int64_t r = first; r < last; ++r) {
          const int64_t position = r % args.t + args.offset;
          const T* cos = cos_span.as<T>() + position * half;
          const T* sin = sin_span.as<T>() + position * half;
          for (int64_t h = r * cols; h < (r + 1) * cols; h += args.dim) {
            const T *x1 = x_span.as<T>() + h, *x2 = x1 + half;
            T *y1 = y_span.as<T>() + h, *y2 = y1 + half;
            each(half, [=](int64_t i) {
              const formulas::Turned<T> turned{x1[i], x2[i], cos[i], sign * sin[i]};
              put(y1[i], turned.y1);
              put(y2[i], turned.y2);
            });
          }
        }
      });
    });
  });
}

}  // namespace borealis
