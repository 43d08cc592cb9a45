// Barriers, shuffles and votes. What hardware leaves undefined is a Fault: a mask without the caller, or with lanes that
// have returned or come to another place; a barrier that some threads of the block do not reach.
#pragma once

#include <cstring>
#include <type_traits>

#include "grid.h"

inline const uint3& threadIdx = borealis::stand_in::now.thread;
inline const uint3& blockIdx = borealis::stand_in::now.block;
inline const dim3& blockDim = borealis::stand_in::now.threads;
inline const dim3& gridDim = borealis::stand_in::now.blocks;
inline constexpr int warpSize = 32;

namespace borealis::stand_in {

inline int lane() { return static_cast<int>(now.id % 32); }
inline int part(int width) { return lane() & -width; }  // the first lane of the caller's part of the warp

// The number of the lane `from`; one's own if that is not in range.
template <class T> T shuffle(unsigned mask, T x, int from, bool in_range, int width, Where here) {
  static_assert(std::is_arithmetic_v<T>, "shuffles move numbers");
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof x);
  bits = meet_warp(Meeting::shuffle, mask, bits, static_cast<unsigned>(in_range ? from : lane()), width, here);
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline void __syncthreads(Where here = Where::current()) { meet_block(false, here); }
inline int __syncthreads_count(int yes, Where here = Where::current()) {
  return static_cast<int>(meet_block(yes != 0, here));
}
inline int __syncthreads_or(int yes, Where here = Where::current()) { return meet_block(yes != 0, here) != 0; }
inline int __syncthreads_and(int yes, Where here = Where::current()) { return meet_block(yes == 0, here) == 0; }

inline void __syncwarp(unsigned mask = ~0u, Where here = Where::current()) {
  meet_warp(Meeting::sync, mask, 0, 0, 32, here);
}
inline unsigned __ballot_sync(unsigned mask, int yes, Where here = Where::current()) {
  return static_cast<unsigned>(meet_warp(Meeting::vote, mask, yes != 0, 0, 32, here));
}
inline int __any_sync(unsigned mask, int yes, Where here = Where::current()) {
  return __ballot_sync(mask, yes, here) != 0;
}
inline int __all_sync(unsigned mask, int yes, Where here = Where::current()) {
  return __ballot_sync(mask, yes, here) == mask;
}

template <class T> T __shfl_sync(unsigned mask, T x, int from, int width = 32, Where here = Where::current()) {
  return shuffle(mask, x, part(width) + (from & (width - 1)), true, width, here);
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, Where here = Where::current()) {
  return shuffle(mask, x, lane() ^ bits, (lane() ^ bits) < part(width) + width, width, here);
}
template <class T> T __shfl_down_sync(unsigned mask, T x, int by, int width = 32, Where here = Where::current()) {
  return shuffle(mask, x, lane() + by, lane() + by < part(width) + width, width, here);
}
template <class T> T __shfl_up_sync(unsigned mask, T x, int by, int width = 32, Where here = Where::current()) {
  return shuffle(mask, x, lane() - by, lane() - by >= part(width), width, here);
}

}  // namespace borealis::stand_in

using borealis::stand_in::__syncthreads, borealis::stand_in::__syncthreads_count, borealis::stand_in::__syncthreads_or,
    borealis::stand_in::__syncthreads_and, borealis::stand_in::__syncwarp, borealis::stand_in::__ballot_sync,
    borealis::stand_in::__any_sync, borealis::stand_in::__all_sync, borealis::stand_in::__shfl_sync,
    borealis::stand_in::__shfl_xor_sync, borealis::stand_in::__shfl_down_sync, borealis::stand_in::__shfl_up_sync;
