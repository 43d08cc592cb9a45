// The pieces of a training run: losses over a text, learning rates, seeds, the two optimizers.
#include <cmath>
#include <optional>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "demos/run/presets.h"
#include "demos/run/progress.h"
#include "demos/run/training.h"
#include "engine/math.h"
#include "engine/safetensors.h"
#include "nn/checkpoint.h"
#include "nn/weights.h"
#include "tests/compare.h"
#include "tests/near.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

TrainOptions tiny_options(const std::string& optimizer = "adamw") {
  TrainOptions o = preset_options("nano", "gpt2", optimizer);
  o.model.vocab = 7;
  o.model.block_size = 6;
  o.model.n_layer = 1;
  o.model.n_head = 2;
  o.model.n_embd = 8;
  o.batch_size = 3;
  o.eval_iters = 4;
  return o;
}

// Tokens that are harder to guess in places, so that windows differ in loss.
TokenStream stream(int64_t size) {
  std::vector<int32_t> tokens;
  Rng rng(2);
  for (int64_t i = 0; i < size; ++i) tokens.push_back(static_cast<int32_t>(rng.below(i < size / 2 ? 2 : 7)));
  return TokenStream(tokens);
}

// With weights large enough that the losses of two windows differ.
Gpt model_of(const TrainOptions& o) {
  Rng rng(1);
  Gpt model(o.model, rng);
  for (const Parameter& p : model.parameters())
    if (p.role != Role::vector) p.var.value().copy_from(rng.normal(p.var.shape(), 0.5, DType::f32));
  return model;
}

// What is there, or nothing at all.
double number(const std::optional<double>& x) {
  REQUIRE(x);
  return *x;
}

}  // namespace

TEST_CASE("training: the full loss is the mean over all windows, for any batch size") {
  const TrainOptions o = tiny_options();
  const Gpt model = model_of(o);
  for (const int64_t size : {67, 66, 72}) {  // 11, 10 and 11 windows
    const TokenStream data = stream(size);
    const int64_t windows = (size - 1) / 6;
    CHECK(data.window_count(6) == windows);
    double sum = 0;
    const NoGrad off;
    for (int64_t i = 0; i < windows; ++i) {
      const TokenBatch b = data.windows(i, 1, 6);
      sum += model.loss(b.inputs, b.targets).item();
    }
    for (const int64_t batch : {1, 2, 3, 4, 5, 11, 12, 100}) {
      INFO(size, " tokens, batches of ", batch);
      CHECK(number(full_loss(model, data, batch)) == near(sum / static_cast<double>(windows)).epsilon(1e-6));
    }
  }
}

TEST_CASE("training: the estimate is the mean over eval_iters random batches of this step") {
  const TrainOptions o = tiny_options();
  const Gpt model = model_of(o);
  const TokenStream data = stream(100);
  const auto expected = [&](int64_t step) {
    Rng rng = rng_for(o.seed, Purpose::evaluation, step);
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      const TokenBatch b = data.random_batch(3, 6, rng);
      CHECK(b.inputs.shape() == Shape{3, 6});
      sum += model.loss(b.inputs, b.targets).item();
    }
    return sum / 4;
  };
  CHECK(number(estimate_loss(model, data, o, 5)) == expected(5));
  CHECK(estimate_loss(model, data, o, 5) != estimate_loss(model, data, o, 6));
  for (const Parameter& p : model.parameters()) CHECK(!p.var.grad());
}

TEST_CASE("training: a seed, a purpose and a step each make numbers of their own") {
  const auto first = [](Rng rng) { return rng.below(int64_t{1} << 31); };
  std::vector<int64_t> numbers;
  for (const uint64_t seed : {1u, 2u})
    for (const Purpose purpose :
         {Purpose::weights, Purpose::batches, Purpose::dropout, Purpose::evaluation, Purpose::sample, Purpose::probe})
      for (const int64_t step : {0, 1, 2}) numbers.push_back(first(rng_for(seed, purpose, step)));
  for (size_t i = 0; i < numbers.size(); ++i)
    for (size_t j = 0; j < i; ++j) CHECK(numbers[i] != numbers[j]);
  CHECK(first(rng_for(1, Purpose::sample, 2)) == first(rng_for(1, Purpose::sample, 2)));
  CHECK(first(rng_for(1, Purpose::weights)) == first(rng_for(1, Purpose::weights, 0)));
}

