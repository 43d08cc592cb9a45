// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): random
// bits as a pure function of a key and a counter, the same on every device and for any number of
// threads.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace borealis {

struct PhiloxBits {
  uint32_t word[4];
};

// Ten rounds. counter = (c0, c1, c2, c3), key = (k0, k1).
BOREALIS_HD inline PhiloxBits philox(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Names one sequence of random words: element i of it is word i % 4 of the block with counter i
// / 4.
struct RandomStream {
  uint64_t seed = 0;
  uint32_t stream = 0;  // what the numbers are for (an op's place in the step)
  uint32_t step = 0;    // the training step

  // Words 4 block … 4 block + 3.
  BOREALIS_HD PhiloxBits block(uint32_t index) const {
    return philox(static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), index, stream, step, 0);
  }
  BOREALIS_HD uint32_t word(int64_t element) const {
    return block(static_cast<uint32_t>(element / 4)).word[element % 4];
  }
};

// Uniform in [0, 1): the upper 24 bits, exact in f32.
BOREALIS_HD inline float uniform(uint32_t word) { return static_cast<float>(word >> 8) * (1.0f / 16777216.0f); }

}  // namespace borealis
