// Sums, maxima and the like of what the threads of a row hold: by shuffles within a warp, through shared memory between
// warps. The order depends on the number of threads alone.
#pragma once

#include "block_memory.h"

namespace borealis {

struct Plus {
  template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
// Passes over NaNs (exp(x − max) shows them again).
struct Greater {
  template <class T> __device__ T operator()(T a, T b) const { return a < b ? b : a; }
};

struct Itself {
  template <class T> __device__ T operator()(T x) const { return x; }
};

constexpr int row_warps = 8;

// Where warps leave what they found. Two places, used in turn: the next reduction may write while the last is read.
template <class T> struct RowMemory { T part[2][row_warps]; };

// The threads of one row: a warp alone, several to a block, or a whole block of row_warps.
template <class T, bool one_warp> class RowTeam {
 public:
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  static constexpr int threads = one_warp ? 32 : 32 * row_warps;

  // The same on all threads. Of numbers like the row's, or of some that take less room, as places in it do.
  template <class V, class Combine> __device__ V reduce(V x, Combine combine) {
    static_assert(sizeof(V) <= sizeof(T));
    for (int lanes = 16; lanes > 0; lanes /= 2) x = combine(x, __shfl_xor_sync(~0u, x, lanes));
    if constexpr (one_warp) return x;
    V* const part = reinterpret_cast<V*>(block_memory<RowMemory<T>>().part[turn_]);
    turn_ = 1 - turn_;
    if (thread() % 32 == 0) part[thread() / 32] = x;
    __syncthreads();
    V all = part[0];
    for (int w = 1; w < row_warps; ++w) all = combine(all, part[w]);
    return all;
  }

  // Σ f(j) over j in [0, n), each thread every `threads`-th.
  template <class F> __device__ T sum(int64_t n, F f) {
    T mine = 0;
    for (int64_t j = thread(); j < n; j += threads) mine += f(j);
    return reduce(mine, Plus{});
  }

 private:
  int turn_ = 0;
};

}  // namespace borealis
