// f32 products by libxsmm's kernels (BOREALIS_GEMM=libxsmm), which it compiles for this processor
// at run time and which read their factors where they lie. f64, and what it has no kernel for, by
// Eigen.
//
// Its matrices are column-major and ours row-major, so it is asked for Cᵀ = Bᵀ Aᵀ: its m are our
// columns, its n our rows. It can read Aᵀ either way; a transposed B is copied once per tile.
#include <algorithm>
#include <bit>
#include <vector>

#include <libxsmm.h>

#include "engine/cpu/gemm_eigen.h"

namespace borealis {

namespace {

// One call of a kernel computes a block [rows, cols] of c over `depth` of k. The part of b that it
// reads once for every few rows (64 x 512 floats, 128 KiB) stays in a second-level cache. The stack
// that a kernel takes grows with its block: one more reason for small ones.
constexpr int64_t block_rows = 96, block_cols = 64, block_depth = 512;

// Rows further apart than this could overflow the 32-bit offsets inside a kernel.
constexpr int64_t largest_ld = 1 << 20;

// c ← a b + beta c for a block with alpha = 1 and beta = 0 or 1. libxsmm keeps its kernels in a
// table of its own, so asking again is cheap (~30 ns); it has none where it may not make code, or
// on processors without AVX.
void multiply(const GemmTile<float>& t) {
  const auto number = [](int64_t x) { return static_cast<libxsmm_blasint>(x); };
  const libxsmm_blasint lda = number(t.b.ld), ldb = number(t.a.ld), ldc = number(t.c.ld);
  const auto alpha = static_cast<float>(t.alpha), beta = static_cast<float>(t.beta);
  const int flags = t.a.trans ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
  const int prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
  const libxsmm_smmfunction kernel =
      libxsmm_smmdispatch(number(t.n), number(t.m), number(t.k), &lda, &ldb, &ldc, &alpha, &beta, &flags, &prefetch);
  if (!kernel) return eigen_tile(t);
  kernel(t.b.data, t.a.data, t.c.data);
}

// The next part of what is left, at most a block: a multiple of 16, at the end a power of two. Each
// kernel takes two pages for good, so a program that meets every size must not need one for each.
int64_t part(int64_t left, int64_t block) {
  if (left >= block) return block;
  return left >= 16 ? left / 16 * 16 : static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(left)));
}

// Room that each thread keeps from call to call; `slot` tells apart what is in use at once.
template <int slot> float* scratch(int64_t count) {
  thread_local std::vector<float> memory;
  if (memory.size() < static_cast<size_t>(count)) memory.resize(static_cast<size_t>(count));
  return memory.data();
}

// c ← a b + beta c with beta = 0 or 1, block by block. k is the outermost loop: while one part of
// it is worked on, the tile's parts of a and b stay in cache.
void product(const GemmTile<float>& t) {
  for (int64_t p = 0, depth = 0; p < t.k; p += depth) {
    depth = part(t.k - p, block_depth);
    for (int64_t j = 0, cols = 0; j < t.n; j += cols) {
      cols = part(t.n - j, block_cols);
      Rows<const float> b{t.b.trans ? t.b[j] + p : t.b[p] + j, t.b.ld};
      if (t.b.trans) {  // [cols, depth] → [depth, cols]
        float* const copy = scratch<0>(block_depth * block_cols);
        libxsmm_otrans(copy, b.data, sizeof(float), static_cast<libxsmm_blasint>(depth),
                       static_cast<libxsmm_blasint>(cols), static_cast<libxsmm_blasint>(t.b.ld),
                       static_cast<libxsmm_blasint>(cols));
        b = {copy, cols};
      }
      for (int64_t i = 0, rows = 0; i < t.m; i += rows) {
        rows = part(t.m - i, block_rows);
        const Rows<const float> a{t.a.trans ? t.a[p] + i : t.a[i] + p, t.a.ld, t.a.trans};
        multiply({rows, cols, depth, {t.c[i] + j, t.c.ld}, a, b, 1, p == 0 ? t.beta : 1});
      }
    }
  }
}

}  // namespace

void gemm_tile(const GemmTile<float>& t) {
  if (t.k == 0 || std::max({t.a.ld, t.b.ld, t.c.ld}) > largest_ld) return eigen_tile(t);
  if (t.alpha == 1 && (t.beta == 0 || t.beta == 1)) return product(t);

  const Rows<float> ab{scratch<1>(t.m * t.n), t.n};
  product({t.m, t.n, t.k, ab, t.a, t.b});
  const auto alpha = static_cast<float>(t.alpha), beta = static_cast<float>(t.beta);
  for (int64_t i = 0; i < t.m; ++i)
    for (int64_t j = 0; j < t.n; ++j) t.c[i][j] = alpha * ab[i][j] + (beta == 0 ? 0 : beta * t.c[i][j]);
}

void gemm_tile(const GemmTile<double>& tile) { eigen_tile(tile); }
const char* gemm_provider() { return "libxsmm"; }

}  // namespace borealis
