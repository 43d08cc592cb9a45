// The provider that is always there (BOREALIS_GEMM=eigen).
#include "engine/cpu/gemm_eigen.h"

namespace borealis {

void gemm_tile(const GemmTile<float>& tile) { eigen_tile(tile); }
void gemm_tile(const GemmTile<double>& tile) { eigen_tile(tile); }
const char* gemm_provider() { return "eigen"; }

}  // namespace borealis
