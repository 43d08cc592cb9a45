// The elementwise parts of optimizers: one walk over a run of numbers.
#include <cstdint>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/formulas.h"

namespace borealis {

namespace {

const StepRecord& now(ConstSpan record) { return *static_cast<const StepRecord*>(record.data); }

}  // namespace

void CpuBackend::adamw(Span w_span, Span m_span, Span v_span, ConstSpan g_span, const AdamWArgs& args,
                       ConstSpan record) {
  visit(w_span.dtype, [&]<class T>(T) {
    T *w = w_span.as<T>(), *m = m_span.as<T>(), *v = v_span.as<T>();
    const T* g = g_span.as<T>();
    const formulas::AdamW<T> f{args, now(record)};
    parallel_each(w_span.count, 8, [=](int64_t i) { f(w[i], m[i], v[i], g[i]); });
  });
}

void CpuBackend::descend(Span w, ConstSpan u, double lr, double scale, double decay, ConstSpan record) {
  const double rate = lr * now(record).factor;
  affine(w, u, -rate * scale, 0, 1 - rate * decay);
}

void CpuBackend::stop_unless_finite(Span record, ConstSpan x) {
  StepRecord& r = *static_cast<StepRecord*>(record.data);
  if (r.stopped == 0 && !all_finite({x.data, x.dtype, 1})) r.stopped = r.step + 1;
}

bool CpuBackend::gate(ConstSpan record) { return !record || now(record).stopped == 0; }

void CpuBackend::momentum(Span x_span, Span m_span, ConstSpan g_span, double mu, double gain, bool nesterov) {
  visit(m_span.dtype, [&]<class T>(T) {
    T *x = x_span.as<T>(), *m = m_span.as<T>();
    const T* g = g_span.as<T>();
    const formulas::Momentum<T> f{mu, gain, nesterov};
    parallel_each(m_span.count, 3, [=](int64_t i) { f(x[i], m[i], g[i]); });
  });
}

void CpuBackend::second_moment(Span x_span, Span v_span, ConstSpan g_span, double beta, double eps) {
  visit(v_span.dtype, [&]<class T>(T) {
    T *x = x_span.as<T>(), *v = v_span.as<T>();
    const T* g = g_span.as<T>();
    const formulas::SecondMoment<T> f{beta, eps};
    parallel_each(v_span.count, 6, [=](int64_t i) { f(x[i], v[i], g[i]); });
  });
}

}  // namespace borealis
