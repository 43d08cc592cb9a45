#include "engine/cpu_backend.h"

#include <cstdlib>
#include <cstring>

namespace borealis {

void* CpuBackend::allocate(size_t bytes) {
  return std::aligned_alloc(64, (bytes + 63) / 64 * 64);
}

void CpuBackend::release(void* data) {
  std::free(data);
}

void CpuBackend::copy(void* dst, const void* src, size_t bytes) {
  std::memcpy(dst, src, bytes);
}

void CpuBackend::upload(void* dst, const void* host, size_t bytes) {
  copy(dst, host, bytes);
}

void CpuBackend::download(void* host, const void* src, size_t bytes) {
  copy(host, src, bytes);
}

}  // namespace borealis
