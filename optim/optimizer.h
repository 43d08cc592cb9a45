// The optimizer in a user's hand: one object that steps every parameter of a model, the hidden
// matrices by a spectral method if it is asked for, the rest by AdamW.
//
//   Optimizer optimizer(model.parameters(), "aurora");
//   …
//   loss.backward();
//   optimizer.clip(1.0);
//   optimizer.step(factor);  // of each rate: a schedule's (optim/schedule.h)
//   optimizer.zero_grad();
#pragma once

#include <optional>
#include <string>

#include "adamw.h"
#include "spectral.h"

namespace borealis {

// The methods, their settings and their learning rates.
struct OptimizerConfig {
  std::optional<SpectralConfig> matrices = {};  // without one, AdamW steps hidden matrices too
  AdamWOptions adamw = {};                      // of all that is left
  LearningRates rates = 0;
};

// "adamw", or what parse_spectral() takes: a row's own settings, those of the AdamW beside it, and
// the rates of both.
OptimizerConfig optimizer_config(const std::string& method);

class Optimizer {
 public:
  // Moves the parameters into an arena of its own and gives each to exactly one part. Fails in one
  // sentence on settings that do not go together, and on parameters another optimizer steps.
  Optimizer(const ParamList& params, const OptimizerConfig& config);
  Optimizer(const ParamList& params, const std::string& method) : Optimizer(params, optimizer_config(method)) {}

  // g ← g·min(1, max_norm/‖g‖) over all gradients; 0 leaves them. Returns ‖g‖ from before, [1] on
  // the device: item() waits for it.
  Tensor clip(double max_norm);
  // One update from the gradients that backward() left, at `factor` times each rate.
  void step(double factor = 1);
  // A loss, or any other number on the device, that must be finite like the gradient.
  void expect_finite(const Tensor& number);
  // The first step, counted from 1, that found something not finite: it and all that came after changed nothing.
  // 0: none did. Waits for the device.
  int64_t stopped_at() const;
  // Starts a new generation of gradients.
  void zero_grad() const { arena_.zero_grad(); }

  const LearningRates& rates() const { return rates_; }
  const ParamArena& arena() const { return arena_; }
  // The part that steps hidden matrices, to observe its steps; null without one.
  Spectral* spectral() { return spectral_ ? &*spectral_ : nullptr; }

  // Handles of the living state, not copies.
  OptimizerState state() const;
  // Continues from a saved state to the bit. Fails naming `source`, the file it comes from, on one
  // that is not exactly this optimizer's, or not finite; then nothing has changed.
  void load_state(const OptimizerState& saved, const std::string& source);

 private:
  ParamArena arena_;
  std::optional<Spectral> spectral_;
  AdamW adamw_;
  LearningRates rates_;
  bool looked_ = false;  // at the gradients of this step
};

}  // namespace borealis
