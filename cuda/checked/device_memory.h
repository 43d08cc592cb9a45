// The device's memory, which lies in GuardedMemory: nobody but the work of a stream may touch it.
#pragma once

#include <cstddef>

#include "../guarded.h"

namespace borealis::stand_in {

GuardedMemory& memory();

// A Fault unless all bytes lie in one living tensor; what the work writes behind its end is found when it is over.
void use(GuardedMemory::Open& open, const char* what, const void* data, size_t bytes);

}  // namespace borealis::stand_in
