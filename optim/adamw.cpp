#include "optim/adamw.h"

#include <cmath>

#include "engine/backend.h"

namespace borealis {

AdamW::AdamW(const ParamArena& arena, const AdamWOptions& options, const Takes& takes)
    : Part("AdamW"), options_(options) {
  const AdamWOptions& o = options_;
  if (!(o.beta1 >= 0 && o.beta1 < 1) || !(o.beta2 >= 0 && o.beta2 < 1))
    fail("AdamW: beta1 is ", o.beta1, " and beta2 ", o.beta2, ", but both must lie in [0, 1)");
  if (!(o.eps > 0)) fail("AdamW: eps is ", o.eps, ", but must be above 0");
  if (!(o.weight_decay >= 0) || !std::isfinite(o.weight_decay))
    fail("AdamW: the weight decay is ", o.weight_decay, ", but it must be a number of at least 0");
  const auto alike = [&](const Place& a, const Place& b) {
    return a.param.role == b.param.role && options_.decays(a.param) == options_.decays(b.param);
  };
  take(arena, takes, alike);
  for (Run& run : runs_)
    for (const char* moment : {"m", "v"})
      run.kept[moment] = Tensor::zeros(run.w.shape(), run.w.dtype(), run.w.device());
}

void AdamW::update(const LearningRates& lr) {
  for (const Run& run : runs_) {
    const Parameter& p = run.places.front().param;
    backend(run.w.device())
        .adamw(run.w, run.kept.at("m"), run.kept.at("v"), run.g,
               {.lr = lr.of(p.role),
                .beta1 = options_.beta1,
                .beta2 = options_.beta2,
                .eps = options_.eps,
                .weight_decay = options_.decays(p) ? options_.weight_decay : 0},
               record_);
  }
}

}  // namespace borealis
