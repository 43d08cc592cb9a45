// The last error, as cudaGetLastError tells it.
#pragma once

#include "api.h"

namespace borealis::stand_in {

cudaError_t told(cudaError_t code);  // remembers it

}  // namespace borealis::stand_in
