// What the GPU's backend does around its kernels, on the stand-in for CUDA. A part of watched_tests.
#include <numeric>

#include <doctest/doctest.h>

#include "cuda/backend.h"
#include "cuda/checked/controls.h"
#include "engine/math.h"
#include "engine/rng.h"

using namespace borealis;
using stand_in::controls;

namespace {

const Device gpu{Device::Kind::cuda, 2};

// The call is refused: what is done says so, and the next is not told of it.
template <class F> void check_told(const char* call, const char* text, F f) {
  INFO(call);
  controls.refused = call;
  std::string told;
  try {
    f();
  } catch (const std::runtime_error& error) {
    told = error.what();
  }
  controls.refused = "";
  CHECK(told.find(text) != std::string::npos);
  CHECK(cudaGetLastError() == cudaSuccess);
}

}  // namespace

TEST_CASE("backend.cpp, blas.cpp and context.cpp: what CUDA refuses is told") {
  for (const char* call :
       {"cudaSetDevice", "cudaGetDeviceProperties", "cudaStreamCreateWithFlags", "cublasCreate", "cublasSetStream",
        "cudaMalloc", "cublasSetWorkspace", "cudaMallocHost", "cudaEventCreateWithFlags"})
    check_told(call, "cuda: ", [] { static_cast<void>(new Context(0)); });

  auto& on = *new CudaBackend(gpu, 0);       // never destroyed, as all of them
  constexpr size_t bytes = size_t{9} << 20;  // more than the ring has
  const std::vector<std::byte> host(bytes);
  std::vector<std::byte> back(16);
  void* const data = on.allocate(bytes);
  on.mark(data, bytes, bytes);
  check_told("cudaMalloc", "cuda: cudaMalloc", [&] { on.allocate(64); });
  check_told("cudaFree", "cuda: cudaFree", [&] { on.release(data); });
  check_told("cudaMemcpyAsync", "cuda: upload", [&] { on.upload(data, host.data(), 16); });
  check_told("cudaEventRecord", "cuda: cudaEventRecord", [&] { on.upload(data, host.data(), bytes); });
  check_told("cudaEventSynchronize", "cuda: cudaEventSynchronize", [&] { on.upload(data, host.data(), bytes); });
  on.upload(data, host.data(), 16);
  check_told("cudaMemcpyAsync", "cuda: download", [&] { on.download(back.data(), data, 16); });
  check_told("cudaStreamSynchronize", "cuda: waiting", [&] { on.synchronize(); });
  check_told("cudaLaunchKernelEx", "cuda: fill", [&] { on.fill({data, DType::f32, 4}, 1); });
  check_told("cublasGemmStridedBatchedEx_64", "cuda: a matrix product", [&] {
    const MatrixView one{data, DType::f32, 1, 1, 1, 1};
    on.gemm(MatrixView{static_cast<float*>(data) + 1, DType::f32, 1, 1, 1, 1}, one, one, 1, 0, false, Precision::exact);
  });

  // A product of nothing asks nothing of cuBLAS.
  const int64_t launches = on.counters().launches;
  on.gemm(MatrixView{data, DType::f32, 0, 3, 3, 1}, MatrixView{data, DType::f32, 0, 2, 2, 1},
          MatrixView{data, DType::f32, 2, 3, 3, 1}, 1, 0, false, Precision::exact);
  CHECK(on.counters().launches == launches);

  // No memory is no fault: the pool tries again.
  controls.memory = 1;
  CHECK(on.allocate(64) == nullptr);
  CHECK(cudaGetLastError() == cudaSuccess);
  controls.memory = size_t{16} << 30;
  on.release(data);
}

TEST_CASE("backend.cpp and context.cpp: copies and waits where the stream works late") {
  controls.lag = 1000;
  Backend& on = backend(gpu);
  on.synchronize();
  std::vector<int32_t> host(size_t{3} << 20);  // three halves of the ring
  std::iota(host.begin(), host.end(), 0);
  const Tensor y({static_cast<int64_t>(host.size())}, DType::i32, gpu);
  on.upload(y.raw(), host.data(), host.size() * 4);
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, host.size() * 4) == cudaSuccess);
  on.download(pinned, y.raw(), host.size() * 4);
  CHECK(std::equal(host.begin(), host.end(), static_cast<const int32_t*>(pinned)));
  const int64_t copies = on.counters().copies;
  on.download(pinned, y.raw(), 0);
  CHECK(on.counters().copies == copies);
  const int64_t waits = stand_in::counts.waits;
  on.synchronize();
  CHECK(stand_in::counts.waits == waits + 1);
  REQUIRE(cudaFreeHost(pinned) == cudaSuccess);
  controls.lag = 0;
}

TEST_CASE("backend.cpp: a closed gate is what the record on the device says") {
  Backend& on = backend(gpu);
  const Tensor stopped = Tensor::of<double>({3}, {1, 0, 1}).to(gpu), y = Tensor::full({4}, 3, DType::f32, gpu);
  CHECK(on.gate(stopped));
  on.fill(y, 7);
  on.gate({});
  CHECK(y.rows(0, 1).item() == 3);
  on.fill(y, 7);
  CHECK(y.rows(0, 1).item() == 7);
}

TEST_CASE("context.cpp: an upload waits only for the half of the ring that comes next") {
  auto& on = *new CudaBackend(gpu, 0);
  controls.lag = 1000;
  constexpr size_t half = size_t{4} << 20;
  const std::vector<std::byte> host(half + 1);
  void* const data = on.allocate(2 * half);
  on.upload(data, host.data(), half + 1);  // into the other half, which nobody reads
  CHECK(on.counters().waits == 0);
  on.upload(data, host.data(), half);  // back in the first, whose copy is held back
  CHECK(on.counters().waits == 1);
  controls.lag = 0;
  on.synchronize();
  on.release(data);
}

TEST_CASE("map.h: more than a launch can take is refused in a sentence") {
  const Tensor y({1}, DType::f32, gpu);
  CHECK_THROWS_WITH(backend(gpu).fill({y.raw(), DType::f32, int64_t{1} << 60}, 1),
                    "cuda: 1152921504606846976 items are more than one launch can take");
}

// A grid has at most 65535 blocks in y.
TEST_CASE("tables.cu and sums.h: more columns, and more sums, than a grid has blocks") {
  controls.ends = 1;
  const int64_t cols = 32 * 65536;  // the first block takes the last columns
  const Tensor table = Tensor::full({1, cols}, -1, DType::f32, gpu), dy = Tensor::full({1, cols}, 3, DType::f32, gpu),
               id = Tensor::full({1}, 0, DType::i32, gpu), sums = Tensor({70000, 3}, DType::f32, gpu),
               x = Tensor::full({70000 * 2, 3}, 3, DType::f32, gpu);
  const auto whole = [&](const Tensor& t) { controls.ends = 0, t.fill(3), controls.ends = 1; };
  whole(dy), whole(x);
  backend(gpu).embedding_grad(table, id, dy, cols, 0);
  backend(gpu).sum(sums, x, 70000, 2, 3, 1, 0);
  controls.ends = 0;
  CHECK(table.flat_view(cols - 1, {1}).item() == 3);
  CHECK(sums.flat_view(3 * 65535, {1}).item() == 6);
}
