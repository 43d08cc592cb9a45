// Matrix products on the CPU: the cut of the output into tiles. The product of one tile is the
// provider's (engine/cpu/gemm_libxsmm.cpp or engine/cpu/gemm_eigen.cpp).
#include "engine/cpu/gemm.h"

#include "engine/cpu/backend.h"
#include "engine/parallel.h"

namespace borealis {

namespace {

int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// The edge that cuts `size` into as many parts as `edge` would, but equally long ones.
int64_t even_edge(int64_t size, int64_t edge, int64_t multiple) {
  const int64_t parts = (size + edge - 1) / edge;
  return std::min(size, round_up((size + parts - 1) / parts, multiple));
}

struct Cut {
  int64_t tile_m, tile_n;  // edges of a tile
  int64_t rows, cols;      // tiles along m and n
};

// How the [m, n] outputs of a batch of products are cut. Eigen packs a strip of op(a) and one of
// op(b) per tile, and libxsmm copies a transposed b, so big, nearly square tiles are fastest (from
// about 200 x 200 on there is nothing to gain). k is never cut here: every number of c is summed in
// one go, whatever the tiles.
Cut cut(int64_t m, int64_t n, int64_t k, int64_t batch) {
  constexpr double flops_per_piece = 6e6;  // ~25 us: a fork and join (~3 us) stays small
  const double flops = 2.0 * static_cast<double>(batch * m * n) * static_cast<double>(k);
  const double wanted = std::min(8.0, flops / flops_per_piece);  // pieces: busy, and even, to 4 threads

  int64_t tile_m = even_edge(m, 384, 32), tile_n = even_edge(n, 384, 64);
  const auto pieces = [&] {
    return static_cast<double>(batch * ((m + tile_m - 1) / tile_m) * ((n + tile_n - 1) / tile_n));
  };
  while (pieces() < wanted) {
    if (tile_n > tile_m && tile_n >= 192) {
      tile_n = round_up(tile_n / 2, 64);
    } else if (tile_m > 32) {
      tile_m = round_up((tile_m + 1) / 2, 32);
    } else {
      break;
    }
  }
  return {tile_m, tile_n, (m + tile_m - 1) / tile_m, (n + tile_n - 1) / tile_n};
}

// Row i, column j of matrix number `index` of a batch.
template <class T>
T* element(void* data, const GemmArgs& g, const std::array<int64_t, 2>& stride, int64_t index, int64_t i,
           int64_t row_stride, int64_t j, int64_t col_stride) {
  return static_cast<T*>(data) + index / g.batch[1] * stride[0] + index % g.batch[1] * stride[1] + i * row_stride +
         j * col_stride;
}

// The product of the tile of matrix `index` whose first output is (i, j).
template <class T> void tile_product(const GemmArgs& g, int64_t index, int64_t i, int64_t j, int64_t m, int64_t n) {
  void *const a = const_cast<void*>(g.a), *const b = const_cast<void*>(g.b);
  gemm_tile<T>({.m = m,
                .n = n,
                .k = g.k,
                .a = element<T>(a, g, g.stride_a, index, i, g.trans_a ? 1 : g.lda, 0, 0),
                .b = element<T>(b, g, g.stride_b, index, 0, 0, j, g.trans_b ? g.ldb : 1),
                .c = element<T>(g.c, g, g.stride_c, index, i, g.ldc, j, 1),
                .lda = g.lda,
                .ldb = g.ldb,
                .ldc = g.ldc,
                .trans_a = g.trans_a,
                .trans_b = g.trans_b,
                .alpha = g.alpha,
                .beta = g.beta});
}

// Tiles that share a piece, so that a batch of small products is not cut too finely.
int64_t grain(double tile_flops) { return static_cast<int64_t>(1e6 / std::max(1.0, tile_flops)) + 1; }

template <class T> void gemm_of(const GemmArgs& g) {
  const int64_t count = g.batch[0] * g.batch[1];
  const Cut c = cut(g.m, g.n, g.k, count);
  const int64_t per_matrix = c.rows * c.cols;
  const double flops = 2.0 * static_cast<double>(c.tile_m * c.tile_n) * static_cast<double>(g.k);
  parallel_for(count * per_matrix, grain(flops), [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t i = index % per_matrix / c.cols * c.tile_m;
      const int64_t j = index % per_matrix % c.cols * c.tile_n;
      tile_product<T>(g, index / per_matrix, i, j, std::min(c.tile_m, g.m - i), std::min(c.tile_n, g.n - j));
    }
  });
}

// c(j, i) ← c(i, j) for the rows i in [first, last) and all j < i, square by square: a column of c
// touches a cache line per number, so each line is made to serve a whole square.
template <class T> void mirror(T* c, int64_t ld, int64_t first, int64_t last) {
  constexpr int64_t side = 16;
  for (int64_t i0 = first; i0 < last; i0 += side) {
    const int64_t rows = std::min(side, last - i0);
    for (int64_t j0 = 0; j0 < i0 + rows; j0 += side) {
      T square[side][side];
      const int64_t cols = std::min(side, i0 + rows - j0);
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; ++j) square[j][i] = c[(i0 + i) * ld + j0 + j];
      for (int64_t j = 0; j < cols; ++j)
        for (int64_t i = std::max<int64_t>(0, j0 + j - i0); i < rows; ++i) c[(j0 + j) * ld + i0 + i] = square[j][i];
    }
  }
}

// Strips of rows, each up to the diagonal, mirrored while they are in cache. A strip of 32 rows
// keeps the providers at nine tenths of their speed and computes 62 % of a 128 x 128 result.
template <class T> void symmetric_gemm_of(const GemmArgs& g) {
  const int64_t strip = g.m <= 192 ? 32 : 64, strips = (g.m + strip - 1) / strip;
  const double flops = static_cast<double>(strip * g.m) * static_cast<double>(g.k);
  parallel_for(g.batch[0] * g.batch[1] * strips, grain(flops), [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t first = index % strips * strip, last = std::min(first + strip, g.m);
      tile_product<T>(g, index / strips, first, 0, last - first, last);
      mirror(element<T>(g.c, g, g.stride_c, index / strips, 0, 0, 0, 0), g.ldc, first, last);
    }
  });
}

}  // namespace

void CpuBackend::gemm(const GemmArgs& g) {
  if (g.m == 0 || g.n == 0) return;
  visit(g.dtype, [&](auto zero) {
    using T = decltype(zero);
    g.symmetric ? symmetric_gemm_of<T>(g) : gemm_of<T>(g);
  });
}

}  // namespace borealis
