// What the hardware refuses: the strictest of the cards that kernels are for (sm_80, sm_86, sm_89, sm_90).
#pragma once

#include <cstddef>

namespace borealis::stand_in::limits {

constexpr unsigned threads = 1024, threads_z = 64, blocks_x = 2147483647, blocks_yz = 65535;
constexpr size_t shared_unasked = 48 << 10, shared_asked = 99 << 10;  // bytes a block; consumer cards
constexpr unsigned registers = 65536;                                 // a block
constexpr size_t arguments = 4096;                                    // bytes a launch

}  // namespace borealis::stand_in::limits
