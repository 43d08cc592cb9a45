// Misuse of arenas and optimizers, the order of forward, backward and step, and norms of very large
// gradients.
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "engine/math.h"
#include "optim/adamw.h"
#include "optim/param_arena.h"
#include "optim/spectral.h"
#include "tests/compare.h"
#include "tests/near.h"
#include "tests/refusal.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr const char* moved_out =
    "arena: 'h.0.out' has moved out, to a later arena or by assign(); make one arena for a model, "
    "and its optimizers from that";

Var loss_of(const ParamList& list) {
  Var loss = Tensor::zeros({});
  for (const Parameter& p : list) loss = loss + sum(square(p.var));
  return loss;
}

}  // namespace

TEST_CASE("misuse: two optimizers for one parameter") {
  const ParamList list = small_model();
  const ParamArena arena(list);
  const char* const text =
      "AdamW: 'h.0.out' is stepped by Muon already; say which parameters each optimizer takes, as "
      "with is_hidden_matrix and is_other";
  {
    const Spectral matrices(arena, muon());
    CHECK(refusal([&] { AdamW all(arena); }) == text);
    const AdamW rest(arena, {}, is_other);  // the refused one has let go of what it had
    CHECK(refusal([&] { Spectral again(arena, muon()); }) ==
          "Muon: 'h.0.out' is stepped by Muon already; say which parameters each optimizer takes, "
          "as with is_hidden_matrix and is_other");
    CHECK(refusal([&] { AdamW again(arena, {}, is_other); }).starts_with("AdamW: 'embed' is stepped by AdamW already"));
  }
  AdamW all(arena);  // the others are gone
  AdamW moved = std::move(all);
  CHECK(refusal([&] { AdamW second(arena); }).starts_with("AdamW: 'h.0.out' is stepped by AdamW"));
  set_gradients(list, 1);
  moved.step(0.1);
}

TEST_CASE("misuse: a second arena over one model") {
  const ParamList list = small_model();
  std::optional<ParamArena> first(list);
  std::optional<AdamW> old(*first);
  const ParamArena second(list);
  set_gradients(list, 1);
  const std::vector<Tensor> before = values(list);
  CHECK(refusal([&] { old->step(0.1); }) == moved_out);
  CHECK(old->state().step == 0);
  CHECK(refusal([&] { clip_grad_norm(*first, 1); }) == moved_out);
  CHECK(refusal([&] { AdamW(second).step(0.1); }).starts_with("AdamW: 'h.0.out' is stepped"));
  for (size_t i = 0; i < list.size(); ++i) CHECK(same_bytes(list[i].var.value(), before[i]));

  // An arena that is gone leaves the model to the next one.
  old.reset();
  CHECK(refusal([&] { AdamW stale(*first); }) == moved_out);
  first.reset();
  AdamW(second).step(0.1);
  for (size_t i = 0; i < list.size(); ++i) CHECK_FALSE(same_bytes(list[i].var.value(), before[i]));

  AdamW last(second);
  find(list, "h.0.out").var.assign(Tensor::zeros({8, 8}));
  CHECK(refusal([&] { last.step(0.1); }) == moved_out);
}

TEST_CASE("misuse: a step between forward and backward") {
  const ParamList list = small_model();
  const ParamArena arena(list);
  Spectral matrices(arena, muon());
  AdamW rest(arena, {}, is_other);
  const auto step = [&] { matrices.step(0.01), rest.step(0.01), arena.zero_grad(); };

  loss_of(list).backward();
  const Var early = loss_of(list), bias_alone = sum(square(find(list, "bias").var));
  matrices.step(0.01);
  CHECK(refusal([&] { early.backward(); }) ==
        "backward: 'h.0.down' [8, 32] has changed since the forward pass used it (square), by an "
        "optimizer's step perhaps; call backward() before step()");
  bias_alone.backward();  // nothing stepped the bias
  arena.zero_grad();

  // What must go on working: steps in turn, several forwards before one backward, evaluation.
  for (int i = 0; i < 3; ++i) {
    const Var a = loss_of(list), b = loss_of(list);
    {
      const NoGrad off;
      CHECK_FALSE(loss_of(list).needs_grad());
    }
    (a + b).backward();
    step();
    loss_of(list).backward();
    loss_of(list).backward();
    step();
  }
  const Var x = Var::leaf(Tensor::full({1}, 2));
  const Var old = square(x);
  x.assign(Tensor::full({1}, 3, DType::f64));
  CHECK(refusal([&] { old.backward(); }).starts_with("backward: [1] has changed"));
  square(x).backward();
  CHECK(x.grad().item() == 6);
}

TEST_CASE("clip: the norm of finite gradients is finite") {
  const ParamList list{parameter("w", {100, 100}, Role::hidden_matrix, DType::f32)};
  const ParamArena arena(list);
  for (const double g : {1e-30, 1e25, 3e38}) {
    set_gradients(list, 1);
    list[0].var.grad().fill(g);
    CHECK(clip_grad_norm(arena, 1).item() == near(100 * g).epsilon(1e-6));
    const double after = clip_grad_norm(arena, 0).item();
    CHECK(after == near(std::min(100 * g, 1.)).epsilon(1e-4));
  }
  list[0].var.grad().data<float>()[7] = std::numeric_limits<float>::infinity();
  CHECK(std::isinf(clip_grad_norm(arena, 0).item()));
}