TEST_CASE("training: the probe holds at least 4096 tokens and is the same each time") {
  TrainOptions o = tiny_options();
  const TokenStream data = stream(3000);
  for (const auto& [T, rows] : {std::pair<int64_t, int64_t>{6, 683}, {64, 64}, {4095, 2}})
    if (T < 3000) {
      o.model.block_size = T;
      const TokenBatch a = probe_batch(data, o), b = probe_batch(data, o);
      CHECK(a.inputs.shape() == Shape{rows, T});
      CHECK(same_bytes(a.inputs, b.inputs));
      CHECK(same_bytes(a.targets, b.targets));
    }
}

TEST_CASE("training: learning rates warm up, fall to the lowest, and each role has its own") {
  TrainOptions o = tiny_options();
  o.learning_rate = 0.5;
  o.embed_lr = 0.25, o.head_lr = 2, o.vector_lr = 1;
  o.min_lr = 0.05;
  o.warmup_iters = 9, o.max_iters = 100, o.lr_decay_iters = 100;
  const auto rates_at = [&](int64_t step) { return optimizer_config(o).rates * rate_factor(o, step); };
  const auto hidden = [&](int64_t step) { return rates_at(step).of(Role::hidden_matrix); };
  CHECK(hidden(0) == near(0.05));
  CHECK(hidden(4) == near(0.25));
  CHECK(hidden(9) == near(0.5));
  CHECK(hidden(100) == near(0.05));
  CHECK(hidden(1000) == near(0.05));
  const LearningRates at9 = rates_at(9), end = rates_at(100);
  CHECK(at9.of(Role::embedding) == near(0.25));
  CHECK(at9.of(Role::head) == near(2));
  CHECK(at9.of(Role::vector) == near(1));
  CHECK(end.of(Role::head) == near(0.2));  // the same tenth of its own rate

  o.schedule = Schedule::linear;
  CHECK(hidden(0) == near(0.05));
  CHECK(hidden(30) == near(0.5));
  CHECK(hidden(65) == near(0.25));
  CHECK(hidden(99) == near(0.05));  // not below min_lr
  o.min_lr = 0;
  CHECK(hidden(99) == near(0.5 / 70));
  CHECK(hidden(100) == 0);

  o.optimizer = "muon", o.matrix_lr = 0.02;
  CHECK(hidden(30) == near(0.02));
  o.learning_rate = 0;
  CHECK(std::isfinite(hidden(30)));
  o.learning_rate = 0.1, o.min_lr = 1;  // a lowest rate above the rate raises nothing
  CHECK(hidden(100) == near(0.02));
}

TEST_CASE("training: AdamW alone steps all, beside a spectral optimizer it steps the rest") {
  for (const std::string optimizer : {"adamw", "muon"}) {
    TrainOptions o = tiny_options(optimizer);
    o.weight_decay = 0.5;
    const Gpt model = model_of(o);
    OptimizerConfig config = optimizer_config(o);
    config.rates = 0.1;
    Optimizer both(model.parameters(), config);
    CHECK((both.spectral() != nullptr) == (optimizer == "muon"));
    std::vector<Tensor> before;
    for (const Parameter& p : model.parameters()) {
      before.push_back(p.var.value().clone());
      p.var.set_grad(Tensor::zeros(p.var.shape()));
    }
    both.step();
    size_t i = 0;
    for (const Parameter& p : model.parameters()) {
      // Without a gradient only decay moves a weight: AdamW's on matrices and tables when it is
      // alone, the spectral optimizer's on hidden matrices.
      INFO(optimizer, " ", p.name);
      const bool decays = optimizer == "adamw" ? p.role != Role::vector : p.role == Role::hidden_matrix;
      CHECK(relative_error(p.var.value(), affine(before[i++], decays ? 0.95 : 1, 0)) < 1e-6);
    }
  }
}

TEST_CASE("training: optimizers go on from their saved state to the same bytes") {
  for (const std::string optimizer : {"adamw", "aurora"}) {
    const TrainOptions o = tiny_options(optimizer);
    const Gpt model = model_of(o), other = model_of(o);
    const TokenStream data = stream(100);
    Optimizer a(model.parameters(), optimizer_config(o));
    const auto step = [&](const Gpt& m, Optimizer& with, uint64_t seed) {
      Rng rng(seed);
      const TokenBatch batch = data.random_batch(3, 6, rng);
      m.loss(batch.inputs, batch.targets).backward();
      with.step(10);
      with.zero_grad();
    };
    for (uint64_t i = 0; i < 3; ++i) step(model, a, i);
    Optimizer b(other.parameters(), optimizer_config(o));
    b.load_state(a.state(), "FILE");
    b.arena().values().copy_from(a.arena().values());
    for (uint64_t i = 3; i < 5; ++i) step(model, a, i), step(other, b, i);
    CHECK(same_bytes(a.arena().values(), b.arena().values()));
  }
}

