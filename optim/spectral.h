// Every spectral optimizer: the pipeline of optim/spectral_config.h over batches of equal matrices.
#pragma once

#include <functional>
#include <vector>

#include "part.h"
#include "report.h"
#include "spectral_methods.h"

namespace borealis {

class Spectral final : public Part {
 public:
  Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes = is_hidden_matrix);

  OptimizerState state() const override;

  // From the next step on, shows `observer` what each batch of matrices went through (at the cost of
  // two copies); an empty one stops that.
  void observe(std::function<void(const Update&)> observer) { observer_ = std::move(observer); }

 private:
  void update(const LearningRates& lr) override;

  // Equal matrices side by side in the arena, all balanced or none.
  struct Batch {
    bool balanced = false;
    Places places = {};
    Tensor w = {}, g = {};                      // [count, rows, cols]
    Tensor momentum = {}, pre = {}, post = {};  // what the stages remember (optim/stages.h)
  };

  Matrix direction(const Batch& batch, const Matrix& X) const;

  SpectralConfig config_;
  std::vector<Batch> batches_;
  std::function<void(const Update&)> observer_;
};

}  // namespace borealis
