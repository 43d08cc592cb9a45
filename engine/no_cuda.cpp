// Stands in for cuda/ in a build without CUDA: there is no such backend.
#include "engine/backend.h"

namespace borealis {

Backend* cuda_backend(int) { return nullptr; }

}  // namespace borealis