TEST_CASE("training: a run that does not fit into memory is refused before it starts") {
  TrainOptions o = tiny_options();
  CHECK_NOTHROW(check_memory(o));
  o.batch_size = 1000000000;
  CHECK_THROWS(check_memory(o));
  // 1640 numbers of weights, three times; 18 tokens of 2 (8·8 + 2·32) + 7 numbers; 4 bytes each.
  o = tiny_options();
  o.model.n_layer = 2;
  const size_t cap = pool(Device{}).cap();
  pool(Device{}).set_cap(4 * (3 * 1640 + 18 * 263));
  CHECK_NOTHROW(check_memory(o));
  pool(Device{}).set_cap(4 * (3 * 1640 + 18 * 263) - 1);
  CHECK_THROWS(check_memory(o));
  o.batch_size = 800'000;  // 4.7 GiB
  pool(Device{}).set_cap(size_t{7} << 29);
  CHECK_THROWS_WITH(check_memory(o), doctest::Contains("needs about 5 GiB of memory, but cpu has 3; use"));
  pool(Device{}).set_cap(0);  // not known
  CHECK_NOTHROW(check_memory(o));
  pool(Device{}).set_cap(cap);
  o = tiny_options();
  o.model.n_head = 5;
  CHECK_THROWS(check_memory(o));  // no model at all
}

TEST_CASE("training: a checkpoint brings back every part of a run") {
  const Folder f;
  const TrainOptions o = tiny_options("muon");
  const Gpt model = model_of(o);
  const Optimizer optimizer(model.parameters(), optimizer_config(o));
  const Checkpoint c{.options = o,
                     .step = 41,
                     .vocabulary = Vocabulary("\n\"abc\x80\xff"),
                     .fingerprint = UINT64_MAX - 1,
                     .weights = to_file(model.parameters()),
                     .optimizer = optimizer.state().tensors};
  write_checkpoint(f / "ckpt", c);
  const Checkpoint back = read_checkpoint(f / "ckpt");
  CHECK(to_json(back.options) == to_json(o));
  CHECK(back.step == 41);
  CHECK(back.vocabulary.pieces() == c.vocabulary.pieces());
  CHECK(back.fingerprint == c.fingerprint);
  for (const auto& [got, expected] : {std::pair{&back.weights, &c.weights}, {&back.optimizer, &c.optimizer}}) {
    REQUIRE(got->size() == expected->size());
    for (const auto& t : *expected) CHECK_MESSAGE(same_bytes(got->at(t.first), t.second), t.first);
  }
  for (const char* text : {"abcdef", "abcdefgh"}) {  // one less, one more than the model's
    Checkpoint other = c;
    other.vocabulary = Vocabulary(std::string_view(text));
    write_checkpoint(f / "other", other);
    CHECK_THROWS_AS(read_checkpoint(f / "other"), std::runtime_error);
  }
}

TEST_CASE("training: a saved model's settings have these names") {
  const Folder f;
  const Gpt model = model_of(tiny_options());
  save(f / "model", model, Vocabulary("abcdefg"));
  const auto settings = nlohmann::json::parse(read_safetensors(f / "model").metadata.at("options"));
  std::string names;
  for (const auto& setting : settings.items()) names += setting.key() + ' ';
  CHECK(names ==
        "attention_scale bias block_size dropout logit_cap mlp mlp_expansion n_embd n_head n_layer norm "
        "norm_after_embedding norm_eps position qk_norm style tied vocab ");
}

TEST_CASE("training: durations as a person reads them") {
  CHECK(duration(0) == "0:00");
  CHECK(duration(7.49) == "0:07");
  CHECK(duration(59.5) == "1:00");
  CHECK(duration(125) == "2:05");
  CHECK(duration(3599.4) == "59:59");
  CHECK(duration(3599.5) == "1:00:00");
  CHECK(duration(3723) == "1:02:03");
  CHECK(duration(100 * 3600.0) == "100:00:00");
}
