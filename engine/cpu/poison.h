// What AddressSanitizer, where it is on, is told about blocks that it did not hand out itself.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define BOREALIS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BOREALIS_ASAN 1
#endif
#endif
#ifdef BOREALIS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace borealis {

// Of the `capacity` bytes at `data` only the first `bytes` may be touched from now on.
inline void allow_only([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes, [[maybe_unused]] size_t capacity) {
#ifdef BOREALIS_ASAN
  __asan_poison_memory_region(data, capacity);
  __asan_unpoison_memory_region(data, bytes);
#endif
}

}  // namespace borealis
