// What a provider of matrix products offers to engine/cpu/gemm.cpp: one tile, on the calling
// thread.
#pragma once

#include <cstdint>

namespace borealis {

// c ← alpha·op(a)·op(b) + beta·c, row-major, op(a): [m, k], op(b): [k, n]. Runs on the calling
// thread alone, so its result cannot depend on how many there are. beta = 0 never reads c.
struct GemmTile {
  int64_t m, n, k;
  const void *a, *b;
  void* c;
  int64_t lda, ldb, ldc;
  bool trans_a, trans_b;
  double alpha, beta;
};

void gemm_tile_f32(const GemmTile& tile);
void gemm_tile_f64(const GemmTile& tile);
const char* gemm_provider();

template <class T> void gemm_tile(const GemmTile& tile);
template <> inline void gemm_tile<float>(const GemmTile& tile) { gemm_tile_f32(tile); }
template <> inline void gemm_tile<double>(const GemmTile& tile) { gemm_tile_f64(tile); }

}  // namespace borealis
