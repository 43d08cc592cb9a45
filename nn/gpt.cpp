#include "nn/gpt.h"

#include <cmath>

namespace borealis {

namespace {

// What a layer is called in files: nanoGPT's and Hugging Face's names, or the optimizer track's.
std::string layer_name(const GptConfig& c, int64_t layer, const char* gpt2, const char* modern) {
  return c.style == Style::gpt2 ? "transformer.h." + std::to_string(layer) + "." + gpt2
                                : "blocks." + std::to_string(layer) + "." + modern;
}

// The names of matrices stacked in one weight. GPT-2's files keep the stack whole.
std::vector<std::string> part_names(const GptConfig& c, int64_t layer, std::initializer_list<const char*> parts) {
  std::vector<std::string> names;
  if (c.style == Style::modern)
    for (const char* part : parts) names.push_back(layer_name(c, layer, "", part));
  return names;
}

double hidden_std(const GptConfig& c, int64_t in) {
  return c.style == Style::gpt2 ? 0.02 : std::sqrt(0.33 / static_cast<double>(in));
}

// Projections back into the residual stream, of which 2L are added up.
double residual_std(const GptConfig& c) {
  return c.style == Style::gpt2 ? 0.02 / std::sqrt(2.0 * static_cast<double>(c.n_layer)) : 0;
}

Norm make_norm(const GptConfig& c, const std::string& name, const Init& init) {
  const bool gpt2 = c.style == Style::gpt2, bias = c.bias && c.norm == NormKind::layer;
  return Norm(c.norm, name + (gpt2 ? ".weight" : ".gains"), bias ? name + ".bias" : "", c.n_embd, c.norm_eps, init);
}

Var drop(const Var& x, double p, Rng* rng) { return rng && p > 0 ? dropout(x, p, *rng) : x; }

}  // namespace

// --- attention -------------------------------------------------------------------------------

Attention::Attention(const GptConfig& c, int64_t layer, const Init& init)
    : qkv(layer_name(c, layer, "attn.c_attn", "attn.qkv"), c.n_embd, 3 * c.n_embd, init,
          {.bias = c.bias,
           .std = hidden_std(c, c.n_embd),
           .blocks = 3,
           .block_names = part_names(c, layer, {"attn.q", "attn.k", "attn.v"})}),
      proj(layer_name(c, layer, "attn.c_proj", "attn.proj"), c.n_embd, c.n_embd, init,
           {.bias = c.bias, .std = residual_std(c)}),
      heads(c.n_head),
      qk_norm(c.qk_norm),
      scale(c.attention_scale),
      norm_eps(c.norm_eps),
      dropout(c.dropout) {}

Var Attention::operator()(const Var& x, const RotaryTable& rotation, Rng* rng) const {
  AttentionOptions options{.scale = scale, .dropout = rng ? dropout : 0, .rng = rng, .rotation = rotation};
  if (qk_norm) options.qk_norm_eps = norm_eps;
  return proj(causal_attention(qkv(x), heads, options));
}

// --- MLP -------------------------------------------------------------------------------------

namespace {

Linear make_fc(const GptConfig& c, int64_t layer, const Init& init) {
  LinearOptions o{.bias = c.bias, .std = hidden_std(c, c.n_embd), .neurons = Neurons::rows};
  if (c.mlp == MlpKind::swiglu) {
    o.blocks = 2;
    o.block_names = part_names(c, layer, {"mlp.gate", "mlp.up"});
  }
  return Linear(layer_name(c, layer, "mlp.c_fc", "mlp.fc"), c.n_embd, o.blocks * c.mlp_hidden(), init, o);
}

}  // namespace

Mlp::Mlp(const GptConfig& c, int64_t layer, const Init& init)
    : fc(make_fc(c, layer, init)),
      proj(layer_name(c, layer, "mlp.c_proj", "mlp.proj"), c.mlp_hidden(), c.n_embd, init,
           {.bias = c.bias, .std = residual_std(c), .neurons = Neurons::cols}),
      kind(c.mlp) {}

Var Mlp::project(const Var& h, const Var& bias) const {
  switch (kind) {
    case MlpKind::gelu_erf: return proj(gelu(h, Gelu::erf, bias));
    case MlpKind::gelu_tanh: return proj(gelu(h, Gelu::tanh, bias));
    case MlpKind::relu_squared: return proj(relu_squared(h, bias));
    case MlpKind::swiglu: break;
  }
  return proj(swiglu(bias ? h + bias : h));
}

// --- block -----------------------------------------------------------------------------------

Block::Block(const GptConfig& c, int64_t layer, const Init& init)
    : norm1(make_norm(c, layer_name(c, layer, "ln_1", "norm1"), init)),
      attention(c, layer, init),
      norm2(make_norm(c, layer_name(c, layer, "ln_2", "norm2"), init)),
      mlp(c, layer, init),
      dropout(c.dropout) {}

Stream Block::attend(const Stream& in, const RotaryTable& rotation, Rng* rng) const {
  const auto [x, normed] = norm1(in);
  return {x, drop(attention(normed, rotation, rng), dropout, rng)};
}

Stream Block::operator()(const Stream& in, const RotaryTable& rotation, Rng* rng) const {
  const auto [x, normed] = norm2(attend(in, rotation, rng));
  return {x, drop(mlp(normed), dropout, rng)};
}

// --- model -----------------------------------------------------------------------------------

Gpt::Gpt(const GptConfig& c, Rng& rng, DType dtype, Device device)
    : config(c.check()),
      tokens(c.style == Style::gpt2 ? "transformer.wte" : "embed", c.vocab, c.n_embd, Init{rng, dtype, device},
             c.style == Style::gpt2 ? 0.02 : 1),
      norm_out(make_norm(c, c.style == Style::gpt2 ? "transformer.ln_f" : "norm2", Init{rng, dtype, device})) {
  const Init init{rng, dtype, device};
  const bool gpt2 = c.style == Style::gpt2;
  if (c.position == Position::learned)
    positions.emplace(gpt2 ? "transformer.wpe" : "positions", c.block_size, c.n_embd, init, 0.02);
  else
    rotation = rotary_table(c.block_size, c.head_size(), dtype, device);
  if (c.norm_after_embedding) norm_in = make_norm(c, gpt2 ? "transformer.ln_e" : "norm1", init);
  for (int64_t i = 0; i < c.n_layer; ++i) blocks.emplace_back(c, i, init);
  if (!c.tied)
    head.emplace(gpt2 ? "lm_head" : "proj", c.n_embd, c.vocab, init,
                 LinearOptions{.bias = c.bias && !gpt2, .std = gpt2 ? 0.02 : 0, .role = Role::head});
}

Var Gpt::embed(const Tensor& ids, Rng* rng) const {
  if (ids.shape().rank() != 2 || ids.size(1) < 1 || ids.size(1) > config.block_size)
    fail("gpt: ids must be [B, T] with 1 ≤ T ≤ block_size = ", config.block_size, ", got ", ids.shape());
  Var x = tokens(ids);  // [B, T, C]
  if (positions) x = x + slice(positions->weight.var, 0, 0, ids.size(1));
  if (norm_in) x = (*norm_in)(x);
  return drop(x, config.dropout, rng);
}

Stream Gpt::hidden(const Tensor& ids, Rng* rng) const {
  Stream x = embed(ids, rng);
  for (const Block& block : blocks) x = block(x, rotation, rng);
  return x;
}

Var Gpt::scores(const Stream& x) const {
  const Var y = norm_out(x).norm;
  return head ? (*head)(y) : linear(y, tokens.weight.var);
}

Var Gpt::logits(const Stream& x) const {
  return config.logit_cap > 0 ? soft_cap(scores(x), config.logit_cap) : scores(x);
}

Var Gpt::operator()(const Tensor& ids, Rng* rng) const { return logits(hidden(ids, rng)); }

Var Gpt::loss(const Tensor& ids, const Tensor& targets, Rng* rng) const {
  if (is_recording() && config.dropout > 0 && !rng)
    fail("gpt: the model has dropout ", config.dropout,
         ", but loss() was given no generator to draw masks from; pass an Rng to train, or evaluate "
         "under NoGrad");
  return cross_entropy(scores(hidden(ids, rng)), targets, -1, config.logit_cap);
}

ParamList Gpt::parameters() const {
  ParamList list;
  append_all(list, tokens, positions, norm_in);
  for (const Block& block : blocks) append(list, block);
  append_all(list, norm_out, head);
  return list;
}

int64_t Gpt::parameter_count() const {
  int64_t n = 0;
  for (const Parameter& p : parameters()) n += p.var.shape().numel();
  return n;
}

double Gpt::flops_per_token(int64_t T) const {
  const auto number = [](int64_t n) { return static_cast<double>(n); };
  double multiplied = number(config.vocab) * number(config.n_embd);  // the head
  for (const Parameter& p : parameters())
    if (p.role == Role::hidden_matrix) multiplied += number(p.var.shape().numel());
  // 2 FLOPs a weight forward, 4 backward. Attention: q kᵀ and P v, T/2 keys on average.
  return 6 * multiplied + 6 * number(config.n_layer) * number(config.n_embd) * number(T);
}

}  // namespace borealis
