// The pieces of a training run that train_gpt puts in order.
#pragma once

#include <memory>
#include <optional>

#include "demos/run/checkpoint.h"
#include "demos/run/text.h"
#include "demos/run/train_options.h"
#include "nn/gpt.h"
#include "optim/adamw.h"
#include "optim/spectral.h"

namespace borealis {

// Independent sequences of random numbers from one seed.
enum class Purpose : uint64_t { weights, batches, dropout, evaluation, sample, probe };
Rng rng_for(uint64_t seed, Purpose purpose, int64_t step = 0);

// The optimizers a run asks for, over one arena: a spectral one for hidden matrices if it asks for
// one, AdamW for the rest.
class Optimizers {
 public:
  Optimizers(const ParamList& params, const TrainOptions& o);

  const ParamArena& arena() const { return arena_; }
  // Null without one.
  Spectral* spectral() { return spectral_.get(); }
  void step(const LearningRates& rates);

  std::map<std::string, Tensor> state() const;
  // `steps`: updates made when the state was saved. Fails naming `source`, the file, on a state
  // that is not exactly this optimizer's, or not finite.
  void load_state(const std::map<std::string, Tensor>& tensors, int64_t steps,
                  const std::string& source);

 private:
  ParamArena arena_;
  std::unique_ptr<Spectral> spectral_;
  AdamW adamw_;
};

// Fails in one sentence if the model, its optimizer and the activations of a batch cannot fit into
// this machine's memory: better now than when the system kills the run.
void check_memory(const TrainOptions& o);

// What each role's learning rate is at a step, counted from 0.
LearningRates learning_rates(const TrainOptions& o, int64_t step);

// Whether a validation and a checkpoint are due when this many steps are done.
bool validates_at(const TrainOptions& o, int64_t step);
// Mean loss over eval_iters random batches: nanoGPT's estimate. Nothing when a signal interrupts it
// (demos/run/interrupt.h).
std::optional<double> estimate_loss(const Gpt& model, const TokenStream& data,
                                    const TrainOptions& o, int64_t step);
// At least 4096 tokens to look into the network with: the same in every run of these settings.
TokenBatch probe_batch(const TokenStream& data, const TrainOptions& o);
// Mean loss over all consecutive, non-overlapping windows of block_size; nothing when interrupted.
std::optional<double> full_loss(const Gpt& model, const TokenStream& data, int64_t batch_size);

}  // namespace borealis
