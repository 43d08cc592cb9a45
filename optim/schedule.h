// Learning rates as functions of the step, counted from 0.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace borealis {

// (step + 1)/(warmup + 1) of the way up, so that the first step already moves.
inline double warmup_factor(int64_t step, int64_t warmup) {
  if (step >= warmup) return 1;
  return (static_cast<double>(step) + 1) / (static_cast<double>(warmup) + 1);
}

// nanoGPT's: linear warm-up, half a cosine down to min_lr at step `decay_iters`, min_lr from there
// on.
inline double warmup_cosine(int64_t step, int64_t warmup, int64_t decay_iters, double lr, double min_lr) {
  if (step < warmup) return lr * warmup_factor(step, warmup);
  if (step >= decay_iters) return min_lr;
  const auto since_warmup = [&](int64_t t) { return static_cast<double>(t) - static_cast<double>(warmup); };
  const double done = since_warmup(step) / since_warmup(decay_iters);
  return min_lr + 0.5 * (1 + std::cos(std::numbers::pi * done)) * (lr - min_lr);
}

// Linear warm-up, constant, then linear to 0 over the last `fraction` of `max_iters` steps: 0 would
// be reached at step max_iters, which is one past the last.
inline double warmup_linear(int64_t step, int64_t warmup, int64_t max_iters, double lr, double fraction = 0.7) {
  const double left = static_cast<double>(max_iters) - static_cast<double>(step);
  const double decay = fraction * static_cast<double>(max_iters);
  const double down = left <= 0 ? 0 : left < decay ? left / decay : 1;
  return lr * warmup_factor(step, warmup) * down;
}

}  // namespace borealis
