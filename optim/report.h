// What the update of a matrix was like, in figures: for whoever watches a step.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "param_arena.h"

namespace borealis {

// What one step did to equal matrices side by side in the arena; all tensors are [count, m, n]. For the time of the call
// only: `after` is the living weight.
struct Update {
  std::vector<ParamArena::Place> places = {};
  Tensor X = {}, U = {};           // U = direction(X); no X: U is no polar factor, but how W moved
  Tensor step = {};                // W ← decay(W) − rate·step: U at the length it was given
  Tensor before = {}, after = {};  // W
  double rate = 1;
};

struct UpdateReport {
  static constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

  std::string name;              // NAME, or of block b its name in files, or NAME[b]
  double row_norm_cv = 0;        // standard deviation / mean of the lengths of U's rows; 0 for U = 0
  double polar_error = unknown;  // ‖UᵀU − I‖_F/√d, on the short side d
  double alignment = unknown;    // ⟨X, U⟩/⟨X, polar(X)⟩: 1 for a polar factor, the most if ‖U‖₂ ≤ 1
  double update_to_weight = 0;   // ‖rate·step‖_F/‖W‖_F; 0 for W = 0
  double effective_rank = 0;     // of W after the step (optim/matrix_stats.h)
  // How far each neuron moves: ‖U_i‖² over its mean, along the longer side (rows, or the columns
  // of a wide U). For a polar factor these are leverage scores times m/n.
  std::vector<double> leverage = {};
  Parameter param = {};  // the parameter W belongs to, and
  int64_t block = 0;     // which of its blocks W is
};

// One per matrix, in order. Waits for the device.
std::vector<UpdateReport> report(const Update& update);

}  // namespace borealis
