// Stands in for cuda/ in a build without CUDA: there is no such backend.
#include "engine/backend.h"

namespace borealis {

int cuda_count() { return 0; }
Backend* cuda_backend(int) { return nullptr; }

}  // namespace borealis
