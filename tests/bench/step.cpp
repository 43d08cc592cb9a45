// The whole training step, as train_gpt takes it.
#include <fstream>

#include "demos/run/training.h"
#include "engine/backend.h"
#include "tests/bench/bench.h"

namespace borealis::bench {

namespace {

// Starts a new peak of resident memory at what is resident now (Linux).
void reset_peak_memory() {
  pool(Device{}).trim();
  std::ofstream("/proc/self/clear_refs") << 5;
}

double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "VmHWM:") {
      double kib = 0;
      status >> kib;
      return kib / 1024;
    }
  return 0;
}

TokenStream random_tokens(int64_t count, int64_t vocab) {
  Rng rng(1);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(rng.below(vocab));
  return TokenStream(std::move(tokens));
}

void run(benchmark::State& state, const std::string& preset, const std::string& method, Device device) {
  reset_peak_memory();
  const TrainOptions o = preset_options(preset, method);
  const int64_t T = o.model.block_size, tokens = o.batch_size * T;
  const TokenStream text = random_tokens(1 << 16, o.model.vocab);
  Rng rng(o.seed);
  const Gpt model(o.model, rng, DType::f32, device);
  Optimizer optimizer(model.parameters(), optimizer_config(o));

  const auto step = [&] {
    const TokenBatch batch = text.random_batch(o.batch_size, T, rng, device);
    const Var loss = model.loss(batch.inputs, batch.targets);
    loss.backward();
    optimizer.clip(o.grad_clip);
    optimizer.step(rate_factor(o, 0));
    optimizer.zero_grad();
    benchmark::DoNotOptimize(loss.value().raw());
  };
  step();  // and a second one in time_row: from the third on no memory is asked for
  time_row(state, {.flops = model.flops_per_token(T) * static_cast<double>(tokens)},
           [&] { step(), backend(device).synchronize(); });
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["peak_MiB"] = peak_memory_mib();
  if (device == Device{}) return;
  const Counters before = backend(device).counters();
  step();
  const Counters after = backend(device).counters();
  state.counters["launches"] = static_cast<double>(after.launches - before.launches);
  state.counters["copies"] = static_cast<double>(after.copies - before.copies);
  state.counters["waits"] = static_cast<double>(after.waits - before.waits);
}

}  // namespace

void add_step_rows() {
  for (const Device device : available_devices())
    for (const std::string preset : presets)
      for (const std::string method : {"adamw", "muon", "aurora"}) {
        if (device.index > 0) continue;
        const std::string where = device == Device{} ? "" : "/cuda";
        add_row("step/" + preset + "/" + method + where, [=](benchmark::State& state) {
          run(state, preset, method, device);
        })->Unit(benchmark::kMillisecond);
      }
}

}  // namespace borealis::bench
