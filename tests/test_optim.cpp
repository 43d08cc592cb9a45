// The arena, clipping, AdamW, schedules, and what all optimizers promise.
#include <limits>
#include <memory>

#include <doctest/doctest.h>

#include "engine/parallel.h"
#include "optim/adamw.h"
#include "optim/param_arena.h"
#include "optim/schedule.h"
#include "optim/spectral.h"
#include "tests/compare.h"
#include "tests/near.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

}  // namespace

// --- arena -----------------------------------------------------------------------------------

TEST_CASE("arena: values and gradients move with their Vars") {
  const ParamList list = small_model();
  set_gradients(list, 1);
  const std::vector<Tensor> before = values(list);
  std::vector<Tensor> grads;
  for (const Parameter& p : list) grads.push_back(p.var.grad().clone());
  const ParamArena arena(list);
  double squares = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    CHECK(same_bytes(list[i].var.value(), before[i]));
    CHECK(same_bytes(list[i].var.grad(), grads[i]));
    CHECK(list[i].var.value().same_storage(arena.values()));
    CHECK(list[i].var.grad().same_storage(arena.grads()));
    squares += frobenius_squares(grads[i].reshape({1, grads[i].numel()})).item();
  }
  // The gaps are zero: the norm of the block is that of the gradients.
  CHECK(clip_grad_norm(arena, 0).item() == near(std::sqrt(squares)).epsilon(1e-6));
}

TEST_CASE("arena: equal block shapes lie side by side") {
  const ParamArena arena(small_model());
  std::vector<std::string> order;
  for (const ParamArena::Place& p : arena.places()) order.push_back(p.param.name);
  CHECK(order == std::vector<std::string>{"h.0.out", "h.0.qkv", "h.1.out", "h.1.qkv", "h.0.down", "h.1.down", "h.0.up",
                                          "h.1.up", "embed", "head", "bias", "h.0.gain", "h.1.gain"});
  for (size_t i = 1; i < 4; ++i)
    CHECK(arena.places()[i].first == arena.places()[i - 1].first + arena.places()[i - 1].numel());
  for (const size_t i : {4u, 6u, 8u, 9u, 10u, 11u}) CHECK(arena.places()[i].first % 64 == 0);
}

TEST_CASE("arena: gradients that did not arrive count as zero") {
  const ParamList list = small_model();
  const ParamArena arena(list);
  set_gradients(list, 1);
  arena.zero_grad();
  for (const Parameter& p : list) CHECK(!p.var.grad());
  const Parameter& up = find(list, "h.0.up");
  up.var.set_grad(Tensor::full(up.var.shape(), 2));
  arena.finish_gradients();
  for (const Parameter& p : list)
    CHECK(same_bytes(p.var.grad(), Tensor::full(p.var.shape(), p.name == "h.0.up" ? 2 : 0, DType::f32)));
  CHECK(clip_grad_norm(arena, 0).item() == near(2 * std::sqrt(32 * 8)));

  // Optimizers see to it themselves: nothing of an older generation is taken.
  set_gradients(list, 2);
  arena.zero_grad();
  const std::vector<Tensor> before = values(list);
  AdamW(arena, {.weight_decay = 0}, is_other).step(1);
  SpectralConfig config = released_aurora();
  config.weight_decay = 0.25;
  Spectral(arena, config).step(4);  // the decay alone makes every weight 0
  for (size_t i = 0; i < list.size(); ++i)
    CHECK(relative_error(list[i].var.value(), affine(before[i], is_hidden_matrix(list[i]) ? 0 : 1, 0)) == 0);
}

TEST_CASE("arena: bad lists") {
  CHECK_THROWS_WITH(ParamArena({}), "arena: there are no parameters");
  const auto w = [](const char* name, DType dtype = DType::f32, int64_t blocks = 1) {
    return parameter(name, {4, 3}, Role::hidden_matrix, dtype, blocks);
  };
  CHECK_THROWS_WITH(ParamArena({w("a"), w("a")}), "arena: two parameters are named 'a'");
  CHECK_THROWS_WITH(ParamArena({w("a"), w("b", DType::f64)}), "arena: 'b' is f64 on cpu, but 'a' is f32 on cpu");
  CHECK_THROWS_WITH(ParamArena({w("a", DType::f32, 3)}),
                    "parameter: 'a' is [4, 3], which has no 3 blocks of equal rows");
  CHECK_THROWS_WITH(ParamArena({parameter("a", {0, 3}, Role::hidden_matrix, DType::f32)}),
                    "arena: 'a' is [0, 3], which has no numbers to train");
  const Parameter first = w("a"), again{.name = "b", .var = first.var};
  CHECK_THROWS_WITH(ParamArena({first, again}), "arena: 'b' is listed a second time under this name");
  CHECK_THROWS_WITH(ParamArena({{.name = "c", .var = Var(Tensor::zeros({2}))}}),
                    "arena: 'c' is not a leaf that wants a gradient");
}

