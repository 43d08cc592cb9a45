// Text from a model, token by token.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "gpt.h"
#include "text.h"

namespace borealis {

struct SamplingOptions {
  int64_t max_new_tokens = 500;
  double temperature = 0.8;  // 0: always the likeliest token
  int64_t top_k = 200;       // draw among this many likeliest tokens; 0: among all
  uint64_t seed = 1337;
};

// Fails in one sentence on settings that make no sample.
void check(const SamplingOptions& o);

// Draws a token from softmax(logits/temperature) over the top_k likeliest, by the inverse of its
// distribution; of equally likely ones the first comes first. Fails on logits that are not finite.
int32_t draw(const std::vector<float>& logits, const SamplingOptions& o, Rng& rng);

// Goes on from `tokens`, of which there must be one, and calls `emit` with each new token as it is
// drawn. The model sees the last block_size tokens.
void sample(const Gpt& model, std::vector<int32_t> tokens, const SamplingOptions& o,
            const std::function<void(int32_t)>& emit);

// What a sample begins with: the start that is asked for; else a line break, or where the
// vocabulary has none, its first piece.
std::string first_text(const std::string& start, const Vocabulary& vocabulary);

// A sample as text, its first text included.
std::string sample(const Gpt& model, const Vocabulary& vocabulary, const std::string& start = "",
                   const SamplingOptions& o = {});

}  // namespace borealis
