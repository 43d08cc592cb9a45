// A block's shared memory, as one struct of what the kernel keeps there; a launch asks for its size.
#pragma once

#include <cuda_runtime.h>

extern __shared__ __align__(128) unsigned char borealis_block_bytes[];

namespace borealis {

template <class T> __device__ T& block_memory() { return *reinterpret_cast<T*>(borealis_block_bytes); }

}  // namespace borealis
