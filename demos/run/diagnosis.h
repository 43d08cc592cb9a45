// What happens inside a network while it trains (--diagnose N): which neurons an update moves,
// which are dead. Members of an object in log.jsonl, and a picture for the terminal.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "demos/run/training.h"

namespace borealis {

// The state of a model's matrices and hidden units over snapshots of a run.
//
// A unit is dead by one of two definitions. Silent: the probe never makes it positive before the
// nonlinearity (SwiGLU: its gate). Still: its relative leverage is below 0.01 in three snapshots in
// a row (SwiGLU: of both its rows); such an update is a tenth as long as the mean one.
class Census {
 public:
  explicit Census(const Gpt& model);

  using Flags = std::vector<uint8_t>;  // of the units of an MLP
  // A snapshot: what report() says, and which units of each layer are silent.
  void add(std::vector<UpdateReport> matrices, const std::vector<Flags>& silent);

  // {"matrices": {NAME: {row_norm_cv, polar_error, alignment, update_to_weight, effective_rank,
  //  leverage: [min, q1, median, q3, max]}},
  //  "mlps": {NAME: {units, silent, still, below: [units whose row moves less than .05, .1, .25
  //  of the mean]}}}, to five digits. null stands for what is not known or not finite.
  nlohmann::json to_json() const;
  // Lines of at most 100 columns: one a layer, one for each kind of matrix, and their heads. A
  // layer shows every k-th neuron's leverage, × where it is dead; the lengths of all its rows, as a
  // histogram; and how uneven these were in the snapshots so far, from 0 to 0.8.
  std::string picture() const;

 private:
  struct Layer {
    std::string name, fc;          // of the MLP, and of its first weight
    std::vector<double> leverage;  // relative, of each unit; NaN: not known
    std::vector<int> still_for;    // snapshots in a row that found the unit still
    Flags silent;
    double update_to_weight = 0;
    std::vector<double> row_norm_cv = {};  // of every snapshot

    int64_t still() const;
    int64_t below(double share) const;
    Flags dead() const;
  };
  std::vector<Layer> layers_;
  std::vector<UpdateReport> matrices_;
};

// Takes the snapshots of a run. Counts and history start anew in a resumed run: the log keeps no
// single units.
class Diagnosis {
 public:
  // `probe`: ids [B, T] to look for silent units with, the same in every snapshot.
  Diagnosis(const Gpt& model, Optimizer& optimizer, const Tensor& probe);

  Diagnosis(const Diagnosis&) = delete;  // the optimizer knows where this one is
  Diagnosis& operator=(const Diagnosis&) = delete;

  // Around the step to measure. None of this changes a number of the run.
  void before_step();
  void after_step();
  const Census& census() const { return census_; }

 private:
  const Gpt& model_;
  Optimizer& optimizer_;
  Tensor probe_, before_;              // the arena before a step of AdamW
  std::vector<UpdateReport> reports_;  // of the step to measure
  Census census_;
};

// For each layer 1 where a unit is silent on ids [B, T].
std::vector<Census::Flags> silent_units(const Gpt& model, const Tensor& ids);

}  // namespace borealis
