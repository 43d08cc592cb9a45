// Stands in for cuda/ in a build without CUDA: there is no such backend.
#include "engine/backend.h"

namespace borealis {

int cuda_count() { return 0; }
Backend* cuda_backend(int) { return nullptr; }

const char* why_no_cuda() { return "this build has no CUDA backend"; }

}  // namespace borealis
