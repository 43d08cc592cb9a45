// Every differentiable op at the shapes of the nano preset: 12 blocks of 64 tokens, 128 channels.
#include "autograd/ops.h"

#include <functional>
#include <string>
#include <vector>

#include "tests/bench/bench.h"

namespace borealis::bench {

namespace {

using Vars = std::vector<Var>;

struct OpRow {
  std::string name;
  std::vector<Shape> inputs;
  std::function<Var(const Vars&)> f;
  double flops = 0;  // of the products in the forward pass; the gradients take twice as many
};

constexpr int64_t B = 12, T = 64, C = 128, M = B * T, heads = 4, vocab = 65;
const Shape x{M, C}, h{M, 4 * C};

Tensor ids(int64_t count) {
  const Tensor t({count}, DType::i32);
  for (int64_t i = 0; i < count; ++i) t.data<int32_t>()[i] = static_cast<int32_t>(i * 7 % vocab);
  return t;
}

double linear_flops(int64_t in, int64_t out) { return 2.0 * M * static_cast<double>(in * out); }

// Two products of half a T×T triangle for each channel.
double attention_flops(int64_t batch, int64_t t, int64_t c) { return 2 * static_cast<double>(batch * t * t * c); }

std::vector<OpRow> op_rows() {
  const RotaryTable turn = rotary_table(T, C / heads);
  return {
      {"add", {x, x}, [](const Vars& v) { return v[0] + v[1]; }},
      {"add_suffix", {{B, T, C}, {T, C}}, [](const Vars& v) { return v[0] + v[1]; }},
      {"sub", {x, x}, [](const Vars& v) { return v[0] - v[1]; }},
      {"mul", {x, x}, [](const Vars& v) { return v[0] * v[1]; }},
      {"div", {x, x}, [](const Vars& v) { return v[0] / v[1]; }},
      {"affine", {x}, [](const Vars& v) { return v[0] * 1.5; }},
      {"square", {h}, [](const Vars& v) { return square(v[0]); }},
      {"sqrt", {h}, [](const Vars& v) { return sqrt(v[0]); }},
      {"exp", {h}, [](const Vars& v) { return exp(v[0]); }},
      {"log", {h}, [](const Vars& v) { return log(v[0]); }},
      {"tanh", {h}, [](const Vars& v) { return tanh(v[0]); }},
      {"sigmoid", {h}, [](const Vars& v) { return sigmoid(v[0]); }},
      {"relu", {h}, [](const Vars& v) { return relu(v[0]); }},
      {"relu_squared", {h}, [](const Vars& v) { return relu_squared(v[0]); }},
      {"silu", {h}, [](const Vars& v) { return silu(v[0]); }},
      {"gelu", {h}, [](const Vars& v) { return gelu(v[0]); }},
      {"gelu_tanh", {h}, [](const Vars& v) { return gelu(v[0], Gelu::tanh); }},
      {"swiglu", {h, h}, [](const Vars& v) { return swiglu(v[0], v[1]); }},
      {"soft_cap", {{M, vocab}}, [](const Vars& v) { return soft_cap(v[0], 15); }},
      {"dropout",
       {x},
       [](const Vars& v) {
         Rng rng(1);
         return dropout(v[0], 0.2, rng);
       }},
      {"matmul", {x, {C, 4 * C}}, [](const Vars& v) { return matmul(v[0], v[1]); }, linear_flops(C, 4 * C)},
      {"linear", {x, {4 * C, C}}, [](const Vars& v) { return linear(v[0], v[1]); }, linear_flops(C, 4 * C)},
      {"linear_bias",
       {x, {4 * C, C}, {4 * C}},
       [](const Vars& v) { return linear(v[0], v[1], v[2]); },
       linear_flops(C, 4 * C)},
      {"permute",
       {{B, T, heads, C / heads}},
       [](const Vars& v) {
         return permute(v[0], {0, 2, 1, 3});
       }},
      {"transpose", {x}, [](const Vars& v) { return transpose(v[0]); }},
      {"slice", {{M, 3 * C}}, [](const Vars& v) { return slice(v[0], -1, C, C); }},
      {"concat", {x, x, x}, [](const Vars& v) { return concat(v, -1); }},
      {"sum", {h}, [](const Vars& v) { return sum(v[0]); }},
      {"sum_rows", {h}, [](const Vars& v) { return sum(v[0], {0}); }},
      {"mean_cols", {h}, [](const Vars& v) { return mean(v[0], {1}); }},
      {"max", {h}, [](const Vars& v) { return max(v[0], -1); }},
      {"softmax", {{B * heads, T, T}}, [](const Vars& v) { return softmax(v[0]); }},
      {"log_softmax", {{M, vocab}}, [](const Vars& v) { return log_softmax(v[0]); }},
      {"logsumexp", {{M, vocab}}, [](const Vars& v) { return logsumexp(v[0]); }},
      {"layer_norm", {x, {C}, {C}}, [](const Vars& v) { return layer_norm(v[0], v[1], v[2]); }},
      {"rms_norm", {x, {C}}, [](const Vars& v) { return rms_norm(v[0], v[1]); }},
      {"embedding", {{vocab, C}}, [at = ids(M)](const Vars& v) { return embedding(v[0], at); }},
      {"cross_entropy", {{M, vocab}}, [targets = ids(M)](const Vars& v) { return cross_entropy(v[0], targets); }},
      {"rotary", {{B, T, C}}, [turn](const Vars& v) { return rotary(v[0], heads, turn); }},
      {"causal_attention",
       {{B, T, 3 * C}},
       [](const Vars& v) { return causal_attention(v[0], heads); },
       attention_flops(B, T, C)},
      {"causal_attention_small",
       {{16, 256, 3 * 384}},
       [](const Vars& v) { return causal_attention(v[0], 6); },
       attention_flops(16, 256, 384)},
  };
}

double bytes_of(const Tensor& t) { return static_cast<double>(t.numel()) * sizeof(float); }

void run(benchmark::State& state, const OpRow& row, bool backward) {
  Rng rng(1);
  Vars inputs;  // positive, so that every op is defined; no kernel's speed depends on the numbers
  for (const Shape& shape : row.inputs) inputs.push_back(Var::leaf(rng.uniform(shape, 0.5, 2)));
  const Tensor dy = Tensor::full(row.f(inputs).shape(), 1);

  // Forward: inputs in, output out. Backward: the output's gradient in, the inputs' gradients out.
  // (slice reads a part of its input only, and may show more than 100 %.)
  Work work{row.flops, bytes_of(dy)};
  for (const Var& input : inputs) work.bytes += bytes_of(input.value());
  if (backward) work = {3 * work.flops, 2 * work.bytes};

  time_row(state, work, [&] {
    const Var y = row.f(inputs);
    if (!backward) return;
    for (const Var& input : inputs) input.zero_grad();
    y.backward(dy);
  });
}

}  // namespace

void add_op_rows() {
  for (const OpRow& row : op_rows())
    for (const bool backward : {false, true})
      add_row("op/" + row.name + (backward ? "/both" : "/forward"), [=](benchmark::State& state) {
        run(state, row, backward);
      })->Unit(benchmark::kMicrosecond);
}

}  // namespace borealis::bench
