#include "engine/cpu/backend.h"

#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "engine/cpu/poison.h"

namespace borealis {

CpuBackend::CpuBackend() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
  if (pages > 0 && page > 0) pool().set_cap(static_cast<size_t>(pages) * static_cast<size_t>(page));
}

void* CpuBackend::allocate(size_t bytes) { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }

void CpuBackend::release(void* data) { std::free(data); }

void CpuBackend::copy(void* dst, const void* src, size_t bytes) { std::memcpy(dst, src, bytes); }

void CpuBackend::upload(void* dst, const void* host, size_t bytes) { copy(dst, host, bytes); }

void CpuBackend::download(void* host, const void* src, size_t bytes) { copy(host, src, bytes); }

// Debug builds show reads of memory nobody wrote, or that was given back: all bits set is a NaN in every float type.
void CpuBackend::mark(void* data, size_t bytes, size_t capacity) {
#ifndef NDEBUG
  allow_only(data, capacity, capacity);
  std::memset(data, 0xFF, capacity);
#endif
  allow_only(data, bytes, capacity);
}

}  // namespace borealis
