#include "demos/run/training.h"

#include <algorithm>
#include <cmath>

#include "demos/run/interrupt.h"
#include "optim/schedule.h"

namespace borealis {

Rng rng_for(uint64_t seed, Purpose purpose, int64_t step) {
  // An odd multiple of the golden ratio keeps neighbouring seeds' keys apart.
  const uint64_t key = seed + static_cast<uint64_t>(purpose) * 0x9E3779B97F4A7C15u;
  return Rng(key, static_cast<uint32_t>(step));
}

OptimizerConfig optimizer_config(const TrainOptions& o) {
  OptimizerConfig c{.adamw = {.beta1 = o.beta1, .beta2 = o.beta2, .weight_decay = o.weight_decay},
                    .rates = {o.learning_rate, o.embed_lr, o.head_lr, o.vector_lr}};
  if (o.spectral()) {
    c.matrices = spectral_config(o);
    c.adamw.weight_decay = 0;  // beside a spectral optimizer nothing else decays
    c.rates.hidden_matrix = o.matrix_lr;
  }
  return c;
}

void check_memory(const TrainOptions& o, Device device) {
  const GptConfig& m = o.model;
  m.check();
  const auto L = static_cast<double>(m.n_layer), C = static_cast<double>(m.n_embd),
             H = static_cast<double>(m.mlp_hidden()), V = static_cast<double>(m.vocab),
             T = static_cast<double>(m.block_size), B = static_cast<double>(o.batch_size);
  // Weights, gradients and at least one state each; the forward pass keeps about 8C + 2H numbers a
  // token and layer, and the logits.
  const double parameters = L * (4 * C * C + 2 * C * H) + (V + T) * C;
  const double needed = 4 * (3 * parameters + B * T * (L * (8 * C + 2 * H) + V));
  const auto there = static_cast<double>(pool(device).cap());
  constexpr double GiB = 1 << 30;
  if (there > 0 && needed > there)
    fail("train_gpt: this run needs about ", std::ceil(needed / GiB), " GiB of memory, but ", device, " has ",
         std::floor(there / GiB), "; use a smaller model or --batch_size");
}

double rate_factor(const TrainOptions& o, int64_t step) {
  const double least = o.learning_rate > 0 ? std::min(1.0, o.min_lr / o.learning_rate) : 0;
  return o.schedule == Schedule::cosine ? warmup_cosine(step, o.warmup_iters, o.lr_decay_iters, 1, least)
                                        : std::max(least, warmup_linear(step, o.warmup_iters, o.lr_decay_iters, 1));
}

bool validates_at(const TrainOptions& o, int64_t step) { return step % o.eval_interval == 0 && step < o.max_iters; }

std::optional<double> estimate_loss(const Gpt& model, const TokenStream& data, const TrainOptions& o, int64_t step) {
  const NoGrad off;
  Rng rng = rng_for(o.seed, Purpose::evaluation, step);
  double sum = 0;
  for (int64_t i = 0; i < o.eval_iters; ++i) {
    if (interruption()) return std::nullopt;
    const TokenBatch b = data.random_batch(o.batch_size, o.model.block_size, rng, model.device());
    sum += model.loss(b.inputs, b.targets).item();
  }
  return sum / static_cast<double>(o.eval_iters);
}

TokenBatch probe_batch(const TokenStream& data, const TrainOptions& o, Device device) {
  Rng rng = rng_for(o.seed, Purpose::probe);
  const int64_t T = o.model.block_size;
  return data.random_batch((4096 + T - 1) / T, T, rng, device);
}

std::optional<double> full_loss(const Gpt& model, const TokenStream& data, int64_t batch_size) {
  const NoGrad off;
  const int64_t T = model.config.block_size, windows = data.window_count(T);
  double sum = 0;
  for (int64_t first = 0; first < windows; first += batch_size) {
    if (interruption()) return std::nullopt;
    const int64_t B = std::min(batch_size, windows - first);
    const TokenBatch b = data.windows(first, B, T, model.device());
    sum += model.loss(b.inputs, b.targets).item() * static_cast<double>(B);
  }
  return sum / static_cast<double>(windows);
}

}  // namespace borealis
