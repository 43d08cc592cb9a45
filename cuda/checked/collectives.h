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

template <class T> T shuffle(unsigned mask, T value, int lane, int width, bool in_range, Where where) {
  static_assert(std::is_arithmetic_v<T>, "shuffles move numbers");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = meet_warp(Meeting::shuffle, mask, bits, in_range ? static_cast<unsigned>(lane) : now.id % 32, width, where);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline int lane() { return static_cast<int>(now.id % 32); }
inline int part(int width) { return lane() & -width; }  // the first lane of the caller's part of the warp

}  // namespace borealis::stand_in

inline void __syncthreads(borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  borealis::stand_in::meet_block(false, where);
}
inline int __syncthreads_count(int yes, borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  return static_cast<int>(borealis::stand_in::meet_block(yes != 0, where));
}
inline int __syncthreads_or(int yes, borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  return borealis::stand_in::meet_block(yes != 0, where) != 0;
}
inline int __syncthreads_and(int yes, borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  return borealis::stand_in::meet_block(yes == 0, where) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  borealis::stand_in::meet_warp(borealis::stand_in::Meeting::sync, mask, 0, 0, 32, where);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  const int first = borealis::stand_in::part(width);
  return borealis::stand_in::shuffle(mask, value, first + (source & (width - 1)), width, true, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  const int from = borealis::stand_in::lane() ^ bits, first = borealis::stand_in::part(width);
  return borealis::stand_in::shuffle(mask, value, from, width, from < first + width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                   borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  const int from = borealis::stand_in::lane() + static_cast<int>(by), first = borealis::stand_in::part(width);
  return borealis::stand_in::shuffle(mask, value, from, width, from < first + width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32,
                 borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  const int from = borealis::stand_in::lane() - static_cast<int>(by), first = borealis::stand_in::part(width);
  return borealis::stand_in::shuffle(mask, value, from, width, from >= first, where);
}

inline unsigned __ballot_sync(unsigned mask, int yes,
                              borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  return static_cast<unsigned>(
      borealis::stand_in::meet_warp(borealis::stand_in::Meeting::vote, mask, yes != 0, 0, 32, where));
}
inline int __any_sync(unsigned mask, int yes, borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  return __ballot_sync(mask, yes, where) != 0;
}
inline int __all_sync(unsigned mask, int yes, borealis::stand_in::Where where = borealis::stand_in::Where::current()) {
  return __ballot_sync(mask, yes, where) == mask;
}
