#include "optim/spectral.h"

#include <algorithm>
#include <cmath>

#include "engine/math.h"
#include "optim/matrix_stats.h"
#include "optim/stages.h"

namespace borealis {

namespace {

// f(values[index·size + k]) for k < size.
template <class F> std::vector<double> slice_of(const std::vector<double>& values, size_t index, size_t size, F f) {
  std::vector<double> out(size);
  for (size_t k = 0; k < size; ++k) out[k] = f(values[index * size + k]);
  return out;
}

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
    : config_(std::move(config)), claim_(config_.name) {
  check(config_);
  for (const ParamArena::Place& place : arena.places()) {
    const Parameter& p = place.param;
    if (!takes(p)) continue;
    if (p.var.shape().rank() != 2)
      fail(config_.name, ": ", p.name, " is ", p.var.shape(), ", but ", config_.name, " steps matrices only");
    claim_.add(place);
    const bool balanced = balances(config_, place.block_rows(), place.cols(), p.neurons);
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
    if (config_.decay == Decay::hyperball) check_lengths(config_, batch.w, batch.places);
    batch.momentum = momentum_state(config_, batch.w);
    batch.pre = pre_state(config_, batch.w);
    batch.post = post_state(config_, batch.w);
  }
}

Matrix Spectral::direction(const Batch& batch, const Matrix& X) const {
  if (!batch.balanced) return polar(X, config_.direction.polar);
  if (X.rows() >= X.cols()) return aurora_direction(X, config_.direction);
  const Matrix U = X.like();  // a wide matrix is balanced along its columns
  axpby(U, 1, aurora_direction(X.t(), config_.direction).t(), 0);
  return U;
}

void Spectral::step(const LearningRates& lr) {
  const double eta = lr.hidden_matrix;
  check_rate(config_.name, eta);
  claim_.begin_step();
  ++step_;
  for (Batch& batch : batches_) {
    const Tensor X = momentum(config_, batch.g, batch.momentum);
    precondition(config_, X, batch.g, batch.pre);
    const Tensor U = direction(batch, X).tensor().reshape(X.shape());
    if (config_.contra > 0) subtract_input(config_.contra, U, X);
    postcondition(config_, U, X, batch.post, step_);
    if (diagnosing_) measure(batch, X, U);
    apply(config_, batch.w, U, eta);
    if (diagnosing_) {
      batch.measured.update_squares = frobenius_squares(U);
      batch.measured.lr = eta;
    }
  }
}

namespace {

// [batch]: ⟨A, B⟩ of each pair.
Tensor inner_products(const Tensor& A, const Tensor& B) {
  return sum(binary("inner product", BinaryOp::mul, A, B), {1, 2});
}

}  // namespace

void Spectral::measure(Batch& batch, const Tensor& X, const Tensor& u) const {
  const Matrix U = u;
  const bool wide = U.rows() < U.cols();
  const Matrix E = wide ? U * U.t() : U.t() * U;
  backend(U.device()).add_to_diagonal(E.view(), -1, 0);
  const Tensor rows = row_sum_squares(U);
  batch.measured = {.row_squares = rows,
                    .leverage = wide ? row_sum_squares(U.t()) : rows,
                    .error_squares = frobenius_squares(E),
                    .aligned = inner_products(X, u),
                    .nuclear = inner_products(X, polar(X, Polar::cans12).tensor().reshape(X.shape())),
                    .weight_squares = frobenius_squares(batch.w)};
}

std::vector<Spectral::Report> Spectral::report() const {
  std::vector<Report> reports;
  const auto ratio = [](double a, double b) { return b == 0 ? 0 : a / b; };  // NaN stays
  for (const Batch& batch : batches_) {
    if (!batch.measured.row_squares) continue;
    const auto values = [](const Tensor& t) { return t.to_vector<double>(); };
    const Batch::Measured& got = batch.measured;
    const std::vector<double> rows = values(got.row_squares), leverage = values(got.leverage),
                              errors = values(got.error_squares), aligned = values(got.aligned),
                              nuclear = values(got.nuclear), updates = values(got.update_squares),
                              weights = values(got.weight_squares);
    const auto m = static_cast<size_t>(batch.w.size(1)), n = static_cast<size_t>(batch.w.size(2));
    const double scale =
        config_.decay == Decay::hyperball ? 1 : scale_factor(config_, static_cast<double>(m), static_cast<double>(n));
    const std::vector<double> ranks = effective_ranks(batch.w);
    size_t i = 0;  // of the matrix in its batch
    for (const ParamArena::Place& place : batch.places) {
      for (int64_t b = 0; b < place.param.blocks; ++b, ++i) {
        Report r{.name = block_name(place.param, b), .param = place.param, .block = b};
        r.row_norm_cv = variation(slice_of(rows, i, m, [](double s) { return std::sqrt(s); }));
        r.polar_error = std::sqrt(errors[i] / static_cast<double>(std::min(m, n)));
        r.alignment = ratio(aligned[i], nuclear[i]);
        r.update_to_weight = got.lr * scale * std::sqrt(ratio(updates[i], weights[i]));
        r.effective_rank = ranks[i];
        const size_t side = std::max(m, n);
        double mean = 0;
        for (size_t k = 0; k < side; ++k) mean += leverage[i * side + k] / static_cast<double>(side);
        r.leverage = slice_of(leverage, i, side, [&](double h) { return ratio(h, mean); });
        reports.push_back(std::move(r));
      }
    }
  }
  return reports;
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

void Spectral::load_state(const OptimizerState& saved) {
  restore(config_.name, state(), saved);
  step_ = saved.step;
}

}  // namespace borealis
