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

AdamW::AdamW(const ParamArena& arena, const AdamWOptions& options, const Takes& takes)
    : Part("AdamW"), options_(options) {
  check(options_);
  const auto alike = [&](const ParamArena::Place& a, const ParamArena::Place& b) {
    return a.param.role == b.param.role && options_.decays(a.param) == options_.decays(b.param);
  };
  for (Places& places : take(arena, takes, alike)) {
    const Parameter& p = places.front().param;
    const int64_t first = places.front().first, count = places.back().first + places.back().numel() - first;
    Run run{.role = p.role, .decays = options_.decays(p), .places = std::move(places)};
    run.w = arena.values().flat_view(first, {count});
    run.g = arena.grads().flat_view(first, {count});
    run.m = Tensor::zeros({count}, run.w.dtype(), run.w.device());
    run.v = Tensor::zeros({count}, run.w.dtype(), run.w.device());
    runs_.push_back(std::move(run));
  }
}

void AdamW::update(const LearningRates& lr) {
  for (const Run& run : runs_)
    backend(run.w.device())
        .adamw(run.w, run.m, run.v, run.g,
               {.lr = lr.of(run.role),
                .beta1 = options_.beta1,
                .beta2 = options_.beta2,
                .eps = options_.eps,
                .weight_decay = run.decays ? options_.weight_decay : 0},
               record_);
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

}  // namespace borealis
