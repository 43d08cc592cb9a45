#include "optim/spectral.h"

#include "optim/stages.h"

namespace borealis {

namespace {

// A weight that starts at zero has no length to keep.
void check_lengths(const SpectralConfig& c, const Tensor& w, const std::vector<ParamArena::Place>& places) {
  const std::vector<double> squares = frobenius_squares(w).to_vector<double>();
  size_t i = 0;
  for (const ParamArena::Place& place : places)
    for (int64_t b = 0; b < place.param.blocks; ++b, ++i)
      if (squares[i] == 0)
        fail(c.name, ": ", block_name(place.param, b),
             " starts at zero, and decay=hyperball keeps the length of a weight, so it would never "
             "move; use another decay, or a style without zero weights");
}

}  // namespace

Spectral::Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes)
    : Part(config.name), config_(std::move(config)) {
  check(config_);
  for (const ParamArena::Place& place : arena.places())
    if (const Parameter& p = place.param; takes(p) && p.var.shape().rank() != 2)
      fail(name_, ": ", p.name, " is ", p.var.shape(), ", but ", name_, " steps matrices only");
  const auto balanced = [&](const ParamArena::Place& p) {
    return balances(config_, p.block_rows(), p.cols(), p.param.neurons);
  };
  const auto alike = [&](const ParamArena::Place& a, const ParamArena::Place& b) {
    return balanced(a) == balanced(b) && a.first + a.numel() == b.first && a.block_rows() == b.block_rows() &&
           a.cols() == b.cols();
  };
  for (const Places& places : take(arena, takes, alike)) {
    const ParamArena::Place& first = places.front();
    int64_t count = 0;
    for (const ParamArena::Place& place : places) count += place.param.blocks;
    const Shape shape{count, first.block_rows(), first.cols()};
    Batch batch{.balanced = balanced(first), .places = places};
    batch.w = arena.values().flat_view(first.first, shape);
    batch.g = arena.grads().flat_view(first.first, shape);
    if (config_.decay == Decay::hyperball) check_lengths(config_, batch.w, batch.places);
    batch.momentum = momentum_state(config_, batch.w);
    batch.pre = pre_state(config_, batch.w);
    batch.post = post_state(config_, batch.w);
    batches_.push_back(std::move(batch));
  }
  if (batches_.empty()) fail(name_, ": there is no hidden matrix among the parameters");
}

Matrix Spectral::direction(const Batch& batch, const Matrix& X) const {
  if (!batch.balanced) return polar(X, config_.direction.polar);
  if (X.rows() >= X.cols()) return aurora_direction(X, config_.direction);
  return copy(aurora_direction(X.t(), config_.direction).t());  // a wide matrix is balanced along its columns
}

void Spectral::update(const LearningRates& lr) {
  for (const Batch& batch : batches_) {
    const Tensor X = momentum(config_, batch.g, batch.momentum);
    precondition(config_, X, batch.g, batch.pre);
    const Tensor U = direction(batch, X).tensor().reshape(X.shape());
    if (config_.contra > 0) subtract_input(config_.contra, U, X);
    postcondition(config_, U, X, batch.post, step_);
    Update seen;
    if (observer_) seen = {batch.places, X, U.clone(), U, batch.w.clone(), batch.w};
    apply(config_, batch.w, U, lr.hidden_matrix, record_);
    if (!observer_) continue;
    const auto m = static_cast<double>(batch.w.size(1)), n = static_cast<double>(batch.w.size(2));
    const double factor = record_.rows(2, 1).item();
    seen.rate = lr.hidden_matrix * factor * (config_.decay == Decay::hyperball ? 1 : scale_factor(config_, m, n));
    observer_(seen);
  }
}

OptimizerState Spectral::state() const {
  OptimizerState state{.step = step_};
  for (const Batch& batch : batches_) {
    // A state of k numbers a matrix: those of a parameter's blocks stand side by side.
    const auto add = [&](const char* what, const Tensor& tensor) {
      if (!tensor) return;
      const int64_t matrix = batch.w.numel() / batch.w.size(0), each = tensor.numel() / batch.w.size(0);
      for (const ParamArena::Place& place : batch.places) {
        const int64_t index = (place.first - batch.places.front().first) / matrix;
        const Shape shape = each == matrix ? place.param.var.shape() : Shape{place.param.blocks * each};
        state.tensors[place.param.name + what] = tensor.flat_view(index * each, shape);
      }
    };
    add("/momentum", batch.momentum);
    add("/second_moment", batch.pre);
    add("/post_moment", batch.post);
  }
  return state;
}

}  // namespace borealis
