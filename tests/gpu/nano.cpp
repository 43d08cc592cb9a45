// The nano preset learns on the device what it learns on the CPU, and Aurora evens out its rows there.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "demos/run/default_text.h"
#include "demos/run/training.h"
#include "tests/gpu/rows.h"
#include "tests/matrices.h"

namespace borealis::gpu {

namespace {

struct Curve {
  std::vector<double> losses = {};
  std::vector<double> variations = {};  // of the lengths of tall updates' rows: standard deviation / mean

  double variation() const {  // on average
    return std::accumulate(variations.begin(), variations.end(), 0.0) / static_cast<double>(variations.size());
  }
};

Curve train(const TrainOptions& o, const TokenStream& text, Device device) {
  Rng weights = rng_for(o.seed, Purpose::weights);
  const Gpt model(o.model, weights, DType::f32, device);
  Optimizer optimizer(model.parameters(), optimizer_config(o));
  Curve curve;
  const auto look = [&](const Update& update) {
    for (int64_t i = 0; i < update.U.size(0); ++i) {
      const Matrix U = Matrix(update.U).at(i);
      if (U.rows() > U.cols()) curve.variations.push_back(row_cv(U));
    }
  };
  for (int64_t step = 0; step < o.max_iters; ++step) {
    Rng batches = rng_for(o.seed, Purpose::batches, step);
    const TokenBatch batch = text.random_batch(o.batch_size, o.model.block_size, batches, device);
    const Var loss = model.loss(batch.inputs, batch.targets);
    loss.backward();
    optimizer.clip(o.grad_clip);
    if (optimizer.spectral() && 3 * step >= 2 * o.max_iters && step % 10 == 0) optimizer.spectral()->observe(look);
    optimizer.step(rate_factor(o, step));
    if (optimizer.spectral()) optimizer.spectral()->observe({});
    optimizer.zero_grad();
    curve.losses.push_back(loss.item());
  }
  return curve;
}

}  // namespace

void nano(const Setting& s) {
  for (const std::string method : {"adamw", "aurora"}) {
    TrainOptions o = preset_of("nano", method);
    o.max_iters = !stand_in ? 200 : method == "aurora" ? 100 : 30;
    if (stand_in)
      o.model.n_layer = 1, o.model.n_head = 2, o.model.n_embd = 32, o.model.block_size = 16, o.batch_size = 8;
    const Corpus corpus(default_text(), o.model.block_size, "this project's prose");
    o.model.vocab = corpus.vocabulary.size();
    const Curve here = train(o, corpus.train, s.device), cpu = train(o, corpus.train, {});
    double apart = 0;
    size_t at = 0;
    for (size_t i = 0; i < cpu.losses.size(); ++i)
      if (const double d = std::abs(here.losses[i] - cpu.losses[i]); !(d <= apart)) apart = d, at = i;
    at_most(method + ", losses apart", apart, 1e-3, "at step " + std::to_string(at + 1));
    for (const size_t i : {size_t{0}, cpu.losses.size() / 2, cpu.losses.size() - 1})
      tell(method + ", loss at step " + std::to_string(i + 1), here.losses[i], "nats", cpu.losses[i],
           "beside it the CPU's");
    if (method == "adamw") continue;
    // A narrow model's rows are less even, on the CPU too.
    at_most(method + ", row-norm variation in the last third", here.variation(), stand_in ? 0.12 : 0.08);
    at_most(method + ", that variation against the CPU's", std::abs(here.variation() - cpu.variation()), 0.005,
            "there " + std::to_string(cpu.variation()));
  }
}

}  // namespace borealis::gpu
