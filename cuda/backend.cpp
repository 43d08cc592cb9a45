#include "cuda/backend.h"

namespace borealis {

CudaBackend::CudaBackend(Device device, int card) : device_(device), on_(card) { pool().set_cap(on_.memory); }

void* CudaBackend::allocate(size_t bytes) {
  on_.use();
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    return nullptr;
  }
  check_cuda(status, "cudaMalloc");
  return data;
}

void CudaBackend::release(void* data) {
  on_.use();
  check_cuda(cudaFree(data), "cudaFree");
}

void CudaBackend::upload(void* dst, const void* host, size_t bytes) { on_.upload(dst, host, bytes); }

void CudaBackend::download(void* host, const void* src, size_t bytes) {
  if (bytes == 0) return;
  ++on_.counters.copies;
  check_cuda(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, on_.stream()), "download");
  on_.wait();
}

void CudaBackend::synchronize() { on_.wait(); }

void CudaBackend::mark(void* data, size_t bytes, size_t /*capacity*/) { mark_memory(data, bytes, on_.stream()); }

bool CudaBackend::gate(ConstSpan record) {
  on_.gate.record = static_cast<const StepRecord*>(record.data);
  return true;
}

}  // namespace borealis
