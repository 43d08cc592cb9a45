// One optimizer step by method. AdamW steps all parameters, a spectral method the hidden matrices.
#include <functional>
#include <memory>

#include "nn/gpt.h"
#include "optim/adamw.h"
#include "optim/spectral.h"
#include "tests/bench/bench.h"

namespace borealis::bench {

namespace {

Work spectral_work(const ParamArena& arena, const SpectralConfig& c) {
  double flops = 0;
  for (const ParamArena::Place& place : arena.places()) {
    if (!is_hidden_matrix(place.param)) continue;
    flops += static_cast<double>(place.param.blocks) * spectral_flops(c, place.block_rows(), place.cols());
  }
  return {.flops = flops};
}

// Reads w, g, m, v and writes w, m, v.
Work adamw_work(const ParamArena& arena) {
  return {.bytes = 7 * sizeof(float) * static_cast<double>(arena.values().numel())};
}

using Make = std::function<std::pair<std::unique_ptr<Part>, Work>(const ParamArena&)>;

void add(const std::string& preset, const std::string& name, const Make& make) {
  add_row("optim/" + preset + "/" + name, [=](benchmark::State& state) {
    const TrainOptions o = preset_options(preset, "adamw");
    Rng rng(o.seed);
    const Gpt model(o.model, rng);
    const ParamArena arena(model.parameters());
    const Tensor ids({1, o.model.block_size}, DType::i32);
    for (int64_t i = 0; i < ids.numel(); ++i) ids.data<int32_t>()[i] = static_cast<int32_t>(rng.below(o.model.vocab));
    model.loss(ids, ids).backward();  // some gradient, the same in each step

    const auto [optimizer, work] = make(arena);
    // All the work is done at a rate of 0 too, and nothing drifts.
    time_row(state, work, [&, &step = *optimizer] { step.step(0.0); });
  })->Unit(benchmark::kMillisecond);
}

void add_spectral(const std::string& preset, const std::string& name, SpectralConfig config, Polar polar) {
  config.direction.polar = polar;
  add(preset, name + "/" + borealis::name(polar), [config](const ParamArena& arena) {
    return std::pair(std::make_unique<Spectral>(arena, config), spectral_work(arena, config));
  });
}

}  // namespace

void add_optimizer_rows() {
  for (const std::string preset : presets) {
    add(preset, "adamw",
        [](const ParamArena& arena) { return std::pair(std::make_unique<AdamW>(arena), adamw_work(arena)); });
    for (const Polar polar : {Polar::quintic5, Polar::cans12, Polar::polar_express8})
      add_spectral(preset, "muon", muon(), polar);
    for (const Balance balance : {Balance::published, Balance::leverage})
      for (const int K : {2, 3})
        for (const Polar polar : {Polar::cans12, Polar::polar_express8}) {
          SpectralConfig config = aurora();
          config.direction.balance = balance;
          config.direction.pp_iterations = K;
          add_spectral(preset, std::string("aurora_") + name(balance) + std::to_string(K), config, polar);
        }
  }
}

}  // namespace borealis::bench
