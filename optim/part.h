// A part of an optimizer: a method that steps some parameters of an arena (AdamW, Spectral). Parts
// work on Tensor and Matrix, so they cannot record to the graph. What a user holds is the whole,
// optim/optimizer.h.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "param_arena.h"

namespace borealis {

// A learning rate for each role. One number stands for all four.
struct LearningRates {
  double hidden_matrix = 0, embedding = 0, head = 0, vector = 0;

  LearningRates(double all) : hidden_matrix(all), embedding(all), head(all), vector(all) {}
  LearningRates(double hidden, double embed, double head_lr, double vector_lr)
      : hidden_matrix(hidden), embedding(embed), head(head_lr), vector(vector_lr) {}

  double of(Role role) const { return std::array{hidden_matrix, embedding, head, vector}[static_cast<size_t>(role)]; }
  // All four times a schedule's factor.
  LearningRates operator*(double factor) const {
    return {hidden_matrix * factor, embedding * factor, head * factor, vector * factor};
  }
};

// What a checkpoint keeps of an optimizer: tensors named after their parameter ("NAME/momentum").
struct OptimizerState {
  int64_t step = 0;  // updates made so far
  std::map<std::string, Tensor> tensors = {};
};

// Which parameters a part takes.
using Takes = std::function<bool(const Parameter&)>;
inline bool is_hidden_matrix(const Parameter& p) { return p.role == Role::hidden_matrix; }
inline bool is_other(const Parameter& p) { return !is_hidden_matrix(p); }
inline bool is_any(const Parameter&) { return true; }

class Part {
 public:
  virtual ~Part();
  Part(Part&&) = default;  // the other one then steps nothing

  // One update from the gradients in the arena, at `factor` times each rate. A gradient that did not arrive counts as 0.
  // Changes nothing once clip_grad_norm met a gradient that is not finite.
  void step(const LearningRates& lr, double factor = 1);

  // Handles of the living state, not copies.
  OptimizerState state() const;
  // Continues from a saved state to the bit, in whatever order the parameters were listed. Names
  // that this part does not know are passed over; nothing is changed if one of its own is
  // missing.
  void load_state(const OptimizerState& saved);

 protected:
  explicit Part(std::string name) : name_(std::move(name)) {}

  using Place = ParamArena::Place;
  // Neighbours in the arena that are stepped as one, with no strangers inside.
  struct Run {
    std::vector<Place> places = {};
    Tensor w = {}, g = {};  // flat, gaps included: they stay 0
    // What is remembered from step to step, by its name in files: a number for each of w, or for each k neighbours, so
    // that it is cut at the same places; undefined where there is nothing to remember.
    std::map<std::string, Tensor> kept = {};
  };
  // Takes parameters for good, and makes runs_ of them: while this part lives no other may step them, and one that
  // another steps is refused, naming both. A run's places are each `alike` the next.
  void take(const ParamArena& arena, const Takes& takes, const std::function<bool(const Place&, const Place&)>& alike);
  // The update itself: rates are to be multiplied with record_'s factor, on the device.
  virtual void update(const LearningRates& lr) = 0;

  std::string name_;  // in messages
  int64_t step_ = 0;
  Tensor record_;  // of the arena
  std::vector<Run> runs_;

 private:
  std::vector<Place> taken_;  // by all runs

  void write_record(int64_t step, double factor) const;
};

// Fails in the name of `who` unless `saved` has every tensor of `own`, in its shape.
void check_state(const std::string& who, const OptimizerState& own, const OptimizerState& saved);
// Fails unless the rate is a number ≥ 0.
void check_rate(const std::string& who, double lr);

}  // namespace borealis
