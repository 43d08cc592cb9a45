#include "nn/gpt_config.h"

#include <cmath>
#include <limits>
#include <utility>

namespace borealis {

int64_t GptConfig::mlp_hidden() const { return std::llround(mlp_expansion * static_cast<double>(n_embd)); }

GptConfig GptConfig::gpt2() { return {}; }

GptConfig GptConfig::modern() {
  GptConfig c;
  c.style = Style::modern;
  c.norm = NormKind::rms;
  c.norm_eps = 1e-6;
  c.norm_after_embedding = true;
  c.position = Position::rotary;
  c.qk_norm = true;
  c.attention_scale = 0.12;
  c.mlp = MlpKind::relu_squared;
  c.tied = false;
  c.logit_cap = 15;
  return c;
}

const GptConfig& GptConfig::check() const {
  constexpr int64_t most = 1 << 20;  // of anything: a typo, not a model
  for (const auto& [name, size] :
       {std::pair("vocab", vocab), std::pair("block_size", block_size), std::pair("n_layer", n_layer),
        std::pair("n_head", n_head), std::pair("n_embd", n_embd)})
    if (size < 1 || size > most) fail("gpt: ", name, " = ", size, " makes no model; give a number from 1 to ", most);
  if (n_embd % n_head)
    fail("gpt: n_embd = ", n_embd, " is not divisible by n_head = ", n_head,
         "; each head takes n_embd / n_head channels");
  if (position == Position::rotary && head_size() % 4)
    fail("gpt: rotary positions need a head size that is a multiple of 4, got n_embd / n_head = ", head_size());
  if (position == Position::rotary && block_size * head_size() > 1 << 24)  // tables of 64 MiB
    fail("gpt: block_size = ", block_size, " is too much for rotary positions of ", head_size(),
         " channels; the product may be ", 1 << 24, " at most");
  if (!(mlp_expansion > 0 && mlp_expansion <= 1024) || mlp_hidden() < 1)
    fail("gpt: mlp_expansion = ", mlp_expansion, " must be positive and at most 1024");
  if (!(dropout >= 0 && dropout < 1)) fail("gpt: dropout = ", dropout, " must be in [0, 1)");
  if (!(norm_eps >= 0) || !(attention_scale >= 0) || !(logit_cap >= 0))
    fail("gpt: norm_eps, attention_scale and logit_cap must not be negative");
  return *this;
}

int64_t parameter_count(const GptConfig& c) {
  const int64_t C = c.n_embd, H = c.mlp_hidden(), gate = c.mlp == MlpKind::swiglu ? 2 : 1;
  const int64_t norm = C * (c.bias && c.norm == NormKind::layer ? 2 : 1);
  const int64_t biases = c.bias ? 3 * C + C + gate * H + C : 0;
  const int64_t layer = 4 * C * C + (gate + 1) * H * C + biases + 2 * norm;
  int64_t tables = c.vocab * C + norm;
  if (c.position == Position::learned) tables += c.block_size * C;
  if (c.norm_after_embedding) tables += norm;
  if (!c.tied) tables += c.vocab * C + (c.bias && c.style != Style::gpt2 ? c.vocab : 0);
  int64_t count = 0;  // a layer is at most 2^52, but there may be 2^20 of them
  if (__builtin_mul_overflow(c.n_layer, layer, &count) || __builtin_add_overflow(count, tables, &count))
    return std::numeric_limits<int64_t>::max();
  return count;
}

}  // namespace borealis
