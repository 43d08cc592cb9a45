// The nano preset learns on the device what it learns on the CPU, and Aurora evens out its rows there.
#include <algorithm>
#include <cmath>

#include "demos/run/default_text.h"
#include "demos/run/training.h"
#include "tests/gpu/rows.h"
#include "tests/matrices.h"

namespace borealis::gpu {

namespace {

struct Curve {
  std::vector<double> losses = {};
  double variation = 0;  // of the lengths of a tall update's rows, standard deviation / mean, at most, after step 10
};

Curve train(const TrainOptions& o, const TokenStream& text, Device device) {
  Rng weights = rng_for(o.seed, Purpose::weights);
  const Gpt model(o.model, weights, DType::f32, device);
  Optimizer optimizer(model.parameters(), optimizer_config(o));
  Curve curve;
  const auto look = [&](const Update& update) {
    for (int64_t i = 0; i < update.U.size(0); ++i) {
      const Matrix U = Matrix(update.U).at(i);
      if (U.rows() > U.cols()) curve.variation = std::max(curve.variation, row_cv(U));
    }
  };
  for (int64_t step = 0; step < o.max_iters; ++step) {
    Rng batches = rng_for(o.seed, Purpose::batches, step);
    const TokenBatch batch = text.random_batch(o.batch_size, o.model.block_size, batches, device);
    const Var loss = model.loss(batch.inputs, batch.targets);
    loss.backward();
    optimizer.clip(o.grad_clip);
    if (optimizer.spectral() && step >= 10 && step % 10 == 0) optimizer.spectral()->observe(look);
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
    o.max_iters = stand_in ? 100 : 200;
    if (stand_in)
      o.model.n_layer = 2, o.model.n_head = 2, o.model.n_embd = 32, o.model.block_size = 16, o.batch_size = 4;
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
    if (method != "aurora") continue;
    // 0.08 is nano's: matrices as small as the stand-in's vary more, on the CPU as well.
    const std::string beside = "on the CPU " + std::to_string(cpu.variation);
    if (stand_in)
      at_most(method + ", row-norm variations apart", std::abs(here.variation - cpu.variation), 1e-3, beside);
    else
      at_most(method + ", row-norm variation at most", here.variation, 0.08, beside);
  }
}

}  // namespace borealis::gpu
