// The words that CUDA adds to C++, as far as kernels here use them.
#pragma once

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
// Only `extern __shared__`, the dynamic kind, compiles (cuda/block_memory.h): nobody could bound or poison a static one.
#define __shared__ __attribute__((weak))
