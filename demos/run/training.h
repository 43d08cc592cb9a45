// The pieces of a training run that train_gpt puts in order.
#pragma once

#include <optional>

#include "demos/run/checkpoint.h"
#include "demos/run/train_options.h"
#include "nn/gpt.h"
#include "nn/text.h"
#include "optim/optimizer.h"

namespace borealis {

// Independent sequences of random numbers from one seed.
enum class Purpose : uint64_t { weights, batches, dropout, evaluation, sample, probe };
Rng rng_for(uint64_t seed, Purpose purpose, int64_t step = 0);

// The optimizer that a run asks for.
OptimizerConfig optimizer_config(const TrainOptions& o);

// Fails in one sentence if the model, its optimizer and the activations of a batch cannot fit into
// the device's memory: better now than when the system kills the run.
void check_memory(const TrainOptions& o, Device device = {});

// What the schedule multiplies each rate with at a step, counted from 0.
double rate_factor(const TrainOptions& o, int64_t step);

// Whether a validation and a checkpoint are due when this many steps are done.
bool validates_at(const TrainOptions& o, int64_t step);
// Mean loss over eval_iters random batches: nanoGPT's estimate. Nothing when a signal interrupts it
// (demos/run/interrupt.h).
std::optional<double> estimate_loss(const Gpt& model, const TokenStream& data, const TrainOptions& o, int64_t step);
// At least 4096 tokens to look into the network with: the same in every run of these settings.
TokenBatch probe_batch(const TokenStream& data, const TrainOptions& o, Device device = {});
// Mean loss over all consecutive, non-overlapping windows of block_size; nothing when interrupted.
std::optional<double> full_loss(const Gpt& model, const TokenStream& data, int64_t batch_size);

}  // namespace borealis
