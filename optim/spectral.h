// Every spectral optimizer: the pipeline of optim/spectral_config.h over batches of equal matrices.
#pragma once

#include <functional>

#include "part.h"
#include "report.h"
#include "spectral_methods.h"

namespace borealis {

class Spectral final : public Part {
 public:
  Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes = is_hidden_matrix);

  // From the next step on, shows `observer` what each batch of matrices went through (at the cost of
  // two copies); an empty one stops that.
  void observe(std::function<void(const Update&)> observer) { observer_ = std::move(observer); }

 private:
  // A run is a batch of equal matrices, its tensors [count, rows, cols], all balanced or none.
  void update(const LearningRates& lr) override;

  SpectralConfig config_;
  std::function<void(const Update&)> observer_;
};

}  // namespace borealis
