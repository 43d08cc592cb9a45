// Kernels that look something up: embeddings, and the angles of the rotary embedding.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"

namespace borealis {

// y[i] = table[ids[i]].
void CpuBackend::embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) {
  const int32_t* id = ids.as<int32_t>();
  const size_t row = static_cast<size_t>(cols) * size_of(table.dtype);
  const auto* from = static_cast<const std::byte*>(table.data);
  auto* to = static_cast<std::byte*>(y.data);
  parallel_for(ids.count, grain_for(cols), [=](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      std::memcpy(to + static_cast<size_t>(i) * row, from + static_cast<size_t>(id[i]) * row, row);
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

int64_t CpuBackend::first_bad_id(ConstSpan ids, int64_t limit, int64_t ignored) {
  const int32_t *first = ids.as<int32_t>(), *last = first + ids.count;
  const int32_t* bad = std::find_if(first, last, [=](int32_t id) { return (id < 0 || id >= limit) && id != ignored; });
  return bad == last ? -1 : bad - first;
}

// y₁ = x₁ cos + x₂ sin,  y₂ = x₂ cos − x₁ sin  for the pair x₁ = x[i], x₂ = x[i + dim/2] of each
// head.
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
              const T a = x1[i], b = x2[i], c = cos[i], s = sign * sin[i];
              put(y1[i], a * c + b * s);
              put(y2[i], b * c - a * s);
            });
          }
        }
      });
    });
  });
}

}  // namespace borealis
