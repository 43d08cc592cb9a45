// The elementwise parts of optimizers: one walk over a run of numbers.
#include <cmath>
#include <cstdint>

#include "engine/cpu_backend.h"
#include "engine/cpu_loops.h"

namespace borealis {

// m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,
// w ← (1 − lr·decay) w − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps).
void CpuBackend::adamw(Span w_span, Span m_span, Span v_span, ConstSpan g_span,
                       const AdamWArgs& args) {
  visit(w_span.dtype, [&](auto zero) {
    using T = decltype(zero);
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

// m ← m + (1−mu)(g − m);  x ← nesterov ? (1−mu) g + mu m : m.
void CpuBackend::momentum(Span x_span, Span m_span, ConstSpan g_span, double mu, bool nesterov) {
  visit(m_span.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T take = static_cast<T>(1 - mu);
    // x = from_g g + from_m m
    const T from_g = nesterov ? take : T(0), from_m = nesterov ? static_cast<T>(mu) : T(1);
    T *x = x_span.as<T>(), *m = m_span.as<T>();
    const T* g = g_span.as<T>();
    parallel_each(m_span.count, 3, [=](int64_t i) {
      const T gi = g[i], mi = m[i] + take * (gi - m[i]);
      m[i] = mi;
      x[i] = from_g * gi + from_m * mi;
    });
  });
}

}  // namespace borealis
