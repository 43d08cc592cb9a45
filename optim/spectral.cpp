#include "optim/spectral.h"

#include <algorithm>
#include <cmath>

#include "engine/math.h"

namespace borealis {

namespace {

void check(const SpectralConfig& c) {
  const AuroraOptions& o = c.direction;
  if (!(c.mu > 0 && c.mu < 1)) fail(c.name, ": mu is ", c.mu, ", but must lie between 0 and 1");
  if (o.pp_iterations < 1)
    fail(c.name, ": pp_iterations is ", o.pp_iterations, ", but must be at least 1");
  if (!(o.pp_beta > 0) || !std::isfinite(o.pp_beta))
    fail(c.name, ": pp_beta is ", o.pp_beta, ", but must be a number above 0");
  if (!(c.weight_decay >= 0) || !std::isfinite(c.weight_decay))
    fail(c.name, ": the weight decay is ", c.weight_decay,
         ", but it must be a number of at least 0");
}

// Square matrices have even rows already; so have the rows of wide and the columns of tall ones.
bool is_balanced(const SpectralConfig& c, const ParamArena::Place& place) {
  if (c.direction.balance == Balance::none) return false;
  const bool tall = place.block_rows() > place.cols(), wide = place.block_rows() < place.cols();
  switch (c.where) {
    case Where::tall:
      return tall;
    case Where::nonsquare:
      return tall || wide;
    case Where::wide:
      return wide;
    case Where::up_gate:
      return tall && place.param.neurons == Neurons::rows;
  }
  return false;
}

std::string block_name(const Parameter& p, int64_t b) {
  if (p.blocks == 1) return p.name;
  if (!p.block_names.empty()) return p.block_names[static_cast<size_t>(b)];
  return p.name + '[' + std::to_string(b) + ']';
}

}  // namespace

SpectralConfig muon() {
  return {.name = "Muon", .direction = {.polar = Polar::quintic5, .balance = Balance::none}};
}

SpectralConfig aurora() {
  return {.name = "Aurora"};
}

Spectral::Spectral(const ParamArena& arena, SpectralConfig config, const Takes& takes)
    : config_(std::move(config)) {
  check(config_);
  for (const ParamArena::Place& place : arena.places()) {
    const Parameter& p = place.param;
    if (!takes(p)) continue;
    if (p.var.shape().rank() != 2)
      fail(config_.name, ": ", p.name, " is ", p.var.shape(), ", but ", config_.name,
           " steps matrices only");
    const bool balanced = is_balanced(config_, place);
    const auto joins = [&](const Batch& batch) {
      const ParamArena::Place& last = batch.places.back();
      return batch.balanced == balanced && last.first + last.numel() == place.first &&
             last.block_rows() == place.block_rows() && last.cols() == place.cols();
    };
    if (batches_.empty() || !joins(batches_.back())) batches_.push_back({.balanced = balanced});
    batches_.back().places.push_back(place);
  }
  if (batches_.empty()) fail(config_.name, ": there is no hidden matrix among the parameters");

  for (Batch& batch : batches_) {
    const ParamArena::Place& first = batch.places.front();
    int64_t count = 0;
    for (const ParamArena::Place& place : batch.places) count += place.param.blocks;
    const Shape shape{count, first.block_rows(), first.cols()};
    batch.w = arena.values().flat_view(first.first, shape);
    batch.g = arena.grads().flat_view(first.first, shape);
    batch.m = Tensor::zeros(shape, batch.w.dtype(), batch.w.device());
  }
}

Matrix Spectral::direction(const Batch& batch, const Matrix& X) const {
  if (!batch.balanced) return polar(X, config_.direction.polar);
  if (X.rows() < X.cols()) return aurora_direction(X.t(), config_.direction).t();
  return aurora_direction(X, config_.direction);
}

void Spectral::step(const LearningRates& lr) {
  const double eta = lr.hidden_matrix;
  check_rate(config_.name, eta);
  ++step_;
  for (Batch& batch : batches_) {
    ParamArena::finish_gradients(batch.places);
    const Tensor x = batch.g.like();
    backend(x.device()).momentum(x, batch.m, batch.g, config_.mu, config_.nesterov);
    const Matrix W = batch.w, U = direction(batch, x);
    const double scale =
        std::sqrt(std::max(1.0, static_cast<double>(W.rows()) / static_cast<double>(W.cols())));
    axpby(W, -eta * scale, U, 1 - eta * config_.weight_decay);
    if (diagnosing_) measure(batch, U);
  }
}

void Spectral::measure(Batch& batch, const Matrix& U) const {
  const Matrix E = U.rows() > U.cols() ? U.t() * U : U * U.t();
  backend(U.device()).add_to_diagonal(E.view(), -1, 0);
  batch.error_squares = frobenius_squares(E);
  batch.row_squares = row_sum_squares(U);
}

std::vector<Spectral::Report> Spectral::report() const {
  std::vector<Report> reports;
  for (const Batch& batch : batches_) {
    if (!batch.row_squares) continue;
    const std::vector<double> squares = batch.row_squares.to_vector<double>();
    const std::vector<double> errors = batch.error_squares.to_vector<double>();
    const int64_t rows = batch.w.size(1), small = std::min(rows, batch.w.size(2));
    size_t matrix = 0;
    for (const ParamArena::Place& place : batch.places) {
      for (int64_t b = 0; b < place.param.blocks; ++b, ++matrix) {
        const double* square = &squares[matrix * static_cast<size_t>(rows)];
        // Population variance of lengths = mean square − squared mean, taken about the mean.
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < rows; ++i) mean += std::sqrt(square[i]) / static_cast<double>(rows);
        for (int64_t i = 0; i < rows; ++i)
          variance += std::pow(std::sqrt(square[i]) - mean, 2) / static_cast<double>(rows);
        reports.push_back({.name = block_name(place.param, b),
                           .row_norm_cv = mean > 0 ? std::sqrt(variance) / mean : 0,
                           .polar_error = std::sqrt(errors[matrix] / static_cast<double>(small))});
      }
    }
  }
  return reports;
}

OptimizerState Spectral::state() const {
  OptimizerState state{.step = step_};
  for (const Batch& batch : batches_)
    for (const ParamArena::Place& place : batch.places)
      state.tensors[place.param.name + "/momentum"] =
          batch.m.flat_view(place.first - batch.places.front().first, place.param.var.shape());
  return state;
}

void Spectral::load_state(const OptimizerState& saved) {
  restore(config_.name, state(), saved);
  step_ = saved.step;
}

}  // namespace borealis
