// Every op on tensors with an empty axis: an empty (or neutral) result, or one sentence.
#include <cmath>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "tests/compare.h"
#include "tests/refusal.h"

using namespace borealis;

namespace {

Var leaf(const Shape& shape) { return Var::leaf(Rng(1).normal(shape, 1)); }

// Runs f forward and backward; every leaf must end up with a gradient that is finite and of its
// shape.
Shape run(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Shape>& shapes) {
  std::vector<Var> leaves;
  for (const Shape& s : shapes) leaves.push_back(leaf(s));
  const Var y = f(leaves);
  sum(y).backward();
  for (const Var& x : leaves) {
    CHECK(x.grad().shape() == x.shape());
    for (const double g : x.grad().to_vector<double>()) CHECK(std::isfinite(g));
  }
  return y.shape();
}

}  // namespace

TEST_CASE("empty: pointwise ops, shapes and reductions") {
  for (const Shape& s : {Shape{0, 4}, {4, 0}, {2, 0, 4}}) {
    Shape half = s;
    half.set(-1, s[-1] / 2);
    CHECK(run([](const auto& x) { return swiglu(x[0]); }, {s}) == half);
  }
  for (const Shape& s : {Shape{0}, {0, 3}, {3, 0}, {2, 0, 4}}) {
    CAPTURE(s.rank());
    Rng rng(1);
    using Op = std::function<Var(const Var&)>;
    for (const Op& op :
         {Op([](const Var& x) { return square(x); }), Op([](const Var& x) { return -x / 2 + 1; }),
          Op([](const Var& x) { return relu(x) * gelu(x) - exp(x); }),
          Op([](const Var& x) { return swiglu(x, x) / soft_cap(x, 2); }),
          Op([&](const Var& x) { return dropout(x, 0.5, rng); }), Op([](const Var& x) { return softmax(x); }),
          Op([](const Var& x) { return log_softmax(x, 0); })})
      CHECK(run([&](const auto& x) { return op(x[0]); }, {s}) == s);
    CHECK(run([](const auto& x) { return sum(x[0]); }, {s}) == Shape{});
    CHECK(run([](const auto& x) { return sum(x[0], {0}); }, {s}).rank() == s.rank() - 1);
    CHECK(run([](const auto& x) { return slice(x[0], -1, 0, 0); }, {s}).numel() == 0);
    CHECK(run([](const auto& x) { return reshape(x[0], {5, 0}); }, {s}) == Shape{5, 0});
    CHECK(run([](const auto& x) { return concat({x[0], x[1]}, 0); }, {s, s}).numel() == 0);
    CHECK(refusal([&] { mean(leaf(s)); }).ends_with("has no numbers to average"));
  }
  CHECK(run([](const auto& x) { return x[0] + x[1]; }, {{0, 3}, {1, 3}}) == Shape{0, 3});
  CHECK(run([](const auto& x) { return x[0] * x[1]; }, {{2, 1}, {0}}) == Shape{2, 0});
  CHECK(run([](const auto& x) { return transpose(x[0]); }, {{0, 3}}) == Shape{3, 0});
  CHECK(run([](const auto& x) { return concat({x[0], x[1]}, 1); }, {{2, 0}, {2, 3}}) == Shape{2, 3});
  CHECK(run([](const auto& x) { return max(x[0], 1); }, {{0, 3}}) == Shape{0});
  CHECK(refusal([] { max(leaf({3, 0}), 1); }) == "max: axis 1 of [3, 0] is empty");
  CHECK(run([](const auto& x) { return slice(x[0], 0, 4, 0); }, {{4, 3}}) == Shape{0, 3});
  // Σ over nothing is 0, and its logarithm −∞.
  CHECK(sum(leaf({3, 0}), {1}).value().to_vector<float>() == std::vector<float>(3, 0));
  const Var y = logsumexp(leaf({3, 0}));
  CHECK(y.value().to_vector<float>() == std::vector<float>(3, -HUGE_VALF));
  sum(y).backward();
  CHECK(run([](const auto& x) { return logsumexp(x[0]); }, {{0, 3}}) == Shape{0});
}

