// The elementwise parts of optimizers: one walk over a run of numbers.
#include <cmath>
#include <cstdint>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"

namespace borealis {

// m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,
// w ← (1 − lr·decay) w − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps).
void CpuBackend::adamw(Span w_span, Span m_span, Span v_span, ConstSpan g_span, const AdamWArgs& args) {
  visit(w_span.dtype, [&]<class T>(T) {
    const double t = static_cast<double>(args.step);
    const T keep_w = static_cast<T>(1 - args.lr * args.weight_decay);
    const T step = static_cast<T>(args.lr / (1 - std::pow(args.beta1, t)));
    const T scale = static_cast<T>(1 / std::sqrt(1 - std::pow(args.beta2, t)));
    const T keep_m = static_cast<T>(args.beta1), new_m = static_cast<T>(1 - args.beta1);
    const T keep_v = static_cast<T>(args.beta2), new_v = static_cast<T>(1 - args.beta2);
    const T eps = static_cast<T>(args.eps);
    T *w = w_span.as<T>(), *m = m_span.as<T>(), *v = v_span.as<T>();
    const T* g = g_span.as<T>();
    parallel_each(w_span.count, 8, [=](int64_t i) {
      const T mi = m[i] = keep_m * m[i] + new_m * g[i];
      const T vi = v[i] = keep_v * v[i] + new_v * (g[i] * g[i]);
      w[i] = keep_w * w[i] - step * mi / (std::sqrt(vi) * scale + eps);
    });
  });
}

// m ← mu m + gain g;  x ← nesterov ? gain g + mu m : m.
void CpuBackend::momentum(Span x_span, Span m_span, ConstSpan g_span, double mu, double gain, bool nesterov) {
  visit(m_span.dtype, [&]<class T>(T) {
    const T keep = static_cast<T>(mu), take = static_cast<T>(gain);
    // x = from_g g + from_m m
    const T from_g = nesterov ? take : T(0), from_m = nesterov ? keep : T(1);
    T *x = x_span.as<T>(), *m = m_span.as<T>();
    const T* g = g_span.as<T>();
    parallel_each(m_span.count, 3, [=](int64_t i) {
      const T gi = g[i], mi = keep * m[i] + take * gi;
      m[i] = mi;
      x[i] = from_g * gi + from_m * mi;
    });
  });
}

// v ← beta v + (1−beta) g²;  x ← x/(√v + eps), 0 where v = 0.
void CpuBackend::second_moment(Span x_span, Span v_span, ConstSpan g_span, double beta, double eps) {
  visit(v_span.dtype, [&]<class T>(T) {
    const T keep = static_cast<T>(beta), take = static_cast<T>(1 - beta);
    T *x = x_span.as<T>(), *v = v_span.as<T>();
    const T* g = g_span.as<T>();
    parallel_each(v_span.count, 6, [=, eps = static_cast<T>(eps)](int64_t i) {
      const T gi = g[i], vi = keep * v[i] + take * (gi * gi);
      v[i] = vi;
      x[i] = vi == T(0) ? T(0) : x[i] / (std::sqrt(vi) + eps);
    });
  });
}

// y ← sign(x).
void CpuBackend::sign(Span y_span, ConstSpan x_span) {
  visit(y_span.dtype, [&]<class T>(T) {
    T* y = y_span.as<T>();
    const T* x = x_span.as<T>();
    parallel_each(y_span.count, 2, [=](int64_t i) {
      const T xi = x[i];
      y[i] = xi > T(0) ? T(1) : xi < T(0) ? T(-1) : xi;  // ±0 and NaN as they are
    });
  });
}

}  // namespace borealis