TEST_CASE("clip: by the global norm") {
  for (const DType dtype : floats) {
    const ParamList list = small_model(dtype);
    const ParamArena arena(list);
    set_gradients(list, 1);
    const Tensor before = arena.grads().clone();
    const double norm = clip_grad_norm(arena, 0).item();
    CHECK(same_bytes(arena.grads(), before));
    CHECK(clip_grad_norm(arena, 2 * norm).item() == norm);
    CHECK(same_bytes(arena.grads(), before));
    CHECK(clip_grad_norm(arena, 0.5).item() == norm);
    CHECK(relative_error(arena.grads(), affine(before, 0.5 / (norm + 1e-6), 0)) < (dtype == DType::f64 ? 1e-15 : 1e-6));
    arena.zero_grad();
    CHECK(clip_grad_norm(arena, 1).item() == 0);
    CHECK(all_finite(arena.grads().reshape({1, arena.grads().numel()})));
    CHECK_THROWS_WITH(clip_grad_norm(arena, -1), "clip: the norm to clip at is -1, but must be at least 0");
  }
}

// --- AdamW -----------------------------------------------------------------------------------

TEST_CASE("AdamW: the formula, number by number") {
  const ParamList list = small_model(DType::f64);
  const ParamArena arena(list);
  const AdamWOptions o{.beta1 = .8, .beta2 = .97, .eps = 1e-8, .weight_decay = .3};
  const LearningRates lr{.01, .02, .03, .04};
  AdamW adamw(arena, o);
  std::vector<Tensor> w = values(list), m, v;
  for (const Tensor& t : w) {
    m.push_back(Tensor::zeros(t.shape(), DType::f64));
    v.push_back(Tensor::zeros(t.shape(), DType::f64));
  }
  for (int t = 1; t <= 4; ++t) {
    set_gradients(list, static_cast<uint64_t>(t));
    adamw.step(lr);
    for (size_t p = 0; p < list.size(); ++p) {
      const double rate = lr.of(list[p].role), decay = w[p].shape().rank() > 1 ? .3 : 0;
      for (int64_t i = 0; i < w[p].numel(); ++i) {
        const double g = list[p].var.grad().data<double>()[i];
        double &wi = w[p].data<double>()[i], &mi = m[p].data<double>()[i], &vi = v[p].data<double>()[i];
        mi = o.beta1 * mi + (1 - o.beta1) * g;
        vi = o.beta2 * vi + (1 - o.beta2) * g * g;
        const double mhat = mi / (1 - std::pow(o.beta1, t)), vhat = vi / (1 - std::pow(o.beta2, t));
        wi -= rate * decay * wi;
        wi -= rate * mhat / (std::sqrt(vhat) + o.eps);
      }
      CHECK(relative_error(list[p].var.value(), w[p]) < 1e-14);
    }
  }
}

TEST_CASE("AdamW: without memory it is sign descent") {
  const Single one({7, 5}, DType::f64);
  const Tensor before = one.w().clone();
  set_gradients(one.list, 1);
  AdamW(one.arena, {.beta1 = 0, .beta2 = 0, .eps = 1e-30, .weight_decay = 0}).step(.125);
  for (int64_t i = 0; i < 35; ++i) {
    const double g = one.list[0].var.grad().data<double>()[i];
    CHECK(one.w().data<double>()[i] == near(before.data<double>()[i] - std::copysign(.125, g)).epsilon(1e-14));
  }
}

TEST_CASE("AdamW: takes only what it is given") {
  const ParamList list = small_model();
  const ParamArena arena(list);
  set_gradients(list, 1);
  const std::vector<Tensor> before = values(list);
  AdamW adamw(arena, {}, [](const Parameter& p) { return p.name != "head"; });
  adamw.step(.1);
  for (size_t i = 0; i < list.size(); ++i)
    CHECK(same_bytes(list[i].var.value(), before[i]) == (list[i].name == "head"));
  CHECK(adamw.state().tensors.count("head/m") == 0);
}

TEST_CASE("AdamW: leaves out what lies between two that it takes") {
  const ParamList list = small_model();  // bias, h.0.gain, h.1.gain lie side by side
  const ParamArena arena(list);
  set_gradients(list, 2);
  const std::vector<Tensor> now = values(list);
  AdamW(arena, {}, [](const Parameter& p) { return p.name != "h.0.gain"; }).step(.1);
  for (size_t i = 0; i < list.size(); ++i)
    CHECK(same_bytes(list[i].var.value(), now[i]) == (list[i].name == "h.0.gain"));
}

TEST_CASE("AdamW: bad settings") {
  const ParamArena arena(small_model());
  CHECK_THROWS_WITH(AdamW(arena, {.beta1 = 1}), "AdamW: beta1 is 1 and beta2 0.95, but both must lie in [0, 1)");
  CHECK_THROWS_WITH(AdamW(arena, {.eps = 0}), "AdamW: eps is 0, but must be above 0");
  CHECK_THROWS_WITH(AdamW(arena, {.weight_decay = -1}),
                    "AdamW: the weight decay is -1, but it must be a number of at least 0");
  AdamW adamw(arena);
  CHECK_THROWS_WITH(adamw.step(std::numeric_limits<double>::quiet_NaN()),
                    "AdamW: the learning rate is nan, but it must be a number of at least 0");
  CHECK_THROWS_WITH(adamw.step(LearningRates(0, 0, -2, 0)),
                    "AdamW: the learning rate is -2, but it must be a number of at least 0");
  CHECK(adamw.state().step == 0);
}

