// One card as the backend uses it: a stream in whose order everything happens, a cuBLAS handle with memory of its own, and
// pinned memory through which uploads go. One host thread at a time.
#pragma once

#include <array>
#include <cstddef>

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "../engine/backend.h"

namespace borealis {

// Fails with what the runtime says, unless `status` is success. `what` was asked for; what a kernel did wrong is told by
// whatever is asked for next.
void check_cuda(cudaError_t status, const char* what);
void check_cublas(cublasStatus_t status, const char* what);

// Whether a kernel changes anything: not once the step's record says that it was stopped (Backend::gate).
struct Gate {
  const StepRecord* record = nullptr;
  __device__ bool closed() const { return record && record->stopped != 0; }
};

class Context {
 public:
  explicit Context(int index);  // fails in one sentence on a card that is too old
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Makes the card that of this thread: CUDA's calls go to a thread's card, at first number 0.
  void use() const { check_cuda(cudaSetDevice(index_), "cudaSetDevice"); }
  cudaStream_t stream() const { return use(), stream_; }
  cublasHandle_t blas() const { return use(), blas_; }

  // Copies out of `host` before it returns, and does not wait for the stream while there is room in the ring.
  void upload(void* dst, const void* host, size_t bytes);
  void wait();

  // One kernel, in the order of the stream. Its first parameter is the gate.
  template <class... P, class... A>
  void launch(const char* name, void (*kernel)(Gate, P...), dim3 blocks, dim3 threads, size_t shared_bytes,
              const A&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream();
    ++counters.launches;
    check_cuda(cudaLaunchKernelEx(&config, kernel, gate, static_cast<P>(arguments)...), name);
  }

  Gate gate;
  Counters counters;
  size_t memory = 0;  // of the card, in bytes

 private:
  static constexpr size_t half = size_t{4} << 20;

  const int index_;
  cudaStream_t stream_ = nullptr;
  cublasHandle_t blas_ = nullptr;
  void* workspace_ = nullptr;
  // The ring: two halves. The next bytes go to `used_` in half `now_`; an event says when a half was read.
  std::byte* ring_ = nullptr;
  std::array<cudaEvent_t, 2> read_{};
  int now_ = 0;
  size_t used_ = 0;
};

// Tells a device that can watch its memory what Backend::mark says; a real one cannot.
void mark_memory(void* data, size_t bytes, cudaStream_t stream);

}  // namespace borealis
