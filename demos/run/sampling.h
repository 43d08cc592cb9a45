// Text from a model, token by token.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "demos/run/text.h"
#include "nn/gpt.h"

namespace borealis {

struct SamplingOptions {
  std::string start = "";  // empty: first_text()
  int64_t max_new_tokens = 500;
  double temperature = 0.8;  // 0: always the likeliest token
  int64_t top_k = 200;       // draw among this many likeliest tokens; 0: among all
  uint64_t seed = 1337;
};

// Fails in one sentence on settings that make no sample.
void check(const SamplingOptions& o);

// What a sample begins with: the start that is asked for; else a line break, or where the
// vocabulary has none, its first byte.
std::string first_text(const SamplingOptions& o, const ByteVocabulary& vocabulary);

// Draws a token from softmax(logits/temperature) over the top_k likeliest, by the inverse of its
// distribution; of equally likely ones the first comes first. Fails on logits that are not finite.
int32_t draw(const std::vector<float>& logits, const SamplingOptions& o, Rng& rng);

// Calls `emit` with each new byte as it is drawn, the first text not included. The model sees the
// last block_size tokens.
void sample(const Gpt& model, const ByteVocabulary& vocabulary, const SamplingOptions& o,
            const std::function<void(char)>& emit);

}  // namespace borealis
