// Text from a model, token by token.
#pragma once

#include <functional>
#include <string>

#include "demos/text.h"
#include "nn/gpt.h"

namespace borealis {

struct SamplingOptions {
  std::string start = "\n";
  int64_t max_new_tokens = 500;
  double temperature = 0.8;  // 0: always the likeliest token
  int64_t top_k = 200;       // draw among this many likeliest tokens; 0: among all
  uint64_t seed = 1337;
};

// Fails in one sentence on settings that make no sample.
void check(const SamplingOptions& o);

// Calls `emit` with each new byte as it is drawn. The model sees the last block_size tokens.
void sample(const Gpt& model, const ByteVocabulary& vocabulary, const SamplingOptions& o,
            const std::function<void(char)>& emit);

}  // namespace borealis
