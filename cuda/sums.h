// Sums over columns of what a formula gives, shared by the kernels that need gradients of vectors.
#pragma once

#include <algorithm>
#include <type_traits>

#include "backend.h"
#include "block.h"
#include "types.h"

namespace borealis {

constexpr int sum_lanes = 32, sum_warps = 8;

template <class T, int width> struct ColumnMemory { Pack<T, width> part[sum_warps][sum_lanes]; };

// y[o, p, i] ← scale·Σ f(o·mid + m, i) over the rows m of part p: a lane has `width` columns, a warp takes every 8th row.
// f.pack<n>(row, i) gives n numbers, and is asked once for each.
template <int width, class T, class F, class Array, class Put>
__global__ void column_sum_kernel(Gate gate, Array y, F f, int64_t outer, int64_t mid, int64_t inner, int64_t part,
                                  int64_t parts, T scale, Put put) {
  if (gate.closed()) return;
  auto& shared = block_memory<ColumnMemory<T, width>>();
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * sum_lanes + threadIdx.x) * width;
  const unsigned warp = threadIdx.y;
  for (int64_t op = blockIdx.y; op < outer * parts; op += gridDim.y) {
    const int64_t o = op / parts, first = op % parts * part, last = first + part < mid ? first + part : mid;
    Pack<T, width> sum{};
    const auto add = [&sum](Pack<T, width> more) {  // a copy: loaded as a whole
      for (int e = 0; e < width; ++e) sum.at[e] += more.at[e];
    };
    if (i < inner)
      for (int64_t m = first + warp; m < last; m += sum_warps) add(f.template pack<width>(o * mid + m, i));
    shared.part[warp][threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && i < inner) {
      for (int w = 1; w < sum_warps; ++w) add(shared.part[w][threadIdx.x]);
      Pack<T, width> out = mapping::load<T, width>(y, op * inner + i);
      for (int e = 0; e < width; ++e) put(out.at[e], scale * sum.at[e]);
      mapping::store<T, width>(y, op * inner + i, out);
    }
    __syncthreads();  // before the next sum overwrites the parts
  }
}

// How many rows a sum over columns takes at once: so many that the second stage is short, so few that there are blocks
// enough. Numbers of a row: as many as keep a block busy. All follow from the shape alone.
constexpr int64_t column_part = 256, row_part = 4096;
inline int64_t parts_of(int64_t mid, int64_t part) { return std::max<int64_t>(1, (mid + part - 1) / part); }

// Grids have at most 65535 blocks in y: what there may be more of walks.
inline unsigned at_most(int64_t blocks) { return static_cast<unsigned>(std::min<int64_t>(blocks, 65535)); }

// The numbers of an array [rows, inner].
template <class T> struct Numbers {
  const T* x;
  int64_t inner;
  template <int n> __device__ Pack<T, n> pack(int64_t row, int64_t i) const {
    return mapping::load<T, n>(In<T>{x}, row * inner + i);
  }
};

// y[o, i] ← scale·Σ_m f(o·mid + m, i) + beta·y[o, i], in two stages where mid is long. packs: whether f
// gives them where inner is a multiple of theirs.
template <class T, class F>
void column_sums(Context& on, const char* name, Span y, double beta, int64_t outer, int64_t mid, int64_t inner,
                 double scale, F f, bool packs, Device device) {
  const int64_t parts = parts_of(mid, column_part);
  packs = packs && have_packs<T>(inner, y.as<T>());
  const auto stage = [&]<class G, class Array, class Put>(Array out, G g, int64_t n, int64_t pieces, T by, Put put) {
    const auto run = [&]<int width>(std::integral_constant<int, width>) {
      on.launch(name, column_sum_kernel<width, T, G, Array, Put>,
                dim3(blocks_for(inner, sum_lanes * width).x, at_most(outer * pieces)), dim3(sum_lanes, sum_warps),
                sizeof(ColumnMemory<T, width>), out, g, outer, n, inner, pieces == 1 ? n : column_part, pieces, by,
                put);
    };
    packs ? run(std::integral_constant<int, 16 / sizeof(T)>{}) : run(std::integral_constant<int, 1>{});
  };
  const T by = static_cast<T>(scale);
  if (parts == 1 && beta == 0) return stage(Out<T>{place<T>(y)}, f, mid, 1, by, Put{});
  // beta is the second stage's alone, so that there is one kernel for each f.
  const Storage partial(static_cast<size_t>(outer * parts * inner) * sizeof(T), device);
  T* const sums = reinterpret_cast<T*>(partial.data());
  stage(Out<T>{sums}, f, mid, parts, T(1), Put{});
  with_beta<T>(y, beta, [&]<class Array, class Put>(Array out, Put put) {
    stage(out, Numbers<T>{sums, inner}, parts, 1, by, put);
  });
}

}  // namespace borealis
