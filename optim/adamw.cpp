#include "optim/adamw.h"

#include <cmath>

#include "engine/backend.h"

namespace borealis {

namespace {

void check(const AdamWOptions& o) {
  if (!(o.beta1 >= 0 && o.beta1 < 1) || !(o.beta2 >= 0 && o.beta2 < 1))
    fail("AdamW: beta1 is ", o.beta1, " and beta2 ", o.beta2, ", but both must lie in [0, 1)");
  if (!(o.eps > 0)) fail("AdamW: eps is ", o.eps, ", but must be above 0");
  if (!(o.weight_decay >= 0) || !std::isfinite(o.weight_decay))
    fail("AdamW: the weight decay is ", o.weight_decay, ", but it must be a number of at least 0");
}

}  // namespace

AdamW::AdamW(const ParamArena& arena, const AdamWOptions& options, const Takes& takes) : options_(options) {
  check(options_);
  bool apart = true;  // whether the place before was not taken: a run has no strangers inside
  for (const ParamArena::Place& place : arena.places()) {
    const Parameter& p = place.param;
    if (!takes(p)) {
      apart = true;
      continue;
    }
    claim_.add(place);
    const bool decays = options_.decays(p);
    if (apart || runs_.back().role != p.role || runs_.back().decays != decays)
      runs_.push_back({.role = p.role, .decays = decays});
    runs_.back().places.push_back(place);
    apart = false;
  }
  for (Run& run : runs_) {
    const int64_t first = run.places.front().first;
    const int64_t count = run.places.back().first + run.places.back().numel() - first;
    run.w = arena.values().flat_view(first, {count});
    run.g = arena.grads().flat_view(first, {count});
    run.m = Tensor::zeros({count}, run.w.dtype(), run.w.device());
    run.v = Tensor::zeros({count}, run.w.dtype(), run.w.device());
  }
}

void AdamW::step(const LearningRates& lr) {
  for (const Run& run : runs_) check_rate("AdamW", lr.of(run.role));
  claim_.begin_step();
  ++step_;
  for (const Run& run : runs_) {
    backend(run.w.device())
        .adamw(run.w, run.m, run.v, run.g,
               {.lr = lr.of(run.role),
                .beta1 = options_.beta1,
                .beta2 = options_.beta2,
                .eps = options_.eps,
                .weight_decay = run.decays ? options_.weight_decay : 0,
                .step = step_});
  }
}

OptimizerState AdamW::state() const {
  OptimizerState state{.step = step_};
  for (const Run& run : runs_) {
    for (const ParamArena::Place& place : run.places) {
      const int64_t first = place.first - run.places.front().first;
      const Shape& shape = place.param.var.shape();
      state.tensors[place.param.name + "/m"] = run.m.flat_view(first, shape);
      state.tensors[place.param.name + "/v"] = run.v.flat_view(first, shape);
    }
  }
  return state;
}

void AdamW::load_state(const OptimizerState& saved) {
  restore("AdamW", state(), saved);
  step_ = saved.step;
}

}  // namespace borealis
