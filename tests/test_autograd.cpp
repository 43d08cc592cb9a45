// The tape: who gets which gradient, when memory goes, and what misuse says.
#include <cmath>
#include <sstream>

#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "autograd/parameter.h"
#include "engine/math.h"
#include "tests/compare.h"
#include "tests/near.h"

using namespace borealis;
using doctest::Contains;

namespace {

Var leaf(const std::vector<double>& values, const char* name = "") {
  return Var::leaf(Tensor::of<double>({static_cast<int64_t>(values.size())}, values), name);
}

std::vector<double> gradient(const Var& x) { return x.grad().to_vector<double>(); }

using Numbers = std::vector<double>;

}  // namespace

TEST_CASE("backward: sharing one gradient between inputs does not mix them up") {
  const Var a = leaf({1, 2}), b = leaf({3, 4});
  sum((a + b) + a).backward();
  CHECK(gradient(a) == Numbers{2, 2});
  CHECK(gradient(b) == Numbers{1, 1});
}

TEST_CASE("backward: inner values that share a gradient are apart once written") {
  const Var a = leaf({1, 2}), b = leaf({3, 4});
  const Var u = 2 * a, v = 3 * b;
  const Var s = u + v;                                             // u and v hold one gradient
  sum(s + u * Var(Tensor::of<double>({2}, {10, 10}))).backward();  // and u gets more
  CHECK(gradient(a) == Numbers{22, 22});
  CHECK(gradient(b) == Numbers{3, 3});
}

TEST_CASE("backward: a value used many times collects all its gradients") {
  const Var x = leaf({2});
  const Var y = x * x;
  sum(y * y + y + x).backward();  // x⁴ + x² + x
  CHECK(gradient(x) == Numbers{4 * 8 + 4 + 1});
}

TEST_CASE("backward: gradients add up until zero_grad") {
  const Var x = leaf({3});
  sum(square(x)).backward();
  sum(square(x)).backward();
  CHECK(gradient(x) == Numbers{12});
  x.zero_grad();
  CHECK_FALSE(x.grad());
  sum(x).backward();
  CHECK(gradient(x) == Numbers{1});
}

TEST_CASE("backward: a leaf keeps its gradient's memory from generation to generation") {
  const Var x = leaf({3, 4});
  sum(square(x)).backward();
  const Tensor g = x.grad();
  zero_grad({{.name = "x", .var = x}});
  sum(x + x).backward();
  CHECK(x.grad().same_storage(g));
  CHECK(gradient(x) == Numbers{2, 2});
}

TEST_CASE("backward: what needs no gradient gets none") {
  const Var x = leaf({1, 2}), c(Tensor::of<double>({2}, {5, 6})), unused = leaf({1});
  sum(x * c).backward();
  CHECK(gradient(x) == Numbers{5, 6});
  CHECK_FALSE(c.needs_grad());
  CHECK_FALSE(c.grad());
  CHECK_FALSE(unused.grad());
}

TEST_CASE("backward: a leaf may be the loss") {
  const Var x = leaf({4});
  x.backward();
  CHECK(gradient(x) == Numbers{1});
}

