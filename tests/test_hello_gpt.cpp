// demos/hello_gpt.cpp: the same numbers as nn::Gpt and AdamW, a page that stays short, a program
// that learns.
#include <cmath>
#include <sstream>

#include <doctest/doctest.h>

#include "nn/gpt.h"
#include "optim/adamw.h"
#include "tests/programs.h"

// The program's parts, without its main. Last, since its one-letter constants are global.
#define main hello_gpt_main
#include "demos/hello_gpt.cpp"
#undef main

namespace {

// A weight of the page, and where nn::Gpt keeps it: part `part` of `parts`, one above the other.
struct Pair {
  Var mine;
  Parameter theirs;
  int64_t part = 0, parts = 1;

  Tensor of(const Tensor& whole) const {
    const int64_t rows = whole.size(0) / parts;
    return whole.rows(part * rows, rows);
  }
};

std::vector<Pair> pairs(const HelloGpt& mine, const Gpt& theirs) {
  std::vector<Pair> all{{mine.tokens, theirs.tokens.weight}, {mine.positions, theirs.positions->weight}};
  const auto add = [&](const HelloGpt::Layer& a, const Parameter& w, const Parameter& b, int64_t part = 0,
                       int64_t parts = 1) {
    all.push_back({a.w, w, part, parts});
    all.push_back({a.b, b, part, parts});
  };
  for (size_t i = 0; i < mine.blocks.size(); ++i) {
    const HelloGpt::Block& a = mine.blocks[i];
    const Block& b = theirs.blocks[i];
    add(a.norm1, b.norm1.gain, b.norm1.bias);
    add(a.q, b.attention.qkv.weight, b.attention.qkv.bias, 0, 3);
    add(a.k, b.attention.qkv.weight, b.attention.qkv.bias, 1, 3);
    add(a.v, b.attention.qkv.weight, b.attention.qkv.bias, 2, 3);
    add(a.out, b.attention.proj.weight, b.attention.proj.bias);
    add(a.norm2, b.norm2.gain, b.norm2.bias);
    add(a.up, b.mlp.fc.weight, b.mlp.fc.bias);
    add(a.down, b.mlp.proj.weight, b.mlp.proj.bias);
  }
  add(mine.norm_out, theirs.norm_out.gain, theirs.norm_out.bias);
  return all;
}

// The largest difference, relative to the largest number of `expected`.
double difference(const Tensor& actual, const Tensor& expected) {
  const auto a = actual.to_vector<double>(), e = expected.to_vector<double>();
  REQUIRE(a.size() == e.size());
  double most = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - e[i]));
    scale = std::max(scale, std::abs(e[i]));
  }
  return most / scale;
}

}  // namespace

TEST_CASE("hello_gpt: loss, gradients and AdamW's steps are those of nn::Gpt in f64") {
  GptConfig c = GptConfig::gpt2();
  c.vocab = 19;
  c.block_size = T, c.n_layer = layers, c.n_head = heads, c.n_embd = C;
  Rng rng(4);
  const Gpt theirs(c, rng, DType::f64);
  // Far from the initial values, where biases are 0 and all scores nearly equal.
  for (const Parameter& p : theirs.parameters()) p.var.assign(p.var + rng.normal(p.var.shape(), 0.2, DType::f64));
  const ParamArena arena(theirs.parameters());
  AdamW optimizer(arena, {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1, .decays = is_any});

  const HelloGpt mine(c.vocab, rng);
  const std::vector<Pair> both = pairs(mine, theirs);
  CHECK(both.size() == mine.weights.size());
  for (const Pair& p : both) p.mine.assign(p.of(p.theirs.var.value()).clone());

  std::vector<int32_t> text;
  for (int i = 0; i < 500; ++i) text.push_back(static_cast<int32_t>(rng.below(c.vocab)));
  std::vector<Var> m(both.size(), Tensor::zeros({}, DType::f64)), v = m;
  for (int step = 1; step <= 3; ++step) {
    const auto [inputs, targets] = random_batch(text, rng);
    const Var a = mine.loss(inputs, targets), b = theirs.loss(inputs, targets);
    CHECK(std::abs(a.item() - b.item()) <= 1e-12 * b.item());
    a.backward();
    b.backward();
    for (const Pair& p : both) {
      INFO(p.theirs.name, ", part ", p.part, ", step ", step);
      // A key's bias moves all scores of a query alike, so its gradient is 0 but for rounding.
      if (p.part == 1 && p.theirs.name.ends_with("bias")) {
        for (const double g : p.mine.grad().to_vector<double>()) CHECK(std::abs(g) < 1e-15);
        p.mine.grad().fill(0);
        p.of(p.theirs.var.grad()).fill(0);
        continue;
      }
      CHECK(difference(p.mine.grad(), p.of(p.theirs.var.grad())) <= 1e-12);
    }
    for (size_t i = 0; i < both.size(); ++i) adamw(both[i].mine, m[i], v[i], step);
    optimizer.step(0.003);
    arena.zero_grad();
    for (const Pair& p : both) CHECK(difference(p.mine.value(), p.of(p.theirs.var.value())) <= 1e-12);
  }
}

