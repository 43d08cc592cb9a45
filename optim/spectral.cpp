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

Matrix direction(const SpectralConfig& c, const Matrix& X, Neurons neurons) {
  if (!balances(c, X.rows(), X.cols(), neurons)) return polar(X, c.direction.polar);
  if (X.rows() >= X.cols()) return aurora_direction(X, c.direction);
  return copy(aurora_direction(X.t(), c.direction).t());  // a wide matrix is balanced along its columns
}

}  // namespace

Spectral::Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes)
    : Part(config.name), config_(std::move(config)) {
  check(config_);
  for (const Place& place : arena.places())
    if (const Parameter& p = place.param; takes(p) && p.var.shape().rank() != 2)
      fail(name_, ": ", p.name, " is ", p.var.shape(), ", but ", name_, " steps matrices only");
  const auto balanced = [&](const Place& p) { return balances(config_, p.block_rows(), p.cols(), p.param.neurons); };
  const auto alike = [&](const Place& a, const Place& b) {
    return balanced(a) == balanced(b) && a.first + a.numel() == b.first && a.block_rows() == b.block_rows() &&
           a.cols() == b.cols();
  };
  take(arena, takes, alike);
  if (runs_.empty()) fail(name_, ": there is no hidden matrix among the parameters");
  for (Run& run : runs_) {
    const int64_t rows = run.places.front().block_rows(), cols = run.places.front().cols();
    const Shape shape{run.w.numel() / (rows * cols), rows, cols};
    run.w = run.w.reshape(shape);
    run.g = run.g.reshape(shape);
    if (config_.decay == Decay::hyperball) check_lengths(config_, run.w, run.places);
    run.kept = {{"momentum", momentum_state(config_, run.w)},
                {"second_moment", pre_state(config_, run.w)},
                {"post_moment", post_state(config_, run.w)}};
  }
}

void Spectral::update(const LearningRates& lr) {
  for (const Run& run : runs_) {
    const Tensor X = momentum(config_, run.g, run.kept.at("momentum"));
    precondition(config_, X, run.g, run.kept.at("second_moment"));
    const Tensor U = direction(config_, X, run.places.front().param.neurons).tensor().reshape(X.shape());
    if (config_.contra > 0) subtract_input(config_.contra, U, X);
    postcondition(config_, U, X, run.kept.at("post_moment"), step_);
    Update seen;
    if (observer_) seen = {run.places, X, U.clone(), U, run.w.clone(), run.w};
    apply(config_, run.w, U, lr.hidden_matrix, record_);
    if (!observer_) continue;
    const auto m = static_cast<double>(run.w.size(1)), n = static_cast<double>(run.w.size(2));
    const double factor = record_.rows(2, 1).item();
    seen.rate = lr.hidden_matrix * factor * (config_.decay == Decay::hyperball ? 1 : scale_factor(config_, m, n));
    observer_(seen);
  }
}

}  // namespace borealis
