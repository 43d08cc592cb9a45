// The provider that is always there (BOREALIS_GEMM=eigen).
#include "engine/cpu/gemm_eigen.h"

namespace borealis {

void gemm_tile_f32(const GemmTile& tile) { eigen_tile<float>(tile); }
void gemm_tile_f64(const GemmTile& tile) { eigen_tile<double>(tile); }
const char* gemm_provider() { return "eigen"; }

}  // namespace borealis