TEST_CASE("hello_gpt: batches are windows of the text, the targets one place on") {
  std::vector<int32_t> text;
  for (int32_t i = 0; i < T + 3; ++i) text.push_back(i);
  Rng rng(1);
  std::set<int32_t> starts;
  for (int i = 0; i < 10; ++i) {
    const auto [inputs, targets] = random_batch(text, rng);
    for (int64_t b = 0; b < B; ++b) {
      const int32_t first = inputs.data<int32_t>()[b * T];
      starts.insert(first);
      for (int32_t t = 0; t < T; ++t) {
        CHECK(inputs.data<int32_t>()[b * T + t] == first + t);
        CHECK(targets.data<int32_t>()[b * T + t] == first + t + 1);
      }
    }
  }
  CHECK(starts == std::set<int32_t>{0, 1, 2});
}

TEST_CASE("hello_gpt: at most 150 lines, and none too long to read") {
  std::istringstream page(read(std::string(BOREALIS_SOURCE) + "/demos/hello_gpt.cpp"));
  int lines = 0;
  for (std::string line; std::getline(page, line); ++lines) CHECK(line.size() <= 120);
  CHECK(lines <= 150);
  CHECK(lines > 100);
}

TEST_CASE("hello_gpt: the program learns, writes on, and says what is wrong") {
  const Folder f;
  write(f / "text", some_text());
  const Outcome o = run("hello_gpt --steps 100 " + (f / "text"));
  INFO(o.text);
  REQUIRE(o.status == 0);
  double first = 0, last = 0;
  REQUIRE(std::sscanf(o.text.c_str(), "step    1  loss %lf\nstep  100  loss %lf", &first, &last) == 2);
  CHECK(first > 2.8);  // ln 21 = 3.04: it guesses
  CHECK(first < 3.3);
  CHECK(last < 1.5);
  CHECK(o.says("\nline 0 of many lines\n"));
  CHECK(o.text.size() > 400);

  write(f / "short", std::string(T, 'x'));
  refuses("hello_gpt", "give it a text to learn from, as in: hello_gpt README.md", f / "none");
  refuses("hello_gpt " + (f / "none"), "none cannot be opened; check the path", f / "none");
  refuses("hello_gpt " + f.path.string(), "Is a directory", f / "none");
  refuses("hello_gpt " + (f / "short"), "short gives 32 bytes; take a text of 33", f / "none");
  refuses("hello_gpt --step 3 " + (f / "text"), "--help lists the flags", f / "none");
  refuses("hello_gpt --steps -1 " + (f / "text"), "--steps", f / "none");
  refuses("hello_gpt ''", "hello_gpt: an argument has an empty value", f / "none");
  const Outcome help = run("hello_gpt --help");
  CHECK(help.status == 0);
  CHECK(help.says("Learns from a text"));
}
