// Softmax and its relatives, and cross-entropy: row kernels around exp(x − max).
//
// A row stays in the first-level cache while it is walked: once for its maximum, once for exp and
// the sum, once to scale. A piece of work is a range of whole rows.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/formulas.h"

namespace borealis {

namespace {

// An exp costs about as much as four plain operations.
int64_t row_grain(int64_t cols) { return grain_for(4 * cols); }

// Calls f(r, n) for every row r, of which the first n numbers are visible.
template <class F> void each_row(const RowsArgs& args, F f) {
  parallel_items(args.rows, row_grain(args.cols), [=](int64_t r) {
    const int64_t prefix = args.causal_rows ? r % args.causal_rows + args.causal_offset + 1 : args.cols;
    f(r, std::clamp<int64_t>(prefix, 0, args.cols));
  });
}

// What to subtract before exp.
template <class T> T row_shift(const T* x, int64_t n) { return formulas::finite_shift(lane_max(x, n)); }

// Σ exp(x − shift)
template <class T> T sum_exp(const T* x, int64_t n, T shift) {
  return lane_sum<T>(n, [=](int64_t j) { return fast::exp(x[j] - shift); });
}

// ln Σ exp(x), −∞ for a row of −∞ alone.
template <class T> T row_logsumexp(const T* x, int64_t n) {
  const T shift = row_shift(x, n);
  return shift + fast::log(sum_exp(x, n, shift));
}

}  // namespace

// y = exp(x − max)/Σ.
void CpuBackend::softmax(Span y_span, ConstSpan x_span, const RowsArgs& args) {
  visit(x_span.dtype, [&]<class T>(T) {
    each_row(args, [&](int64_t r, int64_t n) {
      const T* x = x_span.as<T>() + r * args.cols;
      T* y = y_span.as<T>() + r * args.cols;
      const T shift = row_shift(x, n);
      const T sum = lane_sum<T>(n, [=](int64_t j) { return y[j] = fast::exp(x[j] - shift); });
      const T scale = sum == 0 ? T(0) : 1 / sum;
      each(n, [=](int64_t j) { y[j] *= scale; });
      std::fill(y + n, y + args.cols, T(0));
    });
  });
}

void CpuBackend::softmax_grad(Span dx_span, ConstSpan y_span, ConstSpan dy_span, const RowsArgs& args, double beta) {
  visit(y_span.dtype, [&]<class T>(T) {
    with_beta<T>(beta, [&](auto put) {
      each_row(args, [&](int64_t r, int64_t n) {
        const T* y = y_span.as<T>() + r * args.cols;
        const T* dy = dy_span.as<T>() + r * args.cols;
        T* dx = dx_span.as<T>() + r * args.cols;
        const T dot = lane_sum<T>(n, [=](int64_t j) { return y[j] * dy[j]; });
        each(n, [=](int64_t j) { put(dx[j], formulas::softmax_grad(y[j], dy[j], dot)); });
        for (int64_t j = n; j < args.cols; ++j) put(dx[j], T(0));
      });
    });
  });
}

// y = x − ln Σ exp(x).
void CpuBackend::log_softmax(Span y_span, ConstSpan x_span, const RowsArgs& args) {
  visit(x_span.dtype, [&]<class T>(T) {
    each_row(args, [&](int64_t r, int64_t n) {
      const T* x = x_span.as<T>() + r * args.cols;
      T* y = y_span.as<T>() + r * args.cols;
      const T lse = formulas::finite_shift(row_logsumexp(x, n));
      each(n, [=](int64_t j) { y[j] = x[j] - lse; });
      std::fill(y + n, y + args.cols, -std::numeric_limits<T>::infinity());
    });
  });
}

void CpuBackend::log_softmax_grad(Span dx_span, ConstSpan y_span, ConstSpan dy_span, const RowsArgs& args,
                                  double beta) {
  visit(y_span.dtype, [&]<class T>(T) {
    with_beta<T>(beta, [&](auto put) {
      each_row(args, [&](int64_t r, int64_t n) {
        const T* y = y_span.as<T>() + r * args.cols;
        const T* dy = dy_span.as<T>() + r * args.cols;
        T* dx = dx_span.as<T>() + r * args.cols;
        const T sum = lane_sum<T>(n, [dy](int64_t j) { return dy[j]; });
        each(n, [=](int64_t j) { put(dx[j], formulas::log_softmax_grad(y[j], dy[j], sum)); });
        for (int64_t j = n; j < args.cols; ++j) put(dx[j], T(0));
      });
    });
  });
}

// y = ln Σ exp(x).
void CpuBackend::logsumexp(Span y, ConstSpan x, const RowsArgs& args) {
  visit(x.dtype, [&]<class T>(T) {
    each_row(args, [&](int64_t r, int64_t n) { y.as<T>()[r] = row_logsumexp(x.as<T>() + r * args.cols, n); });
  });
}

void CpuBackend::logsumexp_grad(Span dx_span, ConstSpan x_span, ConstSpan y, ConstSpan dy, const RowsArgs& args,
                                double beta) {
  visit(x_span.dtype, [&]<class T>(T) {
    with_beta<T>(beta, [&](auto put) {
      each_row(args, [&](int64_t r, int64_t n) {
        const T* x = x_span.as<T>() + r * args.cols;
        T* dx = dx_span.as<T>() + r * args.cols;
        const T lse = formulas::finite_shift(y.as<T>()[r]), d = dy.as<T>()[r];
        each(n, [=](int64_t j) { put(dx[j], formulas::logsumexp_grad(x[j], lse, d)); });
        for (int64_t j = n; j < args.cols; ++j) put(dx[j], T(0));
      });
    });
  });
}

// loss = Σ_r (lse_r − x_{r, t_r}) / count. Each range of rows leaves one partial sum in double; the
// partial sums are added in the order of the rows.
void CpuBackend::cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                               int64_t ignored, double cap) {
  struct Partial {
    double loss;
    int64_t rows;
  };
  const int64_t rows = targets.count, grain = row_grain(cols), pieces = (rows + grain - 1) / grain;
  const Storage workspace(static_cast<size_t>(pieces) * sizeof(Partial), device());
  Partial* partial = reinterpret_cast<Partial*>(workspace.data());
  visit(logits.dtype, [&]<class T>(T) {
    const int32_t* target = targets.as<int32_t>();
    formulas::with_cap<T>(cap, [&](auto c) {
      parallel_for(rows, grain, [&](int64_t first, int64_t last) {
        Partial mine{0, 0};
        for (int64_t r = first; r < last; ++r) {
          const T* x = logits.as<T>() + r * cols;
          const T shift = c.z(row_shift(x, cols));  // z grows with x: the largest of all z
          const T log_sum = fast::log(lane_sum<T>(cols, [=](int64_t j) { return fast::exp(c.z(x[j]) - shift); }));
          lse.as<T>()[r] = shift + log_sum;
          if (target[r] == ignored) continue;
          const bool there = target[r] >= 0 && target[r] < cols;
          const T at_target = there ? c.z(x[target[r]]) : std::numeric_limits<T>::quiet_NaN();
          mine.loss += static_cast<double>(log_sum + (shift - at_target));
          ++mine.rows;
        }
        partial[first / grain] = mine;
      });
    });
    Partial all{0, 0};
    for (int64_t p = 0; p < pieces; ++p) {
      all.loss += partial[p].loss;
      all.rows += partial[p].rows;
    }
    const double n = static_cast<double>(all.rows);
    count.as<T>()[0] = static_cast<T>(n);
    loss.as<T>()[0] = static_cast<T>(all.rows ? all.loss / n : 0);
  });
}

