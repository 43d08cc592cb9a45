#include "cuda/context.h"

#include <algorithm>
#include <cstring>

#include "engine/error.h"

namespace borealis {

namespace {

// From this code on, but for 701, a status speaks of a kernel that ran, not of the call that returns it.
constexpr int first_fault = 700;

}  // namespace

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // so that the next call does not answer for this one
  if (status >= first_fault && status != cudaErrorLaunchOutOfResources)
    fail_runtime("cuda: a kernel before this point (", what, "): ", cudaGetErrorString(status), " (code ",
                 static_cast<int>(status), "); the program must be started again");
  fail_runtime("cuda: ", what, ": ", cudaGetErrorString(status), " (code ", static_cast<int>(status), ")");
}

void check_cublas(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) fail_runtime("cuda: ", what, ": ", cublasGetStatusString(status));
}

Context::Context(int index) : index_(index) {
  use();
  cudaDeviceProp card{};
  check_cuda(cudaGetDeviceProperties(&card, index), "cudaGetDeviceProperties");
  if (card.major < 8)
    fail_runtime("cuda: ", card.name, " has compute capability ", card.major, ".", card.minor,
                 ", but at least 8.0 (Ampere, 2020) is needed; use the device cpu");
  memory = card.totalGlobalMem;
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  check_cublas(cublasCreate(&blas_), "cublasCreate");
  check_cublas(cublasSetStream(blas_, stream_), "cublasSetStream");
  // Its size is part of a product's result: cuBLAS chooses by it how sums are cut. After cublasSetStream, which forgets it.
  constexpr size_t workspace = size_t{32} << 20;
  check_cuda(cudaMalloc(&workspace_, workspace), "memory for cuBLAS");
  mark_memory(workspace_, workspace, stream_);
  check_cublas(cublasSetWorkspace(blas_, workspace_, workspace), "cublasSetWorkspace");
  void* ring = nullptr;
  check_cuda(cudaMallocHost(&ring, 2 * half), "pinned memory");
  ring_ = static_cast<std::byte*>(ring);
  for (cudaEvent_t& event : read_)
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
}

void Context::upload(void* dst, const void* host, size_t bytes) {
  auto* to = static_cast<std::byte*>(dst);
  const auto* from = static_cast<const std::byte*>(host);
  while (bytes > 0) {
    if (used_ == half) {  // on to the other half, once the copies out of it are done
      check_cuda(cudaEventRecord(read_[static_cast<size_t>(now_)], stream()), "cudaEventRecord");
      now_ = 1 - now_;
      used_ = 0;
      if (cudaEventQuery(read_[static_cast<size_t>(now_)]) != cudaSuccess) ++counters.waits;
      check_cuda(cudaEventSynchronize(read_[static_cast<size_t>(now_)]), "cudaEventSynchronize");
    }
    const size_t part = std::min(bytes, half - used_);
    std::byte* const staged = ring_ + static_cast<size_t>(now_) * half + used_;
    std::memcpy(staged, from, part);
    check_cuda(cudaMemcpyAsync(to, staged, part, cudaMemcpyHostToDevice, stream()), "upload");
    ++counters.copies;
    used_ += part;
    to += part, from += part, bytes -= part;
  }
}

void Context::wait() {
  ++counters.waits;
  check_cuda(cudaStreamSynchronize(stream()), "waiting");
}

}  // namespace borealis
