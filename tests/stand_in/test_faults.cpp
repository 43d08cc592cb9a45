// What hardware may let pass is stopped with a sentence.
#include "tests/stand_in/device.h"
#include "tests/stand_in/kernels.h"

using namespace borealis;
using kernels::Wrong;

namespace {

// y is one number, so that n = 1 tells where its end is.
std::string fault_of_kernel(Wrong what, int numbers = 64) {
  TestDevice on;
  float* y = on.put(std::vector<float>(static_cast<size_t>(numbers)));
  return fault_of([&] { return kernels::wrong(what, y, numbers, on.stream); });
}

}  // namespace

TEST_CASE("stand-in: meetings that hardware leaves undefined") {
  const auto says = [](Wrong what, const std::string& sentence) {
    const std::string fault = fault_of_kernel(what);
    INFO(fault);
    CHECK(has(fault, sentence));
  };
  says(Wrong::caller_not_in_mask, "is not in its mask at kernels.cu:");
  says(Wrong::lane_returned, "waits for lanes 0xffffffff at kernels.cu:");
  says(Wrong::lane_returned, ", but thread 0 has returned");
  says(Wrong::lane_elsewhere, "threads wait for each other: thread 0 waits for lanes 0xffffffff at kernels.cu:");
  says(Wrong::source_not_in_mask, "asks lane 20, which is not in the mask, at kernels.cu:");
  says(Wrong::barrier_in_branch, "waits for its block at kernels.cu:");
  says(Wrong::barrier_in_branch, ", but thread 32 has returned");
  says(Wrong::barrier_after_return, ", but thread 3 has returned");
  says(Wrong::two_barriers, "threads of a block meet at different barriers, kernels.cu:");
  says(Wrong::width, "a shuffle's width is 24");
  says(Wrong::trap, "wrong_kernel: __trap (block 0,0,0, thread ");

  // A warp that is not whole, with a mask for a whole one.
  TestDevice on;
  auto* y = on.room<float>(2);
  const float* x = on.put(numbers(16));
  CHECK(has(fault_of([&] { return kernels::warp_row_sum(y, x, 2, 8, on.stream, 48); }),
            "a mask names lanes that this warp of 16 has not, at kernels.cu:"));
}

TEST_CASE("stand-in: memory that a kernel must not be handed, or write") {
  TestDevice on;
  std::vector<float> host(4);
  const auto plain = [&](float* y) { return fault_of([&] { return kernels::plain(y, 1, 1, 32, 0, on.stream); }); };
  const std::string foreign = "plain_kernel was handed: memory that is no living tensor of the device";
  CHECK(has(plain(host.data()), foreign));
  float* gone = nullptr;
  REQUIRE(cudaMalloc(&gone, 16) == cudaSuccess);
  REQUIRE(cudaFree(gone) == cudaSuccess);
  CHECK(has(plain(gone), foreign));
#if __has_builtin(__builtin_clear_padding)  // else addresses within structs are not looked at
  CHECK(has(fault_of([&] {
              return kernels::by_table({gone, 1}, on.stream);
            }),
            "by_table_kernel was handed: memory that is no living tensor of the device"));
#endif

  // A part of an allocation that was given back, and one that is smaller than the allocation.
  float* y = on.room<float>(4);
  stand_in::mark(y, 0, on.stream);
  CHECK(has(plain(y), foreign));
  stand_in::mark(y, 2 * sizeof(float), on.stream);
  const auto copy = [&](void* dst, const void* src, size_t bytes, cudaMemcpyKind kind) {
    return fault_of([&] { return cudaMemcpyAsync(dst, src, bytes, kind, on.stream); });
  };
  CHECK(has(copy(y, host.data(), 12, cudaMemcpyHostToDevice), "cudaMemcpyAsync: 12 bytes, of which the tensor has 8"));
  CHECK(copy(y, host.data(), 8, cudaMemcpyHostToDevice).empty());
  CHECK(has(copy(host.data(), host.data(), 8, cudaMemcpyDeviceToHost), "no living tensor"));
  CHECK(has(copy(y, y + 1, 4, cudaMemcpyHostToDevice), "device memory as the host's"));
  CHECK(has(copy(host.data(), y, 4, cudaMemcpyDeviceToDevice), "no living tensor"));
}

TEST_CASE("stand-in: work without a stream") {
  TestDevice on;
  float* y = on.put(std::vector<float>(1));
  const auto sentence = [&](cudaStream_t stream) {
    return fault_of([&] { return kernels::plain(y, 1, 1, 32, 0, stream); });
  };
  CHECK(has(sentence(nullptr), "plain_kernel: the default stream"));
  cudaStream_t gone = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&gone, cudaStreamNonBlocking) == cudaSuccess);
  REQUIRE(cudaStreamDestroy(gone) == cudaSuccess);
  CHECK(has(sentence(gone), "a stream that does not exist"));
  CHECK(has(fault_of([&] { return cudaMemsetAsync(y, 0, 4, nullptr); }), "the default stream"));
}
