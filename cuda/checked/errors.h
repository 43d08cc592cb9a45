// The last error, as cudaGetLastError tells it.
#pragma once

#include "api.h"

namespace borealis::stand_in {

cudaError_t told(cudaError_t code);  // remembers it
bool refuses(const char* call);      // Controls::refused

}  // namespace borealis::stand_in