// --- state, order, threads -------------------------------------------------------------------

TEST_CASE("optimizers: continue from a saved state to the bit, in any order") {
  const auto run = [](const ParamList& list, bool spectral, uint64_t first, uint64_t last, const OptimizerState* from) {
    const ParamArena arena(list);
    std::unique_ptr<Part> optimizer;
    if (spectral)
      optimizer = std::make_unique<Spectral>(arena, released_aurora());
    else
      optimizer = std::make_unique<AdamW>(arena);
    if (from) optimizer->load_state(*from);
    for (uint64_t t = first; t <= last; ++t) {
      set_gradients(list, t);
      clip_grad_norm(arena, 1);
      optimizer->step(.03);
    }
    return optimizer->state();
  };
  for (const bool spectral : {false, true}) {
    const ParamList whole = small_model(), half = small_model();
    const OptimizerState end = run(whole, spectral, 1, 6, nullptr);
    const OptimizerState middle = run(half, spectral, 1, 3, nullptr);
    ParamList resumed(half.rbegin(), half.rend());
    const OptimizerState again = run(resumed, spectral, 4, 6, &middle);
    CHECK(again.step == 6);
    REQUIRE(again.tensors.size() == end.tensors.size());
    for (const auto& [key, tensor] : end.tensors) CHECK(same_bytes(again.tensors.at(key), tensor));
    for (const Parameter& p : whole) CHECK(same_bytes(find(resumed, p.name).var.value(), p.var.value()));
  }
}

TEST_CASE("optimizers: a state that does not fit changes nothing") {
  const ParamList list = small_model();
  const ParamArena arena(list);
  AdamW adamw(arena, {}, is_other);
  Spectral spectral(arena, muon());
  CHECK_THROWS_WITH(spectral.load_state(adamw.state()),
                    "Muon: the saved state has no 'h.0.down/momentum'; was it saved by another "
                    "optimizer or model?");
  OptimizerState state{.step = 4};
  for (const auto& [key, tensor] : adamw.state().tensors) state.tensors[key] = Tensor::full(tensor.shape(), 1);
  state.tensors["head/v"] = Tensor::zeros({3});
  CHECK_THROWS_WITH(adamw.load_state(state), "AdamW: 'head/v' is [11, 8], but [3] in the saved state");
  CHECK(adamw.state().step == 0);
  CHECK(adamw.state().tensors.at("bias/m").to_vector<float>()[0] == 0);
}

TEST_CASE("optimizers: the same bytes for any number of threads") {
  const int before = threads();
  const auto run = [](int n) {
    set_threads(n);
    ParamList list{parameter("fc", {300, 96}, Role::hidden_matrix, DType::f32),
                   parameter("qkv", {288, 96}, Role::hidden_matrix, DType::f32, 3),
                   parameter("embed", {999, 96}, Role::embedding, DType::f32)};
    const ParamArena arena(list);
    Spectral aurora_steps(arena, released_aurora());
    AdamW adamw(arena, {}, is_other);
    for (uint64_t t = 1; t <= 2; ++t) {
      set_gradients(list, t);
      clip_grad_norm(arena, 1);
      aurora_steps.step(.02);
      adamw.step(.003);
    }
    return arena.values().clone();
  };
  const Tensor one = run(1);
  for (const int n : {2, 3, 8}) CHECK(same_bytes(run(n), one));
  set_threads(before);
}

// --- schedules -------------------------------------------------------------------------------

TEST_CASE("schedules: warm-up and cosine as nanoGPT has them") {
  const auto lr = [](int64_t step) { return warmup_cosine(step, 100, 2000, 1e-3, 1e-4); };
  CHECK(lr(0) == near(1e-3 / 101));
  CHECK(lr(99) == near(1e-3 * 100 / 101));
  CHECK(lr(100) == 1e-3);
  CHECK(lr(1050) == near(5.5e-4));
  CHECK(lr(575) == near(1e-4 + .5 * (1 + std::sqrt(.5)) * 9e-4));
  CHECK(lr(2000) == 1e-4);
  CHECK(lr(5000) == 1e-4);
  CHECK(warmup_cosine(0, 0, 0, 1, .1) == .1);
}

TEST_CASE("schedules: warm-up, constant, linear to zero") {
  const auto lr = [](int64_t step) { return warmup_linear(step, 4, 100, 2, .7); };
  CHECK(lr(0) == near(2. / 5));
  CHECK(lr(4) == 2);
  CHECK(lr(30) == 2);
  CHECK(lr(65) == near(1));
  CHECK(lr(99) == near(2. / 70));
  CHECK(lr(100) == 0);
  CHECK(lr(200) == 0);
  CHECK(warmup_linear(99, 0, 100, 2, 0) == 2);
}
