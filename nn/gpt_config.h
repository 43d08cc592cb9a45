// Every choice a GPT leaves open. Two styles set them all; each can then be changed alone.
#pragma once

#include <cstdint>
#include <string>

#include "layers.h"

namespace borealis {

enum class Style { gpt2, modern };
enum class Position { learned, rotary };
enum class MlpKind { gelu_erf, gelu_tanh, relu_squared, swiglu };
template <> inline constexpr std::array words_of<Style>{"style", "gpt2", "modern"};
template <> inline constexpr std::array words_of<Position>{"position", "learned", "rotary"};
template <> inline constexpr std::array words_of<MlpKind>{"mlp", "gelu", "gelu_tanh", "relu_squared", "swiglu"};

struct GptConfig {
  int64_t vocab = 0, block_size = 64;
  int64_t n_layer = 4, n_head = 4, n_embd = 128;

  Style style = Style::gpt2;  // parameter names and initial weights; the switches below are free
  NormKind norm = NormKind::layer;
  double norm_eps = 1e-5;
  bool norm_after_embedding = false;
  Position position = Position::learned;
  bool qk_norm = false;        // RMS norm without gain of each head's q and k, before rotary
  double attention_scale = 0;  // 0: 1/√(head size)
  MlpKind mlp = MlpKind::gelu_erf;
  double mlp_expansion = 4;  // hidden units per channel; any positive number
  bool tied = true;          // the head is the embedding
  double logit_cap = 0;      // c in c z/√(z² + c²); 0: none
  bool bias = true;
  double dropout = 0;

  int64_t mlp_hidden() const;
  int64_t head_size() const { return n_embd / n_head; }

  // Comparable with nanoGPT and GPT-2 weights.
  static GptConfig gpt2();
  // The optimizer-track model: ReLU² units can die in it.
  static GptConfig modern();

  // These settings; fails in one sentence on sizes that make no model.
  const GptConfig& check() const;
};

// How many numbers such a model's weights are, without making it; the largest int64_t where that
// cannot be counted. For settings that check() takes.
int64_t parameter_count(const GptConfig& c);

}  // namespace borealis
