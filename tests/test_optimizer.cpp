// The whole optimizer in a user's hand: who steps what, at which rates, and what a wrong wiring
// says.
#include <doctest/doctest.h>

#include "nn/gpt.h"
#include "optim/optimizer.h"
#include "tests/compare.h"
#include "tests/refusal.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr Role roles[] = {Role::hidden_matrix, Role::embedding, Role::head, Role::vector};

}  // namespace

TEST_CASE("optimizer: a row's settings, its companion's and the rates of both") {
  const OptimizerConfig adamw = optimizer_config("adamw");
  CHECK_FALSE(adamw.matrices);
  for (const Role role : roles) CHECK(adamw.rates.of(role) == 1e-3);
  CHECK(adamw.adamw.weight_decay == 0.1);
  for (const SpectralMethod& row : spectral_methods()) {
    INFO(row.key);
    const OptimizerConfig c = optimizer_config(row.key);
    REQUIRE(c.matrices);
    CHECK(stages(*c.matrices) == stages(row.config));
    CHECK(c.rates.hidden_matrix == row.lr);
    for (const Role role : {Role::embedding, Role::head, Role::vector}) CHECK(c.rates.of(role) == row.rest.lr);
    CHECK(c.adamw.beta1 == row.rest.beta1);
    CHECK(c.adamw.beta2 == row.rest.beta2);
    CHECK(c.adamw.weight_decay == 0);
  }
  CHECK(optimizer_config("muon,mu=0.5").matrices->mu == 0.5);
  CHECK(says(refusal([] { optimizer_config("adam"); }), "'adam'"));
}

TEST_CASE("optimizer: one object steps as its parts do by hand") {
  for (const std::string method : {"adamw", "aurora", "normuon"}) {
    INFO(method);
    const ParamList one = small_model(), other = small_model();
    Optimizer whole(one, method);
    const OptimizerConfig c = optimizer_config(method);
    const ParamArena arena(other);
    std::optional<Spectral> matrices;
    if (c.matrices) matrices.emplace(arena, *c.matrices);
    AdamW rest(arena, c.adamw, c.matrices ? is_other : is_any);
    arena.check_all_claimed();
    for (uint64_t step = 1; step <= 3; ++step) {
      set_gradients(one, step), set_gradients(other, step);
      const Tensor norm = clip_grad_norm(arena, 0.5);
      CHECK(same_bytes(whole.clip(0.5), norm));
      whole.step(0.25);
      if (matrices) matrices->step(c.rates * 0.25);
      rest.step(c.rates * 0.25);
      whole.zero_grad(), arena.zero_grad();
    }
    CHECK(same_bytes(whole.arena().values(), arena.values()));
    CHECK(whole.state().step == 3);
    CHECK(whole.state().tensors.size() ==
          rest.state().tensors.size() + (matrices ? matrices->state().tensors.size() : 0));
  }
}

TEST_CASE("optimizer: from the first step on whose gradient is not finite nothing changes any more") {
  for (const Device device : available_devices())
    for (const std::string method : {"adamw", "aurora", "muon"})
      for (const bool clips : {true, false}) {
        INFO(method, " on ", device.index, device == Device{} ? " cpu" : " cuda");
        const ParamList list = small_model();
        for (const Parameter& p : list) p.var.assign(p.var.value().to(device));
        Optimizer optimizer(list, method);
        const auto all = [&] {
          std::vector<Tensor> copies{optimizer.arena().values().clone()};
          for (const auto& state : optimizer.state().tensors) copies.push_back(state.second.clone());
          return copies;
        };
        const auto step = [&](uint64_t number) {
          set_gradients(list, number);
          if (number == 2) list[3].var.grad().rows(0, 1).fill(std::numeric_limits<double>::infinity());
          if (clips) optimizer.clip(1);
          optimizer.step(0.5);
          optimizer.zero_grad();
        };
        const std::vector<Tensor> fresh = all();
        step(1);
        CHECK(optimizer.stopped_at() == 0);
        const OptimizerState saved = optimizer.state();
        const std::vector<Tensor> before = all();
        CHECK(!same_bytes(before[0], fresh[0]));
        step(2), step(3);
        const std::vector<Tensor> after = all();
        CHECK(optimizer.stopped_at() == 2);
        for (size_t i = 0; i < before.size(); ++i) CHECK(same_bytes(before[i], after[i]));

        optimizer.load_state({.step = 1, .tensors = optimizer.state().tensors}, "here");
        CHECK(optimizer.stopped_at() == 0);
        step(4);
        CHECK(!same_bytes(all()[0], before[0]));
        optimizer.expect_finite(Tensor::full({}, std::numeric_limits<double>::quiet_NaN(), DType::f32, device));
        CHECK(optimizer.stopped_at() == 3);
      }
}