TEST_CASE("backward: misuse says what is wrong") {
  const Var x = leaf({1, 2});
  CHECK_THROWS_WITH_AS((x * x).backward(), "backward: the loss must be a single number, got [2]",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(Var(Tensor({1})).backward(), Contains("nothing here needs a gradient"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(Var().value(), "var: this Var holds no value", std::invalid_argument);

  const Var y = square(x), loss = sum(y);
  loss.backward();
  CHECK_THROWS_WITH_AS(loss.backward(), Contains("has been used already"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(sum(y + y).backward(), Contains("(square) has been used already"), std::invalid_argument);
}

TEST_CASE("NoGrad: nothing is recorded while it lives, also nested") {
  const Var x = leaf({1, 2});
  {
    const NoGrad off;
    { const NoGrad again; }
    CHECK_FALSE(sum(x).needs_grad());
  }
  CHECK(sum(x).needs_grad());
}

TEST_CASE("slot: the first writer gets beta = 0 and may find anything there, the second 1") {
  const Var x = leaf({1, 2});
  std::vector<double> betas;
  const auto op = [&](const Var& z) {
    return record("twice", affine(z.value(), 2, 0), {z}, [&betas](Backward& bw) {
      const auto [g, beta] = bw.slot(0);
      betas.push_back(beta);
      axpby(g, 2, bw.dy(), beta);
    });
  };
  const Var inner = 1 * x;
  sum(op(inner) + op(inner)).backward();
  CHECK(betas == Numbers{0, 1});
  CHECK(gradient(x) == Numbers{4, 4});
}

TEST_CASE("slot and add: a rule that returns the wrong shape is named") {
  const Var x = leaf({1, 2});
  const Var y = record("crooked", x.value(), {x}, [](Backward& bw) { bw.add(0, Tensor({3}, DType::f64)); });
  CHECK_THROWS_WITH_AS(sum(y).backward(), "crooked: the gradient of an input [2] came out as [3]",
                       std::invalid_argument);
}

TEST_CASE("backward: memory falls while it runs") {
  const Pool& memory = pool(Device{});
  std::vector<size_t> live;
  const size_t before = memory.live();
  {
    Var x = 1 * Var::leaf(Rng(1).normal({1 << 16}, 0.1));
    for (int i = 0; i < 8; ++i) {
      x = record("probe", x.value(), {x}, [&](Backward& bw) {
        live.push_back(memory.live());
        bw.add(0, bw.dy());
      });
      x = tanh(x);
    }
    const Var loss = sum(x);
    x = {};
    loss.backward();
  }
  REQUIRE(live.size() == 8);
  for (size_t i = 1; i < live.size(); ++i) CHECK(live[i] < live[i - 1]);
  CHECK(memory.live() == before);
}

TEST_CASE("graphs: a chain of 400 000 nodes, run or thrown away, needs no deep stack") {
  for (const bool run : {true, false}) {
    const Var x = leaf({1});
    Var y = x;
    for (int i = 0; i < 400000; ++i) y = y + 1;
    if (!run) continue;
    sum(y).backward();
    CHECK(gradient(x) == Numbers{1});
  }
}

TEST_CASE("anomaly: the first op with a NaN is named, with the tensor that went in") {
  const Anomaly on;
  const Var x = leaf({1, -2}, "layer.weight"), bad = leaf({std::nan("")}, "layer.bias");
  CHECK_THROWS_WITH_AS(log(x), Contains("log is the first op"), std::runtime_error);
  CHECK_THROWS_WITH_AS(log(x), Contains("'layer.weight' [2]"), std::runtime_error);
  CHECK_THROWS_WITH_AS(exp(bad), Contains("'layer.bias' [1] (not finite itself)"), std::runtime_error);
  CHECK_THROWS_WITH_AS(log(-1 * exp(x)), Contains("the output of mul [2]"), std::runtime_error);
  CHECK_THROWS_WITH_AS(x + bad, Contains("its inputs are 'layer.weight' [2], 'layer.bias' [1] (not"),
                       std::runtime_error);
  sum(exp(x)).backward();
}

TEST_CASE("anomaly: the first gradient rule with an infinity is named") {
  const Var x = leaf({0, 1}, "layer.weight");
  {
    const Anomaly on;
    CHECK_THROWS_WITH_AS(sum(sqrt(x)).backward(), Contains("the gradient rule of sqrt"), std::runtime_error);
  }
  x.zero_grad();
  sum(sqrt(x)).backward();  // off again
  CHECK(std::isinf(gradient(x)[0]));
}

TEST_CASE("leaves: moved to an arena they keep value and gradient, assigned they forget it") {
  const Var x = leaf({1, 2});
  const Var handle = x;
  sum(square(x)).backward();
  const Tensor values({2}, DType::f64), gradients({2}, DType::f64);
  x.move_to(values, gradients);
  CHECK(handle.value().same_storage(values));
  CHECK(gradient(handle) == Numbers{2, 4});
  x.zero_grad();
  sum(x).backward();
  CHECK(gradients.to_vector<double>() == Numbers{1, 1});

  x.assign(Tensor::of<float>({2}, {5, 6}));
  CHECK(handle.dtype() == DType::f32);
  CHECK_FALSE(handle.grad());
  sum(x).backward();
  CHECK(gradient(x) == Numbers{1, 1});
  CHECK_THROWS_WITH_AS(x.assign(Tensor({3})), "assign: [2] cannot become [3]", std::invalid_argument);
  CHECK_THROWS_WITH_AS((x + x).move_to(values, values), "move_to: only leaves live in an arena", std::invalid_argument);
}

TEST_CASE("keep_grad: an inner gradient stays, and nobody else's changes") {
  const Var a = leaf({1, 2}), b = leaf({3, 4});
  const Var u = 2 * a, v = 3 * b, s = u + v;                        // u, v and s share one gradient,
  const Var loss = sum(s + u * Tensor::of<double>({2}, {10, 10}));  // and u gets more
  u.keep_grad();
  s.keep_grad();
  loss.keep_grad();
  CHECK_FALSE(u.grad());
  loss.backward();
  CHECK(gradient(u) == Numbers{11, 11});
  CHECK(gradient(s) == Numbers{1, 1});
  CHECK(gradient(loss) == Numbers{1});
  CHECK_FALSE(v.grad());
  CHECK(gradient(a) == Numbers{22, 22});
  CHECK(gradient(b) == Numbers{3, 3});
  CHECK_THROWS_WITH_AS(sum(u).backward(), Contains("used already"), std::invalid_argument);
  u.zero_grad();
  CHECK_FALSE(u.grad());
  CHECK_THROWS_WITH_AS(Var(Tensor({2})).keep_grad(),
                       "keep_grad: no gradient will come to this value, since nothing that wants one went into it",
                       std::invalid_argument);
}

TEST_CASE("Var: printed with its value and its gradient") {
  const auto printed = [](const Var& x) {
    std::ostringstream text;
    text << x;
    return text.str();
  };
  const Var x = leaf({1, 2});
  CHECK(printed({}) == "no value");
  CHECK(printed(Tensor::full({}, 3)) == "f32[] {3}");
  CHECK(printed(x) == "f64[2] {1, 2}, min 1, mean 1.5, max 2; no gradient yet");
  sum(square(x)).backward();
  CHECK(printed(x) == "f64[2] {1, 2}, min 1, mean 1.5, max 2; gradient f64[2] {2, 4}, min 2, mean 3, max 4");
}

TEST_CASE("backward: from a gradient of the result's own shape") {
  const Var w = leaf({1, 2});
  const Tensor dy = Tensor::of<double>({2}, {3, -1});
  square(w).backward(dy);
  CHECK(gradient(w) == Numbers{6, -4});
  (w * 2).backward(dy);  // a second graph adds
  CHECK(gradient(w) == Numbers{12, -6});
  CHECK(dy.to_vector<double>() == Numbers{3, -1});
  CHECK_THROWS_WITH_AS(square(w).backward(Tensor::full({}, 1, DType::f64)),
                       "backward: the gradient of [2] cannot be []", std::invalid_argument);
  CHECK_THROWS_AS(square(w).backward(Tensor::full({2}, 1, DType::f32)), std::invalid_argument);
  CHECK_THROWS_WITH_AS(sum(w).backward(Tensor()), "backward: this tensor was never made", std::invalid_argument);
  const Tensor place = w.grad();
  w.backward(dy);  // a leaf alone is its own result: dy takes the place of its gradient, in the same memory
  CHECK(gradient(w) == Numbers{3, -1});
  CHECK(w.grad().same_storage(place));
}

TEST_CASE("set_grad: as if backward() had left it") {
  const Var w = leaf({1, 2});
  const Tensor g = Tensor::of<double>({2}, {5, 7});
  w.set_grad(g);
  g.fill(0);  // the numbers were copied
  CHECK(gradient(w) == Numbers{5, 7});
  sum(square(w)).backward();
  CHECK(gradient(w) == Numbers{7, 11});
  CHECK(w.is_leaf());
  CHECK_FALSE(square(w).is_leaf());
  CHECK_FALSE(Var(g).is_leaf());
  CHECK_THROWS_WITH_AS(square(w).set_grad(g), "set_grad: only leaves are given a gradient", std::invalid_argument);
}

TEST_CASE("assign: gradient descent reads like its formula") {
  const Var w = leaf({1, 2});
  sum(square(w)).backward();
  w.assign(w - 0.25 * w.grad());
  CHECK(w.value().to_vector<double>() == Numbers{0.5, 1});
  CHECK_FALSE(w.grad());
  CHECK(w.is_leaf());
  sum(square(w)).backward();
  CHECK(gradient(w) == Numbers{1, 2});
  CHECK_THROWS_WITH_AS(w.assign(Var()), "assign: this Var holds no value", std::invalid_argument);
}

TEST_CASE("gradcheck: finds a gradient that is 0.3 % wrong") {
  const auto wrong = [](const std::vector<Var>& x) {
    const Tensor X = x[0].value();
    return record("wrong", unary(UnaryOp::square, X), {x[0]}, [X](Backward& bw) {
      const auto [g, beta] = bw.slot(0);
      unary_grad(UnaryOp::square, g, X, affine(bw.dy(), 1.003, 0), 0, beta);
    });
  };
  const Tensor x = Rng(1).normal({5, 3}, 1, DType::f64);
  CHECK(gradcheck(wrong, {x}).error > 1e-3);
  CHECK(gradcheck(wrong, {x}).worst.starts_with("input 0 [5, 3]"));
  const auto right = [](const std::vector<Var>& v) { return square(v[0]); };
  CHECK(gradcheck(right, {x}).error < 1e-8);
}

TEST_CASE("gradcheck: rejects a gradient that is all zero, missing or NaN, and f32 inputs") {
  const Tensor x = Rng(1).uniform({4}, 1, 2, DType::f64);
  const auto zero = [](const std::vector<Var>& v) { return relu(-v[0]); };
  CHECK(gradcheck(zero, {x}).error >= 1);
  CHECK(gradcheck(zero, {x}).worst == "an input's gradient is all zero");
  const auto second_unused = [](const std::vector<Var>& v) { return exp(v[0]); };
  CHECK(gradcheck(second_unused, {x, x}).error >= 1);
  CHECK(gradcheck(second_unused, {x, x}).worst == "an input's gradient is all zero");
  const auto turned_round = [](const std::vector<Var>& v) {
    return record("turned round", v[1].value().clone(), {v[1]}, [](Backward& bw) {
      const auto [g, beta] = bw.slot(0);
      axpby(g, -1, bw.dy(), beta);
    });
  };
  CHECK(gradcheck(turned_round, {x, x}).error == near(2));  // the inputs after it are still looked at
  CHECK(gradcheck(turned_round, {x, x}).worst.starts_with("input 1 [4]"));
  const auto undefined = [](const std::vector<Var>& v) { return log(-v[0]); };
  CHECK(gradcheck(undefined, {x}).error >= 1);
  CHECK_THROWS_WITH_AS(gradcheck(zero, {x.to(DType::f32)}), "gradcheck: the inputs must be f64, got f32[4]",
                       std::invalid_argument);
}
