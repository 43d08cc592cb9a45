#include "optim/optimizer.h"

#include <utility>

#include "engine/backend.h"
#include "engine/safetensors.h"

namespace borealis {

OptimizerConfig optimizer_config(const std::string& method) {
  // nanoGPT's CPU recipe.
  if (method == "adamw") return {.adamw = {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1}, .rates = 1e-3};
  const SpectralMethod row = parse_spectral(method);
  return {.matrices = row.config,
          .adamw = {.beta1 = row.rest.beta1, .beta2 = row.rest.beta2, .weight_decay = 0},
          .rates = {row.lr, row.rest.lr, row.rest.lr, row.rest.lr}};
}

Optimizer::Optimizer(const ParamList& params, const OptimizerConfig& config)
    : arena_(params),
      spectral_(config.matrices ? std::optional<Spectral>(std::in_place, arena_, *config.matrices) : std::nullopt),
      adamw_(arena_, config.adamw, config.matrices ? is_other : is_any),
      rates_(config.rates) {
  arena_.check_all_claimed();
}

Tensor Optimizer::clip(double max_norm) {
  looked_ = true;
  return clip_grad_norm(arena_, max_norm);
}

void Optimizer::step(double factor) {
  if (!std::exchange(looked_, false)) clip_grad_norm(arena_, 0);
  if (spectral_) spectral_->step(rates_, factor);
  adamw_.step(rates_, factor);
}

void Optimizer::expect_finite(const Tensor& number) {
  const Tensor& record = arena_.record();
  backend(record.device()).stop_unless_finite(record, number.made("expect_finite"));
}

int64_t Optimizer::stopped_at() const { return static_cast<int64_t>(arena_.record().rows(0, 1).item()); }

OptimizerState Optimizer::state() const {
  OptimizerState state = adamw_.state();
  if (spectral_) state.tensors.merge(spectral_->state().tensors);
  return state;
}

void Optimizer::load_state(const OptimizerState& saved, const std::string& source) try {
  const OptimizerState own = state();
  check_state("optimizer", own, saved);
  for (const auto& [name, t] : saved.tensors) {
    if (!own.tensors.count(name))
      fail("its optimizer's state has '", printable(name), "', which this optimizer does not keep");
    if (!backend(t.device()).all_finite(t))
      fail("its optimizer's '", name, "' holds NaN or infinity, and training cannot go on from it");
  }
  if (spectral_) spectral_->load_state(saved);
  adamw_.load_state(saved);
} catch (const std::invalid_argument& e) {
  fail_runtime(source, ": ", e.what());
}

}  // namespace borealis
