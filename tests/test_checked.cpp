// What only the checked device can show (BOREALIS_CUDA=checked): that a run on it is the CPU's to the byte.
#include <cmath>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "engine/backend.h"
#include "engine/cpu/poison.h"
#include "nn/gpt.h"
#include "nn/text.h"
#include "optim/optimizer.h"
#include "tests/programs.h"

using namespace borealis;

TEST_CASE("checked device: a run, its evaluation, diagnosis, checkpoint, resume and sample are the CPU's to the byte") {
#ifdef BOREALIS_ASAN  // slow: a part of it
  constexpr bool all = false;
  const std::string first_part = "3 --eval_interval 2 --log_interval 1 --diagnose 2", all_steps = "5";
#else
  constexpr bool all = true;
  const std::string first_part = "30 --eval_interval 20 --log_interval 10 --diagnose 20", all_steps = "50";
#endif
  const Folder folder;
  write(folder / "text", some_text());
  for (const std::string preset : {"nano", "track3-nano"})
    for (const std::string optimizer : {"adamw", "aurora"}) {
      if (!all && (preset == "nano") == (optimizer == "adamw")) continue;
      std::string samples[2];
      for (const std::string device : {"cpu", "cuda"}) {
        const std::string out = folder / (preset + optimizer + device);
        const std::string place = " --data " + (folder / "text") + " --device " + device + " --out_dir " + out;
        INFO(out);
        const Outcome first = run("train_gpt --preset " + preset + " --optimizer " + optimizer + place +
                                  " --eval_iters 2 --max_iters " + first_part);
        INFO(first.text);
        REQUIRE(first.status == 0);
        const Outcome rest = run("train_gpt --init_from resume --max_iters " + all_steps + place);
        INFO(rest.text);
        REQUIRE(rest.status == 0);
        const Outcome sample =
            run("sample_gpt --max_new_tokens 40 --device " + device + " --checkpoint " + out + "/ckpt.safetensors");
        REQUIRE(sample.status == 0);
        samples[device == "cuda"] = sample.text;
      }
      const std::string cpu = folder / (preset + optimizer + "cpu"), cuda = folder / (preset + optimizer + "cuda");
      CHECK(read(cpu + "/ckpt.safetensors") == read(cuda + "/ckpt.safetensors"));
      CHECK(told(cpu) == told(cuda));
      CHECK(samples[0] == samples[1]);
    }
}

TEST_CASE("checked device: from the third step on a step waits for nothing and asks the system for nothing") {
  struct Run {
    int card;
    Style style;
    std::string method;
  };
  std::vector<Run> runs;
  for (const int card : {0, 2})  // the CPU's kernels, and the GPU's
    for (const Style style : {Style::gpt2, Style::modern})
      for (const char* method : {"adamw", "aurora", "muon"}) runs.push_back({card, style, method});
  for (const Run& run : runs) {
    const Device device{Device::Kind::cuda, run.card};
    Backend& on = backend(device);
    INFO(run.method, " on ", device, run.style == Style::gpt2 ? " gpt2" : " modern");
    GptConfig c = run.style == Style::gpt2 ? GptConfig::gpt2() : GptConfig::modern();
    c.vocab = 23, c.block_size = 16, c.n_layer = 2, c.n_head = 2, c.n_embd = 24;
    c.dropout = 0.1;
    Rng rng(2);
    const Gpt model(c, rng, DType::f32, device);
    Optimizer optimizer(model.parameters(), run.method);
    std::vector<int32_t> tokens(500);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * i % 23);
    const TokenStream text(tokens);
    int64_t launches = 0;
    for (int i = 0; i < 6; ++i) {
      const Counters started = on.counters();
      const int64_t allocations = on.pool().system_allocations();
      const TokenBatch batch = text.random_batch(4, 16, rng, device);
      const Var loss = model.loss(batch.inputs, batch.targets, &rng);
      loss.backward();
      optimizer.expect_finite(loss.value());
      optimizer.clip(1);
      optimizer.step(0.5);
      optimizer.zero_grad();
      if (i < 2) continue;
      CHECK(on.counters().waits == started.waits);
      CHECK(on.pool().system_allocations() == allocations);
      const int64_t now = on.counters().launches - started.launches;
      CHECK((launches == 0 || now == launches));
      launches = now;
    }
    CHECK(launches > 50);
  }
}

TEST_CASE("checked device: a number that no table has makes NaN, and is not waited for") {
  for (const Device device : available_devices()) {
    if (device == Device{}) continue;
    const Tensor table = Tensor::full({3, 2}, 1, DType::f32, device), y({2, 2}, DType::f32, device);
    const Tensor ids = Tensor::of<int32_t>({2}, {2, 3}).to(device);
    const int64_t waits = backend(device).counters().waits;
    const Var loss = cross_entropy(embedding(Var::leaf(table), ids), ids);
    loss.backward();
    CHECK(backend(device).counters().waits == waits);
    CHECK(std::isnan(loss.item()));

    // Nor does a step go on from a bad target, whose logits are sound.
    const Var logits = Var::leaf(Tensor::full({2, 3}, 1, DType::f32, device));
    cross_entropy(logits, ids).backward();
    CHECK(std::isfinite(logits.grad().rows(0, 1).to_vector<double>()[0]));
    for (const double g : logits.grad().rows(1, 1).to_vector<double>()) CHECK(std::isnan(g));
  }
}
