#include "optim/part.h"

#include <cmath>
#include <utility>

#include "engine/backend.h"

namespace borealis {

void check_state(const std::string& who, const OptimizerState& own, const OptimizerState& saved) {
  if (saved.step < 0) fail(who, ": the saved state is at step ", saved.step);
  for (const auto& [key, tensor] : own.tensors) {
    const auto found = saved.tensors.find(key);
    if (found == saved.tensors.end())
      fail(who, ": the saved state has no '", key, "'; was it saved by another optimizer or model?");
    if (!(found->second.shape() == tensor.shape()))
      fail(who, ": '", key, "' is ", tensor.shape(), ", but ", found->second.shape(), " in the saved state");
  }
}

Part::~Part() {
  for (const Place& place : taken_) place.param.var.stepped_by().clear();
}

void Part::take(const ParamArena& arena, const Takes& takes,
                const std::function<bool(const Place&, const Place&)>& alike) {
  record_ = arena.record();
  bool apart = true;  // whether the place before was not taken
  for (const Place& place : arena.places()) {
    const bool before_apart = std::exchange(apart, !takes(place.param));
    if (apart) continue;
    place.check_home();
    std::string& owner = place.param.var.stepped_by();
    if (!owner.empty())
      fail(name_, ": '", place.param.name, "' is stepped by ", owner,
           " already; say which parameters each optimizer takes, as with is_hidden_matrix and "
           "is_other");
    taken_.push_back(place);
    owner = name_;
    if (before_apart || !alike(runs_.back().places.back(), place)) runs_.emplace_back();
    runs_.back().places.push_back(place);
  }
  for (Run& run : runs_) {
    const Place &front = run.places.front(), &back = run.places.back();
    run.w = arena.values().flat_view(front.first, {back.first + back.numel() - front.first});
    run.g = arena.grads().flat_view(front.first, run.w.shape());
  }
}

void Part::write_record(int64_t step, double factor) const {
  const std::array<double, 2> numbers{static_cast<double>(step), factor};  // StepRecord's, after `stopped`
  backend(record_.device()).upload(record_.flat_view(1, {2}).raw(), numbers.data(), sizeof numbers);
}

void Part::step(const LearningRates& lr, double factor) {
  if (taken_.empty()) return;
  for (const Place& place : taken_) check_rate(name_, lr.of(place.param.role) * factor);
  // Gradients that did not arrive are seen to, and backward() will refuse graphs that have captured the old values.
  for (const Place& place : taken_) place.finish_gradient();
  for (const Place& place : taken_) place.param.var.mark_changed();
  write_record(++step_, factor);
  Backend& on = backend(record_.device());
  const struct Lifted {  // whatever update() meets
    Backend& on;
    ~Lifted() { on.gate({}); }
  } gate{on};
  if (on.gate(record_)) update(lr);
}

OptimizerState Part::state() const {
  OptimizerState state{.step = step_};
  for (const Run& run : runs_) {
    for (const auto& [what, tensor] : run.kept) {
      if (!tensor) continue;
      const int64_t k = run.w.numel() / tensor.numel();
      for (const Place& place : run.places) {
        const Shape& whole = place.param.var.shape();
        state.tensors[place.param.name + '/' + what] =
            tensor.flat_view((place.first - run.places.front().first) / k, k == 1 ? whole : Shape{place.numel() / k});
      }
    }
  }
  return state;
}

void Part::load_state(const OptimizerState& saved) {
  const OptimizerState own = state();
  check_state(name_, own, saved);
  for (const auto& [key, tensor] : own.tensors) tensor.copy_from(saved.tensors.at(key));
  step_ = saved.step;
  record_.fill(0);  // nothing is stopped any more
  write_record(step_, 1);
}

void check_rate(const std::string& who, double lr) {
  if (!(lr >= 0) || !std::isfinite(lr))
    fail(who, ": the learning rate is ", lr, ", but it must be a number of at least 0");
}

}  // namespace borealis
