// The factors of dropout on the CPU, for any run of elements.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../formulas.h"
#include "loops.h"

namespace borealis {

// factor[j] ← 1/(1−p) where element first + j of the stream is kept, else 0, for j in [0, n).
// Four elements share a Philox block, so words are drawn block by block.
template <class T> void dropout_factors(T* factor, int64_t n, int64_t first, const DropoutArgs& args) {
  constexpr int64_t chunk = 256;  // words
  const formulas::Dropout<T> dropout{args.p};
  const int64_t end = first + n;
  for (int64_t begin = first / 4 * 4; begin < end; begin += chunk) {
    uint32_t words[chunk];
    const int64_t blocks = (std::min(chunk, end - begin) + 63) / 64 * 16;  // whole vectors
    each(blocks, [&words, begin, stream = args.now()](int64_t block) {
      const PhiloxBits bits = stream.block(static_cast<uint32_t>(begin / 4 + block));
      for (int64_t k = 0; k < 4; ++k) words[4 * block + k] = bits.word[k];
    });
    const int64_t from = std::max(begin, first), to = std::min(end, begin + chunk);
    T* const out = factor + (from - first);
    const uint32_t* const word = words + (from - begin);
    each(to - from, [=](int64_t j) { out[j] = dropout.factor(word[j]); });
  }
}

}  // namespace borealis
