// A GPT in one file, from a text to a sample; read hello_autograd.cpp first. nn/gpt.cpp is the same
// model, faster and with more choices: tests/test_hello_gpt.cpp holds the two against each other.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <set>

#include "autograd/ops.h"
#include "demos/run/flags.h"

using namespace borealis;

// A batch: B windows of T tokens. A token becomes C numbers, and each head sees C / heads of them.
constexpr int64_t B = 16, T = 32, C = 64, heads = 4, layers = 2;

// 0 where a token (row) may look, itself and before; −∞ elsewhere, of which softmax makes 0.
Tensor causal_mask(int64_t length, DType dtype) {
  const Tensor mask = Tensor::zeros({length, length});
  for (int64_t i = 0; i < length * length; ++i)
    if (i % length > i / length) mask.data<float>()[i] = -INFINITY;
  return mask.to(dtype);
}

struct HelloGpt {
  struct Layer {
    Var w, b;  // x Wᵀ + b: a row of W is a neuron; or, of a norm, a gain and bias for each number
  };
  struct Block {
    Layer norm1, q, k, v, out, norm2, up, down;
  };
  std::vector<Var> weights;  // all that is learnt
  Var tokens, positions;     // [V, C], [T, C]: a vector for each token, and for each place
  std::vector<Block> blocks;
  Layer norm_out;

  HelloGpt(int64_t V, Rng& rng) {
    const auto leaf = [&](const Tensor& t) { return weights.emplace_back(Var::leaf(t)); };
    const auto layer = [&](int64_t out, int64_t in) {
      return Layer{leaf(rng.normal({out, in}, 0.02)), leaf(Tensor::zeros({out}))};
    };
    const auto norm = [&] { return Layer{leaf(Tensor::full({C}, 1)), leaf(Tensor::zeros({C}))}; };
    tokens = leaf(rng.normal({V, C}, 0.02));
    positions = leaf(rng.normal({T, C}, 0.02));
    for (int64_t i = 0; i < layers; ++i)
      blocks.push_back(
          {norm(), layer(C, C), layer(C, C), layer(C, C), layer(C, C), norm(), layer(4 * C, C), layer(C, 4 * C)});
    norm_out = norm();
  }

  static Var apply(const Layer& layer, const Var& x) { return linear(x, layer.w, layer.b); }
  static Var norm(const Layer& layer, const Var& x) { return layer_norm(x, layer.w, layer.b); }

  // Tokens exchange what they know, softmax(q kᵀ/√d) v: each asks (q), is found (k), tells (v).
  static Var attention(const Block& block, const Var& x) {  // [n, t, C]
    const int64_t n = x.shape()[0], t = x.shape()[1], d = C / heads;
    const auto by_head = [&](const Var& z) {  // every head of every text is a matrix [t, d]
      return reshape(permute(reshape(z, {n, t, heads, d}), {0, 2, 1, 3}), {n * heads, t, d});
    };
    const Var q = by_head(apply(block.q, x)), k = by_head(apply(block.k, x));
    const Var scores = matmul(q, transpose(k)) / std::sqrt(static_cast<double>(d));
    const Var weight = softmax(scores + causal_mask(t, x.dtype()));  // [n·heads, t, t]
    const Var told = matmul(weight, by_head(apply(block.v, x)));     // [n·heads, t, d]
    const Var joined = permute(reshape(told, {n, heads, t, d}), {0, 2, 1, 3});
    return apply(block.out, reshape(joined, {n, t, C}));
  }

  // How likely each token comes next, as logits [n, t, V], for ids [n, t] with t ≤ T.
  Var logits(const Tensor& ids) const {
    Var x = embedding(tokens, ids) + slice(positions, 0, 0, ids.size(1));
    for (const Block& block : blocks) {
      x = x + attention(block, norm(block.norm1, x));                          // look around,
      x = x + apply(block.down, gelu(apply(block.up, norm(block.norm2, x))));  // then think alone
    }
    return linear(norm(norm_out, x), tokens);  // how much x looks like each token
  }

