// Matrix products on the CPU: the cut of the output into tiles. The product of one tile is the
// provider's (engine/gemm_onednn.cpp or engine/gemm_eigen.cpp).
#include "engine/cpu_backend.h"
#include "engine/gemm.h"
#include "engine/parallel.h"

namespace borealis {

namespace {

int64_t round_up(int64_t x, int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

// The edge that cuts `size` into as many parts as `edge` would, but equally long ones.
int64_t even_edge(int64_t size, int64_t edge, int64_t multiple) {
  const int64_t parts = (size + edge - 1) / edge;
  return std::min(size, round_up((size + parts - 1) / parts, multiple));
}

struct Cut {
  int64_t tile_m, tile_n;  // edges of a tile
  int64_t rows, cols;      // tiles along m and n
};

// How the [m, n] outputs of a batch of products are cut. Both providers pack a strip of op(a) and
// one of op(b) per tile, so big, nearly square tiles are fastest (from about 200 x 200 on there is
// nothing to gain); their inner kernels are 48 numbers wide; and they lose a fifth below 96
// columns. k is never cut: every number of c is summed in one go, whatever the tiles.
Cut cut(int64_t m, int64_t n, int64_t k, int64_t batch) {
  constexpr double flops_per_piece = 6e6;  // ~25 us: a fork and join (~3 us) stays small
  const double flops = 2.0 * static_cast<double>(batch * m * n) * static_cast<double>(k);
  const double wanted =
      std::min(8.0, flops / flops_per_piece);  // pieces: busy, and even, to 4 threads

  int64_t tile_m = even_edge(m, 384, 8), tile_n = even_edge(n, 384, 48);
  const auto pieces = [&] {
    return static_cast<double>(batch * ((m + tile_m - 1) / tile_m) * ((n + tile_n - 1) / tile_n));
  };
  while (pieces() < wanted) {
    if (tile_n > tile_m && tile_n >= 192) {
      tile_n = round_up(tile_n / 2, 48);
    } else if (tile_m > 32) {
      tile_m = round_up((tile_m + 1) / 2, 8);
    } else {
      break;
    }
  }
  return {tile_m, tile_n, (m + tile_m - 1) / tile_m, (n + tile_n - 1) / tile_n};
}

template <class T>
void gemm_of(const GemmArgs& g) {
  const Cut tiles = cut(g.m, g.n, g.k, g.batch[0] * g.batch[1]);
  const int64_t per_matrix = tiles.rows * tiles.cols;
  // Small products of a batch share a piece.
  const double tile_flops =
      2.0 * static_cast<double>(tiles.tile_m * tiles.tile_n) * static_cast<double>(g.k);
  const int64_t grain = static_cast<int64_t>(1e6 / std::max(1.0, tile_flops)) + 1;

  parallel_for(g.batch[0] * g.batch[1] * per_matrix, grain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t matrix = index / per_matrix, p = matrix / g.batch[1], q = matrix % g.batch[1];
      const int64_t i = index % per_matrix / tiles.cols * tiles.tile_m;
      const int64_t j = index % per_matrix % tiles.cols * tiles.tile_n;
      const int64_t a = p * g.stride_a[0] + q * g.stride_a[1] + (g.trans_a ? i : i * g.lda);
      const int64_t b = p * g.stride_b[0] + q * g.stride_b[1] + (g.trans_b ? j * g.ldb : j);
      const int64_t c = p * g.stride_c[0] + q * g.stride_c[1] + i * g.ldc + j;
      gemm_tile<T>({.m = std::min(tiles.tile_m, g.m - i),
                    .n = std::min(tiles.tile_n, g.n - j),
                    .k = g.k,
                    .a = static_cast<const T*>(g.a) + a,
                    .b = static_cast<const T*>(g.b) + b,
                    .c = static_cast<T*>(g.c) + c,
                    .lda = g.lda,
                    .ldb = g.ldb,
                    .ldc = g.ldc,
                    .trans_a = g.trans_a,
                    .trans_b = g.trans_b,
                    .alpha = g.alpha,
                    .beta = g.beta});
    }
  });
}

}  // namespace

void CpuBackend::gemm(const GemmArgs& g) {
  if (g.m == 0 || g.n == 0) return;
  visit(g.dtype, [&](auto zero) { gemm_of<decltype(zero)>(g); });
}

}  // namespace borealis
