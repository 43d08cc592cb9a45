// Matrix products on the CPU: the cut of the output into tiles. The product of one tile is the
// provider's (engine/cpu/gemm_libxsmm.cpp or engine/cpu/gemm_eigen.cpp).
#include "engine/cpu/gemm.h"

#include "engine/cpu/backend.h"
#include "engine/matrix.h"
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

// c ← alpha·a·b + beta·c as the backend is asked for it.
template <class T> struct Product {
  const MatrixView &c, &a, &b;
  double alpha, beta;

  // The tile of matrix `index` whose first number is (i, j).
  void tile(int64_t index, int64_t i, int64_t j, int64_t m, int64_t n) const {
    gemm_tile(GemmTile<T>{m, n, a.cols, rows_of<T>(c, index, i, j), rows_of<T>(a, index, i), rows_of<T>(b, index, 0, j),
                          alpha, beta});
  }
};

// Tiles that share a piece, so that a batch of small products is not cut too finely.
int64_t grain(double tile_flops) { return static_cast<int64_t>(1e6 / std::max(1.0, tile_flops)) + 1; }

template <class T> void gemm_of(const Product<T>& g) {
  const int64_t m = g.c.rows, n = g.c.cols, k = g.a.cols, count = g.c.batch.total();
  const Cut c = cut(m, n, k, count);
  const int64_t per_matrix = c.rows * c.cols;
  const double flops = 2.0 * static_cast<double>(c.tile_m * c.tile_n) * static_cast<double>(k);
  parallel_items(count * per_matrix, grain(flops), [&](int64_t index) {
    const int64_t i = index % per_matrix / c.cols * c.tile_m;
    const int64_t j = index % per_matrix % c.cols * c.tile_n;
    g.tile(index / per_matrix, i, j, std::min(c.tile_m, m - i), std::min(c.tile_n, n - j));
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
template <class T> void symmetric_gemm_of(const Product<T>& g) {
  const int64_t m = g.c.rows, strip = m <= 192 ? 32 : 64, strips = (m + strip - 1) / strip;
  const double flops = static_cast<double>(strip * m) * static_cast<double>(g.a.cols);
  parallel_items(g.c.batch.total() * strips, grain(flops), [&](int64_t index) {
    const int64_t first = index % strips * strip, last = std::min(first + strip, m);
    g.tile(index / strips, first, 0, last - first, last);
    mirror(g.c.template at<T>(index / strips), g.c.row_stride, first, last);
  });
}

}  // namespace

// A wider result: its factors are widened, which loses nothing.
void CpuBackend::gemm(const MatrixView& c, const MatrixView& a, const MatrixView& b, double alpha, double beta,
                      bool symmetric, Precision precision) {
  if (c.rows == 0 || c.cols == 0) return;
  if (c.dtype != a.dtype)
    return gemm(c, converted(a, c.dtype, device()), converted(b, c.dtype, device()), alpha, beta, symmetric, precision);
  visit(c.dtype, [&]<class T>(T) {
    const Product<T> product{c, a, b, alpha, beta};
    symmetric ? symmetric_gemm_of(product) : gemm_of(product);
  });
}

}  // namespace borealis