  // Cross-entropy: the mean of −ln p(the token that did come). In nats, with ln and not log₂, since
  // then its gradient by the logits is just p − truth, and e^loss reads as the number of equally
  // likely tokens the model wavers between: V at first.
  Var loss(const Tensor& ids, const Tensor& next) const { return cross_entropy(logits(ids), next); }
};

// Windows at random places; the targets are the inputs one place on.
std::pair<Tensor, Tensor> random_batch(const std::vector<int32_t>& text, Rng& rng) {
  const Tensor inputs({B, T}, DType::i32), targets({B, T}, DType::i32);
  for (int64_t i = 0; i < B; ++i) {
    const auto window = text.begin() + rng.below(static_cast<int64_t>(text.size()) - T);
    std::copy_n(window, T, inputs.data<int32_t>() + i * T);
    std::copy_n(window + 1, T, targets.data<int32_t>() + i * T);
  }
  return {inputs, targets};
}

// AdamW's step number n: along the gradient's running mean m, in units of its running size √v, so
// that each weight moves by about the rate, .003. Both began at 0, which 1 − βⁿ makes good.
void adamw(const Var& w, Var& m, Var& v, double n) {
  m = 0.9 * m + 0.1 * w.grad();
  v = 0.99 * v + 0.01 * square(w.grad());
  const Var step = (m / (1 - std::pow(0.9, n))) / (sqrt(v / (1 - std::pow(0.99, n))) + 1e-8);
  w.assign((1 - 0.003 * 0.1) * w - 0.003 * step);  // .1: how strongly weights decay
}

int hello_gpt(int argc, char** argv) {
  CLI::App app("Learns from a text and writes on: a GPT in one file.", "hello_gpt");
  std::string path;
  unsigned steps = 600;
  app.add_option("file", path, "the text to learn from");
  app.add_option("--steps", steps, "training steps")->capture_default_str();
  parse_flags(app, argc, argv);
  if (path.empty()) fail("hello_gpt: give it a text to learn from, as in: hello_gpt README.md");
  std::ifstream file(path, std::ios::binary);
  if (!file) fail_runtime("hello_gpt: ", path, " cannot be opened; check the path");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (text.size() <= T) fail_runtime("hello_gpt: ", path, " gives ", text.size(), " bytes; take a text of ", T + 1);
  const std::set<char> used(text.begin(), text.end());
  const std::string alphabet(used.begin(), used.end());  // a token is a byte's place in it
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<int32_t>(alphabet.find(c)));

  Rng rng(1337);
  const HelloGpt model(static_cast<int64_t>(alphabet.size()), rng);
  std::vector<Var> m(model.weights.size(), Tensor::zeros({})), v = m;  // a 0 fits every shape
  for (unsigned n = 1; n <= steps; ++n) {
    const auto [inputs, targets] = random_batch(ids, rng);
    const Var loss = model.loss(inputs, targets);
    loss.backward();
    for (size_t i = 0; i < m.size(); ++i) adamw(model.weights[i], m[i], v[i], n);
    if (n == 1 || n % 100 == 0) std::printf("step %4u  loss %.3f\n", n, loss.item());
  }

  // The sample: the text's beginning, and what the model writes after it, token by token.
  const NoGrad off;
  ids.resize(T);
  for (int i = 0; i < 400; ++i) {
    const Tensor seen = Tensor::of<int32_t>({1, T}, {ids.end() - T, ids.end()});
    const Var chances = softmax(slice(model.logits(seen), 1, T - 1, 1));  // after the last token
    const std::vector<double> p = chances.value().to_vector<double>();
    double left = rng.uniform({1}, 0, 1).item();
    size_t next = 0;
    while (next + 1 < p.size() && (left -= p[next]) > 0) ++next;
    ids.push_back(static_cast<int32_t>(next));
  }
  for (const int32_t id : ids) std::putchar(alphabet[static_cast<size_t>(id)]);
  std::putchar('\n');
  return 0;
}

int main(int argc, char** argv) { return run_program("hello_gpt", hello_gpt, argc, argv); }
