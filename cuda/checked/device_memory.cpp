#include "cuda/checked/device_memory.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "cuda/checked/api.h"
#include "cuda/checked/errors.h"
#include "cuda/checked/grid.h"
#include "cuda/checked/stream.h"
#include "cuda/checked/watch.h"

namespace borealis::stand_in {

namespace {

size_t allocated = 0;  // bytes

std::map<void*, size_t>& allocations() {
  static std::map<void*, size_t> all;
  return all;
}

std::map<const void*, size_t>& pinned() {
  static std::map<const void*, size_t> all;
  return all;
}

bool is_pinned(const void* data, size_t bytes) {
  auto block = pinned().upper_bound(data);
  if (block == pinned().begin()) return false;
  --block;
  return static_cast<const char*>(data) + bytes <= static_cast<const char*>(block->first) + block->second;
}

void mark_now(void* data, size_t bytes) {
  const auto block = allocations().find(data);
  if (block == allocations().end()) fault("mark: not the start of an allocation");
  if (bytes > block->second) fault("mark: ", bytes, " bytes of an allocation of ", block->second);
  memory().mark(data, bytes, block->second);
  watch::forget(data, block->second);
  watch::allow(data, bytes);
}

}  // namespace

GuardedMemory& memory() {
  static auto* const device = new GuardedMemory("the stand-in's device");
  return *device;
}

void use(GuardedMemory::Open& open, const char* what, const void* data, size_t bytes) {
  if (bytes == 0) return;
  const size_t there = open.remaining(data);
  if (there == 0) fault(what, ": memory that is no living tensor of the device");
  if (bytes > there) fault(what, ": ", bytes, " bytes, of which the tensor has ", there);
  open.use(data, bytes);
}

void mark(void* data, size_t bytes, CUstream_st* stream) {
  checked(stream, "mark").add([=] { mark_now(data, bytes); });
}

}  // namespace borealis::stand_in

using borealis::GuardedMemory;
using namespace borealis::stand_in;

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  *data = nullptr;
  ++counts.allocations;
  if (bytes == 0) return cudaSuccess;
  if (allocated + bytes > controls.memory) return told(cudaErrorMemoryAllocation);
  *data = memory().allocate(bytes);
  if (!*data) return told(cudaErrorMemoryAllocation);
  allocated += bytes;
  allocations()[*data] = bytes;
  mark_now(*data, bytes);
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  if (!data) return cudaSuccess;
  ++counts.waits;  // for all streams, as hardware does
  run_all_streams();
  const auto block = allocations().find(data);
  if (block == allocations().end()) return told(cudaErrorInvalidValue);
  mark_now(data, 0);
  allocated -= block->second;
  allocations().erase(block);
  memory().release(data);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** data, size_t bytes) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  ++counts.allocations;
  *data = std::malloc(bytes);
  if (!*data) return told(cudaErrorMemoryAllocation);
  std::memset(*data, 0xFF, bytes);
  pinned()[*data] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* data) {
  if (!data) return cudaSuccess;
  run_all_streams();
  if (pinned().erase(data) == 0) return told(cudaErrorInvalidValue);
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = controls.memory;
  *free = controls.memory - allocated;
  return cudaSuccess;
}

// Pageable memory is read before the call returns, and written when all before it is done, for which the call waits.
// Pinned memory is read and written when its turn comes.
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (refuses(__func__)) return told(cudaErrorInvalidValue);
  constexpr const char* call = "cudaMemcpyAsync";
  CUstream_st& queue = checked(stream, call);
  ++counts.copies;
  if (bytes == 0) return cudaSuccess;
  const bool to_host = kind == cudaMemcpyDeviceToHost, from_host = kind == cudaMemcpyHostToDevice;
  const void* host = to_host ? dst : src;
  if ((to_host || from_host) && memory().owns(host)) fault(call, ": device memory as the host's");
  if ((to_host || from_host) && !host) return told(cudaErrorInvalidValue);
  std::shared_ptr<std::vector<std::byte>> snapshot;
  if (from_host && !is_pinned(host, bytes)) {
    const auto* first = static_cast<const std::byte*>(src);
    snapshot = std::make_shared<std::vector<std::byte>>(first, first + bytes);
  }
  queue.add([=] {
    GuardedMemory::Open open(memory(), call);
    if (!to_host) use(open, call, dst, bytes);
    if (!from_host) use(open, call, src, bytes);
    std::memmove(dst, snapshot ? snapshot->data() : src, bytes);
    if (kind == cudaMemcpyDeviceToDevice) watch::copied(dst, src, bytes);
    if (from_host) watch::written(dst, bytes);
  });
  if (to_host && !is_pinned(host, bytes)) {
    ++counts.waits;
    queue.run_until(queue.issued());
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  constexpr const char* call = "cudaMemsetAsync";
  ++counts.launches;
  checked(stream, call).add([=] {
    GuardedMemory::Open open(memory(), call);
    use(open, call, data, bytes);
    std::memset(data, value, bytes);
    watch::written(data, bytes);
  });
  return cudaSuccess;
}
