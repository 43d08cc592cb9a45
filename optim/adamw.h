// AdamW (Loshchilov & Hutter, 2019):
//   m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,
//   w ← (1 − lr·decay) w − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps).
#pragma once

#include "part.h"

namespace borealis {

// As nanoGPT does: matrices decay, gains and biases do not.
inline bool has_rank_two(const Parameter& p) { return p.var.shape().rank() >= 2; }

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1;
  Takes decays = has_rank_two;
};

class AdamW final : public Part {
 public:
  explicit AdamW(const ParamArena& arena, const AdamWOptions& options = {}, const Takes& takes = is_any);

 private:
  // A run has one learning rate and one decay: one kernel launch.
  void update(const LearningRates& lr) override;

  AdamWOptions options_;
};

}  // namespace borealis
