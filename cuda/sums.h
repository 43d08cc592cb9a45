// Sums over columns of what a formula gives, shared by the kernels that need gradients of vectors.
#pragma once

#include <algorithm>

#include "backend.h"
#include "block.h"
#include "types.h"

namespace borealis {

constexpr int sum_columns = 32, sum_warps = 8;

template <class T> struct ColumnMemory { T part[sum_warps][sum_columns]; };

// y[o, p, i] ← scale·Σ f(o·mid + m, i) over the rows m of part p: 32 columns a block, each of its warps takes every 8th row.
template <class T, class F, class Array, class Put>
__global__ void column_sum_kernel(Gate gate, Array y, F f, int64_t outer, int64_t mid, int64_t inner, int64_t part,
                                  int64_t parts, T scale, Put put) {
  if (gate.closed()) return;
  auto& shared = block_memory<ColumnMemory<T>>();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * sum_columns + threadIdx.x;
  const unsigned warp = threadIdx.y;
  for (int64_t op = blockIdx.y; op < outer * parts; op += gridDim.y) {
    const int64_t o = op / parts, first = op % parts * part, last = first + part < mid ? first + part : mid;
    T sum = 0;
    if (i < inner)
      for (int64_t m = first + warp; m < last; m += sum_warps) sum += f(o * mid + m, i);
    shared.part[warp][threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && i < inner) {
      for (int w = 1; w < sum_warps; ++w) sum += shared.part[w][threadIdx.x];
      put(y.at[op * inner + i], scale * sum);
    }
    __syncthreads();  // before the next sum overwrites the parts
  }
}

// How many parts a sum of `mid` numbers is cut into: so few that the second stage is short, so many that there are blocks
// enough. It follows from the shape alone.
constexpr int64_t part_length = 4096;
inline int64_t parts_of(int64_t mid) { return std::max<int64_t>(1, (mid + part_length - 1) / part_length); }

// Grids have at most 65535 blocks in y: what there may be more of walks.
inline unsigned at_most(int64_t blocks) { return static_cast<unsigned>(std::min<int64_t>(blocks, 65535)); }

// The numbers of an array [rows, inner].
template <class T> struct Numbers {
  const T* x;
  int64_t inner;
  __device__ T operator()(int64_t row, int64_t i) const { return x[row * inner + i]; }
};

// y[o, i] ← scale·Σ_m f(o·mid + m, i) + beta·y[o, i], in two stages where mid is long.
template <class T, class F>
void column_sums(Context& on, const char* name, Span y, double beta, int64_t outer, int64_t mid, int64_t inner,
                 double scale, F f, Device device) {
  const int64_t parts = parts_of(mid);
  const auto stage = [&]<class G, class Array, class Put>(Array out, G g, int64_t n, int64_t pieces, T by, Put put) {
    on.launch(name, column_sum_kernel<T, G, Array, Put>,
              dim3(blocks_for(inner, sum_columns).x, at_most(outer * pieces)), dim3(sum_columns, sum_warps),
              sizeof(ColumnMemory<T>), out, g, outer, n, inner, pieces == 1 ? n : part_length, pieces, by, put);
  };
  with_beta<T>(y, beta, [&]<class Array, class Put>(Array out, Put put) {
    const T by = static_cast<T>(scale);
    if (parts == 1) return stage(out, f, mid, 1, by, put);
    const Storage partial(static_cast<size_t>(outer * parts * inner) * sizeof(T), device);
    T* const sums = reinterpret_cast<T*>(partial.data());
    stage(Out<T>{sums}, f, mid, parts, T(1), borealis::Put{});
    stage(out, Numbers<T>{sums, inner}, parts, 1, by, put);
  });
}

}  // namespace borealis