TEST_CASE("optimizer: a factor multiplies every rate, and 1 is none") {
  const ParamList one = small_model(), other = small_model();
  OptimizerConfig c = optimizer_config("muon"), half = c;
  c.rates = {0.04, 0.03, 0.02, 0.01}, half.rates = {0.02, 0.015, 0.01, 0.005};
  Optimizer a(one, c), b(other, half);
  set_gradients(one, 1), set_gradients(other, 1);
  a.step(0.5), b.step();
  CHECK(same_bytes(a.arena().values(), b.arena().values()));
}

TEST_CASE("optimizer: each parameter has exactly one that steps it") {
  const ParamList list = small_model();
  {
    const ParamArena arena(list);
    const char* const frozen =
        " is stepped by no part, so it would never be trained; give it to one, as with "
        "is_hidden_matrix and is_other";
    const Spectral matrices(arena, muon());
    CHECK(refusal([&] { arena.check_all_claimed(); }) == "optimizer: 'embed'" + std::string(frozen));
    const AdamW rest(arena, {}, is_other);
    CHECK_NOTHROW(arena.check_all_claimed());
  }
  const Optimizer first(list, "aurora");
  CHECK(refusal([&] { Optimizer second(list, "adamw"); }) ==
        "AdamW: 'h.0.out' is stepped by Aurora already; say which parameters each optimizer takes, "
        "as "
        "with is_hidden_matrix and is_other");
}

TEST_CASE("optimizer: a saved state that is not its own names the file and changes nothing") {
  const ParamList list = small_model(), other = small_model();
  Optimizer a(list, "aurora"), b(other, "aurora");
  set_gradients(list, 1);
  a.step();
  const auto refused = [&](const OptimizerState& saved, const std::string& fault) {
    const Tensor before = b.state().tensors.begin()->second.clone();
    try {
      b.load_state(saved, "FILE");
      FAIL("accepted");
    } catch (const std::runtime_error& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).starts_with("FILE: "));
      CHECK(says(e.what(), fault));
    }
    CHECK(same_bytes(b.state().tensors.begin()->second, before));
    CHECK(b.state().step == 0);
  };
  OptimizerState saved = a.state();
  saved.tensors.erase(saved.tensors.begin());
  refused(saved, "the saved state has no '");
  saved = a.state();
  saved.tensors["more"] = Tensor::zeros({1});
  refused(saved, "'more', which this optimizer does not keep");
  saved = a.state();
  Tensor& last = saved.tensors.rbegin()->second;
  last = Tensor::full(last.shape(), std::nan(""));
  refused(saved, "holds NaN or infinity");
  saved = a.state();
  saved.step = -1;
  refused(saved, "the saved state is at step -1");
  b.load_state(a.state(), "FILE");
  CHECK(b.state().step == 1);
}

TEST_CASE("gpt: dropout without a generator is refused in training, and off in evaluation") {
  GptConfig c = GptConfig::gpt2();
  c.vocab = 5, c.n_layer = 1, c.n_head = 1, c.n_embd = 4, c.block_size = 3, c.dropout = 0.5;
  Rng rng(1);
  const Gpt model(c, rng);
  const Tensor ids = Tensor::zeros({1, 3}, DType::i32);
  CHECK(refusal([&] { model.loss(ids, ids); }) ==
        "gpt: the model has dropout 0.5, but loss() was given no generator to draw masks from; "
        "pass an "
        "Rng to train, or evaluate under NoGrad");
  CHECK_NOTHROW(model.loss(ids, ids, &rng));
  const NoGrad off;
  CHECK(model.loss(ids, ids).item() == model.loss(ids, ids).item());
}
