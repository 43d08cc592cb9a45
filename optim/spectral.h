// Every spectral optimizer, as one pipeline over batches of equal matrices:
//   momentum → direction (polar factor, rows balanced or not) → scale → weight decay → apply.
// Muon and Aurora are two settings of it.
#pragma once

#include <string>
#include <vector>

#include "optim/aurora.h"
#include "optim/optimizer.h"
#include "optim/param_arena.h"

namespace borealis {

struct SpectralConfig {
  std::string name = "Spectral";  // in messages

  // M ← μM + (1−μ)G;  X = nesterov ? (1−μ)G + μM : M.
  double mu = 0.95;
  bool nesterov = true;

  // U = polar(X), or Aurora's balanced direction.
  AuroraOptions direction = {};
  Where where = Where::tall;

  // W ← (1 − lr·weight_decay) W − lr·√max(1, rows/cols)·U.
  double weight_decay = 0.025;
};

// Muon (Jordan et al., 2024) with its own five-step iteration.
SpectralConfig muon();
// Aurora (arXiv 2606.27715): CANS-12, K = 2, β = 0.5, tall matrices, balanced by leverage scores.
SpectralConfig aurora();

class Spectral final : public Optimizer {
 public:
  Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes = is_hidden_matrix);

  void step(const LearningRates& lr) override;  // takes lr.hidden_matrix
  OptimizerState state() const override;
  void load_state(const OptimizerState& saved) override;
  const SpectralConfig& config() const { return config_; }

  // From the next step on, measure each update or stop measuring (no cost then).
  void diagnose(bool on) { diagnosing_ = on; }

  struct Report {
    std::string name;    // NAME, or of block b its name in files, or NAME[b]
    double row_norm_cv;  // standard deviation / mean of the lengths of U's rows; 0 for U = 0
    double polar_error;  // ‖UᵀU − I‖_F/√d, on the short side d
  };
  // Of the last measured step, one per matrix in the arena's order. Waits for the device.
  std::vector<Report> report() const;

 private:
  // Equal matrices side by side in the arena, all balanced or none.
  struct Batch {
    bool balanced = false;
    Tensor w = {}, g = {}, m = {};  // [count, rows, cols]
    std::vector<ParamArena::Place> places = {};
    // Of the last measured step, on the device: ‖U_i‖² [count, rows], ‖UᵀU − I‖_F² [count].
    Tensor row_squares = {}, error_squares = {};
  };

  Matrix direction(const Batch& batch, const Matrix& X) const;
  void measure(Batch& batch, const Matrix& U) const;

  SpectralConfig config_;
  std::vector<Batch> batches_;
  int64_t step_ = 0;
  bool diagnosing_ = false;
};

}  // namespace borealis