// dx_j = (exp(z_j − lse) − [j = t]) z'_j dloss/count.
void CpuBackend::cross_entropy_grad(Span dlogits, ConstSpan logits, ConstSpan targets, ConstSpan lse, ConstSpan count,
                                    ConstSpan dloss, int64_t cols, int64_t ignored, double cap, double beta) {
  visit(logits.dtype, [&]<class T>(T) {
    const int32_t* target = targets.as<int32_t>();
    const T n = count.as<T>()[0], scale = n > 0 ? dloss.as<T>()[0] / n : T(0);
    const auto rows = [&](auto put, auto c) {
      parallel_items(targets.count, row_grain(cols), [=](int64_t r) {
        const T* x = logits.as<T>() + r * cols;
        T* dx = dlogits.as<T>() + r * cols;
        if (target[r] == ignored) return each(cols, [=](int64_t j) { put(dx[j], T(0)); });
        const bool there = target[r] >= 0 && target[r] < cols;
        const T shift = lse.as<T>()[r], d = there ? scale : std::numeric_limits<T>::quiet_NaN();
        each(cols, [=](int64_t j) { put(dx[j], formulas::logsumexp_grad(c.z(x[j]), shift, d) * c.dz(x[j])); });
        if (there) dx[target[r]] -= d * c.dz(x[target[r]]);
      });
    };
    with_beta<T>(beta, [&](auto put) { formulas::with_cap<T>(cap, [&](auto c) { rows(put, c); }); });
  });
}

}  // namespace borealis
