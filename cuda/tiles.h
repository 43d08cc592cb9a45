// Products of tiles by the 256 threads of a block, as 16 × 16: each holds side × side numbers of a tile [tile, tile], and
// side rows of a result [tile, D]. Both factors go through shared memory a chunk at a time, and come from there by packs
// of 16 bytes: for side² multiplications two.
#pragma once

#include <type_traits>

#include "block_memory.h"
#include "types.h"

namespace borealis {

template <class T> constexpr int side = 16 / sizeof(T);
template <class T> constexpr int tile = 16 * side<T>;
template <class T> constexpr int chunk = 8 * side<T>;
constexpr unsigned tile_threads = 256;

// A matrix [count, dim] as tiles are cut from it: zeros beyond its ends.
template <class T> struct TileRows {
  T* at;
  int64_t count, stride;
  int dim;
  bool packs;  // whether 16 bytes at once may be moved

  __device__ TileRows(const MatrixView& x, int64_t matrix)
      : at(x.at<T>(matrix)),
        count(x.rows),
        stride(x.row_stride),
        dim(static_cast<int>(x.cols)),
        packs(reinterpret_cast<uintptr_t>(at) % 16 == 0 && stride % side<T> == 0) {}

  __device__ Pack<T, side<T>> pack(int64_t row, int k) const {
    Pack<T, side<T>> x = {};
    if (row >= count) return x;
    const T* const from = at + row * stride + k;
    if (packs && k + side<T> <= dim) return *reinterpret_cast<const Pack<T, side<T>>*>(from);
    for (int c = 0; c < side<T>; ++c)
      if (k + c < dim) x.at[c] = from[c];
    return x;
  }

  // n numbers from k on, k a multiple of n.
  template <int n, class P> __device__ void put(int64_t row, int k, const Pack<T, n>& x, P put) const {
    T* const to = at + row * stride + k;
    if (packs && k + n <= dim) {
      Pack<T, n> y = {};
      if constexpr (!std::is_same_v<P, Put>) y = *reinterpret_cast<const Pack<T, n>*>(to);
      mapping::apply<n>(put, y, x);
      *reinterpret_cast<Pack<T, n>*>(to) = y;
    } else {
#pragma unroll
      for (int c = 0; c < n; ++c)
        if (k + c < dim) put(to[c], x.at[c]);
    }
  }
};

// Of a row that packs are read from, so long that it is a whole number of packs and that columns begin in other banks.
template <class T> constexpr int tile_line = tile<T> + side<T>;

template <class T, int D> struct TileMemory {
  struct Factors {
    T a[chunk<T>][tile_line<T>], b[chunk<T>][tile_line<T>];
  };  // [dim, rows]
  union {
    Factors factors;
    T wide[chunk<T>][D];  // [rows, dim]
  };
  T turned[tile<T>][tile_line<T>];
};

// The numbers of a tile that a thread holds: rows y·side + r, columns x·side + c.
template <class T> using TilePart = T[side<T>][side<T>];
// Of a result: the same rows, `per_thread` columns.
template <class T, int D> using WidePart = T[side<T>][D / 16];

template <class T, int D> class Tiles {
 public:
  static constexpr int n = side<T>;
  const int x = static_cast<int>(threadIdx.x) % 16, y = static_cast<int>(threadIdx.x) / 16;

  // part += A Bᵀ for the rows of A from `first_a` and of B from `first_b` on. All threads may have read `turned` then.
  __device__ void multiply(TilePart<T>& part, const TileRows<T>& a, int64_t first_a, const TileRows<T>& b,
                           int64_t first_b) const {
    auto& factors = memory().factors;
    for (int k0 = 0; k0 < a.dim; k0 += chunk<T>) {
      __syncthreads();  // before the last chunk is overwritten
      load(factors.a, a, first_a, k0);
      load(factors.b, b, first_b, k0);
      __syncthreads();
#pragma unroll 4
      for (int k = 0; k < chunk<T>; ++k) {
        const auto u = at<n>(&factors.a[k][y * n]), v = at<n>(&factors.b[k][x * n]);
#pragma unroll
        for (int r = 0; r < n; ++r)
#pragma unroll
          for (int c = 0; c < n; ++c) part[r][c] += u.at[r] * v.at[c];
      }
    }
  }

  // A tile for add(), which reads it column by column. Nobody may still be in an add().
  __device__ void keep(const TilePart<T>& part) const {
#pragma unroll
    for (int c = 0; c < n; ++c) {
      Pack<T, n> column;
#pragma unroll
      for (int r = 0; r < n; ++r) column.at[r] = part[r][c];
      *reinterpret_cast<Pack<T, n>*>(&memory().turned[x * n + c][y * n]) = column;
    }
  }

  // out += (the kept tile) · (the rows of B from `first` on).
  __device__ void add(WidePart<T, D>& out, const TileRows<T>& b, int64_t first) const {
    auto& shared = memory();
    for (int j0 = 0; j0 < tile<T>; j0 += chunk<T>) {
      __syncthreads();  // the tile is kept; and before the last chunk is overwritten
      for (int i = static_cast<int>(threadIdx.x); i < chunk<T> * D / n; i += tile_threads) {
        const int row = i / (D / n), k = i % (D / n) * n;
        *reinterpret_cast<Pack<T, n>*>(&shared.wide[row][k]) = b.pack(first + j0 + row, k);
      }
      __syncthreads();
#pragma unroll 4
      for (int j = 0; j < chunk<T>; ++j) {
        const auto u = at<n>(&shared.turned[j0 + j][y * n]);
#pragma unroll
        for (int g = 0; g < groups; ++g) {
          const auto v = at<width>(&shared.wide[j][column(g)]);
#pragma unroll
          for (int r = 0; r < n; ++r)
#pragma unroll
            for (int c = 0; c < width; ++c) out[r][g * width + c] += u.at[r] * v.at[c];
        }
      }
    }
  }

  // Rows of y from `first` on ← factor·out.
  template <class P>
  __device__ void write(const TileRows<T>& to, int64_t first, const WidePart<T, D>& out, const T (&factor)[n],
                        P put) const {
#pragma unroll
    for (int r = 0; r < n; ++r) {
      const int64_t row = first + y * n + r;
      if (row >= to.count) continue;
#pragma unroll
      for (int g = 0; g < groups; ++g) {
        Pack<T, width> pack;
#pragma unroll
        for (int c = 0; c < width; ++c) pack.at[c] = out[r][g * width + c] * factor[r];
        to.put(row, column(g), pack, put);
      }
    }
  }

  // The same for all threads of a row of the tile, 16 lanes of a warp.
  template <class Combine> static __device__ T reduce_row(T value, Combine combine) {
    for (int lanes = 8; lanes > 0; lanes /= 2) value = combine(value, __shfl_xor_sync(~0u, value, lanes));
    return value;
  }

 private:
  // A thread's columns of a result: `groups` packs of `width`, side by side with those of the other 15.
  static constexpr int width = D / 16 < n ? D / 16 : n, groups = D / 16 / width;
  __device__ int column(int g) const { return (g * 16 + x) * width; }

  static __device__ TileMemory<T, D>& memory() { return block_memory<TileMemory<T, D>>(); }
  template <int count> static __device__ Pack<T, count> at(const T* from) {
    return *reinterpret_cast<const Pack<T, count>*>(from);
  }

  // A chunk of dim, turned: two lanes read the 32 bytes that memory hands out at once, and 16 rows lie side by side then.
  static __device__ void load(T (&to)[chunk<T>][tile_line<T>], const TileRows<T>& from, int64_t first, int k0) {
    for (int i = static_cast<int>(threadIdx.x); i < tile<T> * chunk<T> / n; i += tile_threads) {
      const int row = i / 2 % tile<T>, k = (i / (2 * tile<T>)*2 + i % 2) * n;
      const Pack<T, n> x = from.pack(first + row, k0 + k);
#pragma unroll
      for (int c = 0; c < n; ++c) to[k + c][row] = x.at[c];
    }
  }
};

}  // namespace borealis
