// What CUDA's calls give back, and the order in which streams work.
#include "tests/stand_in/calls.h"
#include "tests/stand_in/device.h"
#include "tests/stand_in/kernels.h"

using namespace borealis;
using stand_in::controls;
using stand_in::counts;

TEST_CASE("stand-in: what hardware refuses is refused with its code, once") {
  TestDevice on;
  float* y = on.put(std::vector<float>(1));
  const auto code = [&](dim3 blocks, dim3 threads, size_t shared) {
    const cudaError_t given = kernels::plain(y, 1, blocks, threads, shared, on.stream);
    CHECK(cudaPeekAtLastError() == given);
    CHECK(cudaGetLastError() == given);
    CHECK(cudaGetLastError() == cudaSuccess);
    return given;
  };
  CHECK(code(1, 1024, 0) == cudaSuccess);
  CHECK(code(1, 1025, 0) == cudaErrorInvalidValue);
  CHECK(code(1, dim3(32, 33), 0) == cudaErrorInvalidValue);
  CHECK(code(1, dim3(1, 1, 65), 0) == cudaErrorInvalidValue);
  CHECK(code(1, 0, 0) == cudaErrorInvalidValue);
  CHECK(code(0, 32, 0) == cudaErrorInvalidValue);
  CHECK(code(dim3(1, 65536), 32, 0) == cudaErrorInvalidValue);
  CHECK(code(dim3(1, 1, 65536), 32, 0) == cudaErrorInvalidValue);
  CHECK(code(2147483648u, 32, 0) == cudaErrorInvalidValue);
  CHECK(code(1, 32, 48 << 10) == cudaSuccess);
  CHECK(code(1, 32, (48 << 10) + 1) == cudaErrorInvalidValue);
  CHECK(kernels::allow_shared((99 << 10) + 1) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(kernels::allow_shared(60 << 10) == cudaSuccess);
  CHECK(code(1, 32, 60 << 10) == cudaSuccess);
  CHECK(code(1, 32, (60 << 10) + 1) == cudaErrorInvalidValue);
  CHECK(kernels::allow_shared(48 << 10) == cudaSuccess);
  const auto with_registers = [&](unsigned registers, unsigned threads) {
    controls.registers = {{"borealis::kernels::plain_kernel", registers}};
    return code(1, threads, 0);
  };
  CHECK(with_registers(64, 1024) == cudaSuccess);
  CHECK(with_registers(65, 1024) == cudaErrorLaunchOutOfResources);
  CHECK(with_registers(65, 896) == cudaSuccess);
  CHECK(with_registers(236, 1024) == cudaErrorLaunchOutOfResources);
  controls.registers.clear();
  CHECK(std::string(cudaGetErrorString(cudaErrorInvalidValue)) == "invalid argument");
}

TEST_CASE("stand-in: memory runs out, is given back, and is not what it was") {
  void *a = nullptr, *b = nullptr;
  controls.memory = 1000;
  CHECK(cudaMalloc(&a, 600) == cudaSuccess);
  CHECK(cudaMalloc(&b, 600) == cudaErrorMemoryAllocation);
  CHECK(b == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  size_t free = 0, total = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(free == 400);
  CHECK(cudaFree(a) == cudaSuccess);
  CHECK(cudaFree(a) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  controls.memory = size_t{16} << 30;
  TestDevice on;
  const float fresh = on.get(on.room<float>(1), 1)[0];
  CHECK(fresh != fresh);
}

TEST_CASE("stand-in: a stream that lags works when somebody waits, in order") {
  controls.lag = 100;
  TestDevice on;
  float *ring = nullptr, *back = nullptr;
  REQUIRE(cudaMallocHost(&ring, sizeof(float)) == cudaSuccess);
  REQUIRE(cudaMallocHost(&back, sizeof(float)) == cudaSuccess);
  auto* y = on.room<float>(1);
  cudaEvent_t event = nullptr;
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);

  *ring = 1, *back = -1;
  REQUIRE(cudaMemcpyAsync(y, ring, sizeof(float), cudaMemcpyHostToDevice, on.stream) == cudaSuccess);
  REQUIRE(cudaEventRecord(event, on.stream) == cudaSuccess);
  REQUIRE(kernels::plain(y, 1, 1, 32, 0, on.stream) == cudaSuccess);
  REQUIRE(cudaMemcpyAsync(back, y, sizeof(float), cudaMemcpyDeviceToHost, on.stream) == cudaSuccess);
  CHECK(*back == -1);
  REQUIRE(cudaEventSynchronize(event) == cudaSuccess);
  *ring = 5;  // may be written from now on
  CHECK(*back == -1);
  REQUIRE(cudaStreamSynchronize(on.stream) == cudaSuccess);
  CHECK(*back == 2);

  // Written too early, the ring's later number is what arrives.
  REQUIRE(cudaMemcpyAsync(y, ring, sizeof(float), cudaMemcpyHostToDevice, on.stream) == cudaSuccess);
  *ring = 7;
  CHECK(on.get(y, 1)[0] == 7);

  // Pageable memory may be written at once. An event that is asked for often enough comes.
  float pageable = 20;
  REQUIRE(cudaMemcpyAsync(y, &pageable, sizeof(float), cudaMemcpyHostToDevice, on.stream) == cudaSuccess);
  pageable = 30;
  REQUIRE(cudaEventRecord(event, on.stream) == cudaSuccess);
  CHECK(cudaEventQuery(event) == cudaErrorNotReady);
  CHECK(cudaEventQuery(event) == cudaSuccess);
  CHECK(on.get(y, 1)[0] == 20);

  // All streams' work is done when the device is waited for, or memory given back.
  REQUIRE(cudaMemcpyAsync(back, y, sizeof(float), cudaMemcpyDeviceToHost, on.stream) == cudaSuccess);
  CHECK(*back == 2);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(*back == 20);
  float* soon_gone = nullptr;
  REQUIRE(cudaMalloc(&soon_gone, sizeof(float)) == cudaSuccess);
  REQUIRE(cudaMemsetAsync(soon_gone, 0, sizeof(float), on.stream) == cudaSuccess);
  REQUIRE(kernels::plain(soon_gone, 1, 1, 32, 0, on.stream) == cudaSuccess);
  CHECK(cudaFree(soon_gone) == cudaSuccess);
  CHECK(fault_of([&] { return cudaStreamSynchronize(on.stream); }).empty());
  REQUIRE(cudaEventDestroy(event) == cudaSuccess);
  REQUIRE(cudaFreeHost(ring) == cudaSuccess);
  REQUIRE(cudaFreeHost(back) == cudaSuccess);
  controls.lag = 0;
}

TEST_CASE("stand-in: launches, copies, waits and allocations are counted") {
  TestDevice on;
  const stand_in::Counts before = counts;
  float* y = on.put(std::vector<float>(1));
  REQUIRE(kernels::plain(y, 1, 1, 32, 0, on.stream) == cudaSuccess);
  CHECK(counts.allocations == before.allocations + 1);
  CHECK(counts.launches == before.launches + 1);
  CHECK(counts.copies == before.copies + 1);
  CHECK(counts.waits == before.waits);
  CHECK(on.get(y, 1)[0] == 1);
  CHECK(counts.waits == before.waits + 1);  // for memory that is not pinned
}

TEST_CASE("stand-in: a backend's calls, at once and with work held back") {
  CHECK(square_of(3) == 9);
  controls.lag = 1000;
  CHECK(square_of(5) == 25);
  controls.lag = 0;
}
