// The elementwise parts of optimizers: one walk over a run of numbers.
#include <cstdint>

#include "engine/cpu/backend.h"
#include "engine/cpu/loops.h"
#include "engine/formulas.h"

namespace borealis {

namespace {

const StepRecord& now(ConstSpan record) { return *static_cast<const StepRecord*>(record.data); }

}  // namespace

void CpuBackend::adamw(Span w, Span m, Span v, ConstSpan g, const AdamWArgs& args, ConstSpan record) {
  visit(w.dtype, [&]<class T>(T) { for_each_number<T>(8, formulas::AdamW<T>{args, now(record)}, w, m, v, g); });
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

void CpuBackend::momentum(Span x, Span m, ConstSpan g, double mu, double gain, bool nesterov) {
  visit(m.dtype, [&]<class T>(T) { for_each_number<T>(3, formulas::Momentum<T>{mu, gain, nesterov}, x, m, g); });
}

void CpuBackend::second_moment(Span x, Span v, ConstSpan g, double beta, double eps) {
  visit(v.dtype, [&]<class T>(T) { for_each_number<T>(6, formulas::SecondMoment<T>{beta, eps}, x, v, g); });
}

}  // namespace borealis
