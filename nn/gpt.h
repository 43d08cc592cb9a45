// A compact GPT: attention, MLP, block, model. The file to read in one sitting, with gpt.cpp.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "gpt_config.h"
#include "layers.h"

namespace borealis {

// Causal self-attention:  y = proj(attention(q, k, v)),  with q, k, v = the three parts of qkv(x).
struct Attention {
  Linear qkv;   // [3C, C]: the rows of q, then of k, then of v
  Linear proj;  // [C, C]
  int64_t heads;
  bool qk_norm;
  double scale, norm_eps, dropout;

  Attention(const GptConfig& c, int64_t layer, const Init& init);

  // x: [B, T, C]. `rotation` is empty with learned positions; `rng` is null when nothing is
  // dropped.
  Var operator()(const Var& x, const RotaryTable& rotation, Rng* rng) const;
  void collect(ParamList& list) const { append_all(list, qkv, proj); }
};

// Two layers with a nonlinearity between:  y = proj(f(fc(x))).
struct Mlp {
  Linear fc;    // [H, C], a neuron is a row (SwiGLU: [2H, C], gate above up)
  Linear proj;  // [C, H], a neuron is a column
  MlpKind kind;

  Mlp(const GptConfig& c, int64_t layer, const Init& init);

  Var operator()(const Var& x) const { return project(linear(x, fc.weight.var), fc.bias.var); }
  Var project(const Var& h, const Var& bias = {}) const;  // proj(f(h + bias)); h = fc(x) holds its bias already
  void collect(ParamList& list) const { append_all(list, fc, proj); }
};

// Pre-norm residual block:  x += attention(norm1(x));  x += mlp(norm2(x)).
struct Block {
  Norm norm1;
  Attention attention;
  Norm norm2;
  Mlp mlp;
  double dropout;

  Block(const GptConfig& c, int64_t layer, const Init& init);

  Stream attend(const Stream& in, const RotaryTable& rotation, Rng* rng) const;  // its first half
  Stream operator()(const Stream& in, const RotaryTable& rotation, Rng* rng) const;
  void collect(ParamList& list) const { append_all(list, norm1, attention, norm2, mlp); }
};

struct Gpt {
  GptConfig config;
  Embedding tokens;                    // [V, C]; also the head when tied
  std::optional<Embedding> positions;  // [block_size, C] when learned
  RotaryTable rotation;                // [block_size, head size / 2] when rotary
  std::optional<Norm> norm_in;         // after the embedding
  std::vector<Block> blocks;
  Norm norm_out;               // before the head
  std::optional<Linear> head;  // [V, C] when untied

  // Draws the initial weights in a fixed order: gpt2 style N(0, .02²), residual projections
  // .02/√(2L); modern style N(0, .33/in), projections and head 0, embedding N(0, 1).
  Gpt(const GptConfig& config, Rng& rng, DType dtype = DType::f32, Device device = {});

  // ids: i32 [B, T] with T ≤ block_size. Logits [B, T, V]. `rng` draws the dropout masks of
  // training; null means evaluation. It is logits(hidden(ids)), and hidden is blocks(embed(ids)).
  Var operator()(const Tensor& ids, Rng* rng = nullptr) const;
  Var embed(const Tensor& ids, Rng* rng = nullptr) const;      // [B, T, C], what the first block reads
  Stream hidden(const Tensor& ids, Rng* rng = nullptr) const;  // what the last block wrote
  Var scores(const Stream& x) const;                           // [B, T, V] of it: the logits before their soft cap
  Var logits(const Stream& x) const;                           // [B, T, V] of it
  // Mean cross-entropy in nats of targets [B, T] (−1: not counted). With dropout, training takes an
  // Rng: without one it fails unless NoGrad is on.
  Var loss(const Tensor& ids, const Tensor& targets, Rng* rng = nullptr) const;

  ParamList parameters() const;
  int64_t parameter_count() const;
  Device device() const { return tokens.weight.var.device(); }  // where its ids must be
  // Floating-point operations of one training step for each token of a block of T: forward and
  // backward of every product, causal attention counted as the half it is.
  double flops_per_token(int64_t T) const;
};

}  // namespace borealis