TEST_CASE("empty: products, norms, tokens") {
  const auto product = [](const auto& x) { return matmul(x[0], x[1]); };
  CHECK(run(product, {{0, 3}, {3, 2}}) == Shape{0, 2});
  CHECK(run(product, {{2, 3}, {3, 0}}) == Shape{2, 0});
  CHECK(run(product, {{0, 2, 3}, {0, 3, 2}}) == Shape{0, 2, 2});
  const Var none = matmul(leaf({2, 0}), leaf({0, 3}));
  CHECK(none.value().to_vector<float>() == std::vector<float>(6, 0));

  const auto layer = [](const auto& x) { return linear(x[0], x[1], x[2]); };
  CHECK(run(layer, {{2, 0, 3}, {4, 3}, {4}}) == Shape{2, 0, 4});
  CHECK(run(layer, {{2, 3}, {0, 3}, {0}}) == Shape{2, 0});
  CHECK(run(layer, {{2, 5, 0}, {4, 0}, {4}}) == Shape{2, 5, 4});  // the bias alone
  const Var bias = leaf({4});
  CHECK(same_bytes(linear(leaf({1, 0}), leaf({4, 0}), bias).value(), bias.value().reshape({1, 4})));

  CHECK(run([](const auto& x) { return layer_norm(x[0], x[1], x[2]); }, {{0, 3}, {3}, {3}}) == Shape{0, 3});
  CHECK(run([](const auto& x) { return rms_norm(x[0], x[1]); }, {{2, 0, 3}, {3}}) == Shape{2, 0, 3});
  CHECK(refusal([] { rms_norm(leaf({3, 0})); }) == "rms_norm: [3, 0] has no last axis to normalise");

  const auto ids = [](const Shape& s) { return Tensor(s, DType::i32); };
  CHECK(run([&](const auto& x) { return embedding(x[0], ids({2, 0})); }, {{5, 3}}) == Shape{2, 0, 3});
  CHECK(run([&](const auto& x) { return embedding(x[0], ids({0})); }, {{0, 3}}) == Shape{0, 3});
  CHECK(run([&](const auto& x) { return embedding(x[0], Tensor::zeros({2}, DType::i32)); }, {{5, 0}}) == Shape{2, 0});
  CHECK(run([&](const auto& x) { return cross_entropy(x[0], ids({0})); }, {{0, 7}}) == Shape{});
  CHECK(refusal([&] {
          cross_entropy(leaf({3, 0}), ids({0}));
        }) == "cross_entropy: the logits must be […, V], got [3, 0]");
}

TEST_CASE("empty: rotary and attention") {
  const RotaryTable table = rotary_table(8, 4);
  const auto turn = [&](const auto& x) { return rotary(x[0], 1, table); };
  CHECK(run(turn, {{1, 0, 4}}) == Shape{1, 0, 4});
  CHECK(run(turn, {{0, 3, 4}}) == Shape{0, 3, 4});
  CHECK(refusal([&] {
          turn(std::vector{leaf({1, 3, 0})});
        }) == "rotary: the table [8, 2] does not serve positions 0 … 3 of [1, 3, 0] with 1 heads");
  CHECK(refusal([] { causal_attention(leaf({1, 3, 0}), 2); }) == "attention: [1, 3, 0] does not split into 2 heads");
  const auto attend = [](const auto& x) { return causal_attention(x[0], x[1], x[2], 2); };
  CHECK(run(attend, {{0, 3, 4}, {0, 3, 4}, {0, 3, 4}}) == Shape{0, 3, 4});
  CHECK(run(attend, {{2, 0, 4}, {2, 0, 4}, {2, 0, 4}}) == Shape{2, 0, 4});
  CHECK(run(attend, {{2, 0, 4}, {2, 3, 4}, {2, 3, 4}}) == Shape{2, 0, 4});
  CHECK(run([](const auto& x) { return causal_attention(x[0], 2); }, {{2, 0, 12}}) == Shape{2, 0, 4});
}
