// A backend's calls, once each, in the spelling that CUDA's own headers take too.
#include "tests/stand_in/calls.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>

namespace borealis {

#define NEEDS(call) \
  if (static_cast<int>(call) != 0) return -1

float square_of(float x) {
  int devices = 0, device = 0, version = 0;
  NEEDS(cudaGetDeviceCount(&devices));
  NEEDS(cudaSetDevice(0));
  NEEDS(cudaGetDevice(&device));
  NEEDS(cudaRuntimeGetVersion(&version));
  cudaDeviceProp properties{};
  NEEDS(cudaGetDeviceProperties(&properties, device));
  if (properties.major < 8 || properties.multiProcessorCount < 1 || properties.sharedMemPerBlockOptin < 65536 ||
      properties.warpSize != 32 || properties.totalGlobalMem == 0)
    return -1;

  cudaStream_t stream = nullptr;
  cudaEvent_t before = nullptr, after = nullptr;
  NEEDS(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  NEEDS(cudaEventCreateWithFlags(&before, cudaEventDefault));
  NEEDS(cudaEventCreateWithFlags(&after, cudaEventDefault));
  float *ring = nullptr, *data = nullptr;
  void* workspace = nullptr;
  NEEDS(cudaMallocHost(&ring, 4 * sizeof(float)));
  NEEDS(cudaMalloc(&data, 4 * sizeof(float)));
  NEEDS(cudaMalloc(&workspace, 4096));

  cublasHandle_t handle = nullptr;
  NEEDS(cublasCreate(&handle));
  NEEDS(cublasGetVersion(handle, &version));
  NEEDS(cublasSetStream(handle, stream));
  NEEDS(cublasSetWorkspace(handle, workspace, 4096));
  NEEDS(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_HOST));
  NEEDS(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH));

  ring[0] = ring[1] = x;
  const float one = 1, zero = 0;
  NEEDS(cudaEventRecord(before, stream));
  NEEDS(cudaMemsetAsync(data, 0, 4 * sizeof(float), stream));
  NEEDS(cudaMemcpyAsync(data, ring, 2 * sizeof(float), cudaMemcpyHostToDevice, stream));
  NEEDS(cublasGemmStridedBatchedEx_64(handle, CUBLAS_OP_N, CUBLAS_OP_T, 1, 1, 1, &one, data, CUDA_R_32F, 1, 0, data + 1,
                                      CUDA_R_32F, 1, 0, &zero, data + 2, CUDA_R_32F, 1, 1, 1, CUBLAS_COMPUTE_32F,
                                      CUBLAS_GEMM_DEFAULT));
  NEEDS(cudaMemcpyAsync(data + 3, data + 2, sizeof(float), cudaMemcpyDeviceToDevice, stream));
  NEEDS(cudaMemcpyAsync(ring + 2, data + 3, sizeof(float), cudaMemcpyDeviceToHost, stream));
  NEEDS(cudaEventRecord(after, stream));
  NEEDS(cudaEventSynchronize(after));
  NEEDS(cudaEventQuery(after));
  NEEDS(cudaStreamSynchronize(stream));
  NEEDS(cudaDeviceSynchronize());
  NEEDS(cudaGetLastError());
  float milliseconds = -1;
  NEEDS(cudaEventElapsedTime(&milliseconds, before, after));
  const float result = milliseconds < 0 ? -1 : ring[2];

  NEEDS(cublasDestroy(handle));
  NEEDS(cudaFree(workspace));
  NEEDS(cudaFree(data));
  NEEDS(cudaFreeHost(ring));
  NEEDS(cudaEventDestroy(before));
  NEEDS(cudaEventDestroy(after));
  NEEDS(cudaStreamDestroy(stream));
  return result;
}

}  // namespace borealis
