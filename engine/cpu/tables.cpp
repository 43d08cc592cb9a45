// Kernels that look something up: embeddings, and the angles of the rotary embedding.
#include <algorithm>
#include <cmath>
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

namespace {

// f(row, head, place of the head in a row) for all heads of all rows.
template <class F> void each_head(int64_t rows, const RotaryArgs& args, F f) {
  parallel_items(rows, grain_for(4 * args.heads * args.dim), [=](int64_t r) {
    for (int64_t h = 0; h < args.heads; ++h) f(r, h, h * args.dim);
  });
}

}  // namespace

void CpuBackend::rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
                        const RotaryArgs& args) {
  const int64_t dim = args.dim, half = dim / 2;
  visit(x.dtype, [&]<class T>(T) {
    each_head(x.rows, args, [&](int64_t r, int64_t h, int64_t place) {
      const T *x1 = x.at<T>(0, r, place), *x2 = x1 + half;
      T *y1 = y.at<T>(0, r, place), *y2 = y1 + half, scale = 1;
      if (rstd) {
        const T squares = lane_sum<T>(dim, [x1](int64_t i) { return x1[i] * x1[i]; });
        rstd.as<T>()[r * args.heads + h] = scale =
            1 / std::sqrt(squares / static_cast<T>(dim) + static_cast<T>(args.eps));
      }
      if (!cos) return each(dim, [=](int64_t i) { y1[i] = x1[i] * scale; });
      const formulas::Angles<T> angles(cos.as<T>(), sin.as<T>(), T(1), r, args);
      each(half, [=](int64_t i) {
        const formulas::Turned<T> turned = angles.turn(x1[i] * scale, x2[i] * scale, i);
        y1[i] = turned.y1, y2[i] = turned.y2;
      });
    });
  });
}

// With d = dy turned back, x̂ = x rstd:  dx = rstd (d − x̂ ⟨d x̂⟩), or dx = d where there was no norm.
void CpuBackend::rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd,
                             ConstSpan cos, ConstSpan sin, const RotaryArgs& args, double beta) {
  const int64_t dim = args.dim, half = dim / 2;
  visit(dy.dtype, [&]<class T>(T) {
    with_beta<T>(beta, [&](auto put) {
      each_head(dy.rows, args, [&](int64_t r, int64_t h, int64_t place) {
        T *dx1 = dx.at<T>(0, r, place), *dx2 = dx1 + half;
        const T *dy1 = dy.at<T>(0, r, place), *dy2 = dy1 + half;
        const T* x1 = rstd ? x.at<T>(0, r, place) : nullptr;
        const T scale = rstd ? rstd.as<T>()[r * args.heads + h] : T(1), n = static_cast<T>(dim);
        const auto x_hat = [=](int64_t i) { return x1[i] * scale; };
        if (!cos) {
          const T mean = lane_sum<T>(dim, [=](int64_t i) { return dy1[i] * x_hat(i); }) / n;
          return each(dim, [=](int64_t i) { put(dx1[i], scale * (dy1[i] - x_hat(i) * mean)); });
        }
        const formulas::Angles<T> angles(cos.as<T>(), sin.as<T>(), T(-1), r, args);
        const auto d = [=](int64_t i) { return angles.turn(dy1[i], dy2[i], i); };
        if (!rstd)
          return each(half, [=](int64_t i) {
            const formulas::Turned<T> turned = d(i);
            put(dx1[i], turned.y1), put(dx2[i], turned.y2);
          });
        const T sum = lane_sum<T>(half, [=](int64_t i) {
          const formulas::Turned<T> turned = d(i);
          return turned.y1 * x_hat(i) + turned.y2 * x_hat(i + half);
        });
        const T mean = sum / n;
        each(half, [=](int64_t i) {
          const formulas::Turned<T> turned = d(i);
          put(dx1[i], scale * (turned.y1 - x_hat(i) * mean));
          put(dx2[i], scale * (turned.y2 - x_hat(i + half) * mean));
        });
      });
    });
  });
}

}  // namespace borealis
