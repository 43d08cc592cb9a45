// Every spectral optimizer: the pipeline of optim/spectral_config.h over batches of equal matrices.
#pragma once

#include <string>
#include <vector>

#include "param_arena.h"
#include "part.h"
#include "spectral_methods.h"

namespace borealis {

class Spectral final : public Part {
 public:
  Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes = is_hidden_matrix);

  void step(const LearningRates& lr) override;  // takes lr.hidden_matrix
  OptimizerState state() const override;
  void load_state(const OptimizerState& saved) override;
  const SpectralConfig& config() const { return config_; }

  // From the next step on, measure each update or stop measuring (no cost then).
  void diagnose(bool on) { diagnosing_ = on; }

  // What an update U of a matrix W [m, n] was like; X is what its direction was taken of.
  struct Report {
    std::string name;             // NAME, or of block b its name in files, or NAME[b]
    double row_norm_cv = 0;       // standard deviation / mean of the lengths of U's rows; 0 for U = 0
    double polar_error = 0;       // ‖UᵀU − I‖_F/√d, on the short side d
    double alignment = 0;         // ⟨X, U⟩/⟨X, polar(X)⟩: 1 for a polar factor, the most if ‖U‖₂ ≤ 1
    double update_to_weight = 0;  // ‖lr·scale·U‖_F/‖W‖_F; 0 for W = 0
    double effective_rank = 0;    // of W at the time of the report (optim/matrix_stats.h)
    // How far each neuron moves: ‖U_i‖² over its mean, along the longer side (rows, or the columns
    // of a wide U). For a polar factor these are leverage scores times m/n.
    std::vector<double> leverage = {};
    Parameter param = {};  // the parameter W belongs to, and
    int64_t block = 0;     // which of its blocks W is
  };
  // Of the last measured step, one per matrix in the arena's order. Waits for the device.
  std::vector<Report> report() const;

 private:
  // Equal matrices side by side in the arena, all balanced or none.
  struct Batch {
    bool balanced = false;
    Tensor w = {}, g = {};  // [count, rows, cols]
    std::vector<ParamArena::Place> places = {};
    Tensor momentum = {}, pre = {}, post = {};  // what the stages remember (optim/stages.h)
    // Of the last measured step, on the device: [count, rows], [count, longer side], [count] …
    struct Measured {
      Tensor row_squares = {}, leverage = {}, error_squares = {}, aligned = {}, nuclear = {}, update_squares = {},
             weight_squares = {};
      double lr = 0;
    } measured = {};
  };

  Matrix direction(const Batch& batch, const Matrix& X) const;
  void measure(Batch& batch, const Tensor& X, const Tensor& U) const;

  SpectralConfig config_;
  Claim claim_;
  std::vector<Batch> batches_;
  int64_t step_ = 0;
  bool diagnosing_ = false;
};

}  // namespace borealis
