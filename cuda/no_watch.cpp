#include "cuda/context.h"

namespace borealis {

void mark_memory(void*, size_t, cudaStream_t) {}

}  // namespace borealis
