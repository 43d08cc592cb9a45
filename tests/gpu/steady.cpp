// From the third step on a step waits for nothing and asks the system for no memory; how many kernels it launches.
#include <algorithm>

#include "demos/run/training.h"
#include "engine/backend.h"
#include "tests/gpu/rows.h"

namespace borealis::gpu {

namespace {

void look(const std::string& title, const TrainOptions& o, Device device) {
  Backend& on = backend(device);
  Rng rng = rng_for(o.seed, Purpose::weights), batches = rng_for(o.seed, Purpose::batches);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 1 << 14; ++i) tokens.push_back(static_cast<int32_t>(batches.below(o.model.vocab)));
  const TokenStream text(std::move(tokens));
  const Gpt model(o.model, rng, DType::f32, device);
  Optimizer optimizer(model.parameters(), optimizer_config(o));
  int64_t waits = 0, allocations = 0, launches = 0, copies = 0, others = 0;
  for (int i = 0; i < 5; ++i) {
    const Counters started = on.counters();
    const int64_t allocated = on.pool().system_allocations();
    const TokenBatch batch = text.random_batch(o.batch_size, o.model.block_size, batches, device);
    const Var loss = model.loss(batch.inputs, batch.targets);
    loss.backward();
    optimizer.expect_finite(loss.value());
    optimizer.clip(o.grad_clip);
    optimizer.step(rate_factor(o, i));
    optimizer.zero_grad();
    const Counters now = on.counters();
    if (i >= 2) {
      waits += now.waits - started.waits;
      allocations += on.pool().system_allocations() - allocated;
      if (i > 2 && launches != now.launches - started.launches) ++others;
    }
    launches = now.launches - started.launches, copies = now.copies - started.copies;
    on.synchronize();  // the host does not run ahead: what it finds in its ring of uploads is then the same each time
  }
  at_most(title + ", waits", static_cast<double>(waits), 0);
  at_most(title + ", allocations", static_cast<double>(allocations), 0);
  at_most(title + ", steps with another number of launches", static_cast<double>(others), 0);
  at_most(title + ", a step stopped", static_cast<double>(optimizer.stopped_at()), 0);
  tell(title + ", launches per step", static_cast<double>(launches), "");
  tell(title + ", uploads per step", static_cast<double>(copies), "");
}

}  // namespace

void steady(const Setting& s) {
  for (const std::string preset : {"nano", "gpt2-124m"}) {
    if (s.few && preset == "gpt2-124m") continue;
    for (const std::string method : {"adamw", "muon", "aurora"}) {
      TrainOptions o = preset_of(preset, method);
      if (preset == "gpt2-124m") o.batch_size = 1;
      if (stand_in) {  // launches depend on the width in factors alone, which go by blocks of 64
        o.model.n_embd = (preset == "nano" ? 8 : 4) * o.model.n_head, o.model.block_size = 16;
        o.batch_size = preset == "nano" ? 2 : 1;
        o.model.vocab = std::min<int64_t>(o.model.vocab, 256);
      }
      look(preset + ", " + method, o, s.device);
    }
  }
}

}  // namespace borealis::gpu
