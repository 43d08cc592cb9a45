#include "optim/part.h"

#include <cmath>

namespace borealis {

double LearningRates::of(Role role) const {
  switch (role) {
    case Role::hidden_matrix: return hidden_matrix;
    case Role::embedding: return embedding;
    case Role::head: return head;
    case Role::vector: return vector;
  }
  return vector;
}

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

void restore(const std::string& who, const OptimizerState& own, const OptimizerState& saved) {
  check_state(who, own, saved);
  for (const auto& [key, tensor] : own.tensors) tensor.copy_from(saved.tensors.at(key));
}

void check_rate(const std::string& who, double lr) {
  if (!(lr >= 0) || !std::isfinite(lr))
    fail(who, ": the learning rate is ", lr, ", but it must be a number of at least 0");
}

}  // namespace borealis
