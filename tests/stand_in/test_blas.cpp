// The product that stands in for cuBLAS's, against its definition, and what it must not be asked.
#include <cmath>
#include <functional>
#include <limits>

#include <cublas_v2.h>
#include <cuda_bf16.h>

#include "tests/stand_in/device.h"

using namespace borealis;
using stand_in::counts;

namespace {

// A product as it is asked for; tests change one thing of it.
struct Asked {
  cublasOperation_t ta = CUBLAS_OP_N, tb = CUBLAS_OP_N;
  int64_t m = 5, n = 3, k = 4, lda = 8, ldb = 7, ldc = 6;
  long long sa = 100, sb = 100, sc = 100;
  int64_t batch = 2;
  cudaDataType input = CUDA_R_32F, output = CUDA_R_32F;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  const void *a = nullptr, *b = nullptr;
  void* c = nullptr;
  const void *alpha = nullptr, *beta = nullptr;
};

class Blas : public TestDevice {
 public:
  Blas() {
    REQUIRE(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasSetStream(handle, stream) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasSetWorkspace(handle, room<char>(1024), 1024) == CUBLAS_STATUS_SUCCESS);
  }
  ~Blas() { (void)cublasDestroy(handle); }

  cublasStatus_t multiply(const Asked& p) {
    return cublasGemmStridedBatchedEx_64(handle, p.ta, p.tb, p.m, p.n, p.k, p.alpha, p.a, p.input, p.lda, p.sa, p.b,
                                         p.input, p.ldb, p.sb, p.beta, p.c, p.output, p.ldc, p.sc, p.batch, p.compute,
                                         CUBLAS_GEMM_DEFAULT);
  }

  cublasHandle_t handle = nullptr;
};

template <class T> T number(size_t i, int step) {
  return static_cast<T>(static_cast<float>(i * i % 23) / 16 * static_cast<float>(step) - 1);
}

template <class T> std::vector<T> some(int step) {
  std::vector<T> x(300);
  for (size_t i = 0; i < x.size(); ++i) x[i] = number<T>(i, step);
  return x;
}

// All four transposes, one product and two; C's padding stays, and where beta is 0 C's numbers are not read.
template <class In, class Out, class Scalar>
void check_products(cudaDataType input, cudaDataType output, cublasComputeType_t compute, double tolerance) {
  const std::vector<In> a = some<In>(1), b = some<In>(3);
  for (int transposes = 0; transposes < 4; ++transposes)
    for (const int64_t batch : {1, 2})
      for (const Scalar beta : {Scalar(0), Scalar(0.5)}) {
        const bool ta = transposes % 2 != 0, tb = transposes / 2 != 0;
        std::vector<Out> c(300, static_cast<Out>(beta == 0 ? std::numeric_limits<float>::quiet_NaN() : 2.0f));
        Blas on;
        const Scalar alpha = Scalar(0.75);
        Asked p;
        p.ta = ta ? CUBLAS_OP_T : CUBLAS_OP_N, p.tb = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
        p.batch = batch, p.input = input, p.output = output, p.compute = compute;
        p.a = on.put(a), p.b = on.put(b), p.alpha = &alpha, p.beta = &beta;
        auto* dc = on.put(c);
        p.c = dc;
        REQUIRE(on.multiply(p) == CUBLAS_STATUS_SUCCESS);
        const std::vector<Out> out = on.get(dc, c.size());
        for (size_t at = 0; at < out.size(); ++at) {
          const auto e = static_cast<int64_t>(at) / p.sc, j = static_cast<int64_t>(at) % p.sc / p.ldc,
                     i = static_cast<int64_t>(at) % p.sc % p.ldc;
          const auto got = static_cast<double>(out[at]), before = static_cast<double>(c[at]);
          if (e >= batch || j >= p.n || i >= p.m) {
            CHECK((got == before || (std::isnan(got) && std::isnan(before))));
            continue;
          }
          double sum = 0;
          for (int64_t q = 0; q < p.k; ++q)
            sum += static_cast<double>(a[static_cast<size_t>(e * p.sa + (ta ? i * p.lda + q : q * p.lda + i))]) *
                   static_cast<double>(b[static_cast<size_t>(e * p.sb + (tb ? q * p.ldb + j : j * p.ldb + q))]);
          const double expected = 0.75 * sum + (beta == 0 ? 0 : static_cast<double>(beta) * before);
          CHECK(std::abs(got - expected) <= tolerance * (1 + std::abs(expected)));
        }
      }
}

}  // namespace

TEST_CASE("stand-in: products of each type are what cuBLAS documents") {
  check_products<float, float, float>(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1e-6);
  check_products<float, float, float>(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, 1e-6);  // exact in TF32
  check_products<double, double, double>(CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, 1e-14);
  check_products<__nv_bfloat16, float, float>(CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, 1e-6);
  check_products<__nv_bfloat16, __nv_bfloat16, float>(CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, 1 / 256.0);
}

TEST_CASE("stand-in: TF32 keeps ten bits of a factor's fraction, by compute type or by mode") {
  const float x = 1 + 0x1p-10f + 0x1p-11f, one = 1, zero = 0;  // a tie: away from zero
  const auto product = [&](cublasComputeType_t compute, cublasMath_t mode) {
    Blas on;
    REQUIRE(cublasSetMathMode(on.handle, mode) == CUBLAS_STATUS_SUCCESS);
    float* c = on.room<float>(1);
    const Asked p{.m = 1,
                  .n = 1,
                  .k = 1,
                  .lda = 1,
                  .ldb = 1,
                  .ldc = 1,
                  .batch = 1,
                  .compute = compute,
                  .a = on.put<float>({x}),
                  .b = on.put<float>({1}),
                  .c = c,
                  .alpha = &one,
                  .beta = &zero};
    REQUIRE(on.multiply(p) == CUBLAS_STATUS_SUCCESS);
    return on.get(c, 1)[0];
  };
  CHECK(product(CUBLAS_COMPUTE_32F, CUBLAS_DEFAULT_MATH) == x);
  CHECK(product(CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_DEFAULT_MATH) == 1 + 0x1p-9f);
  CHECK(product(CUBLAS_COMPUTE_32F, CUBLAS_TF32_TENSOR_OP_MATH) == 1 + 0x1p-9f);
  CHECK(product(CUBLAS_COMPUTE_32F_PEDANTIC, CUBLAS_TF32_TENSOR_OP_MATH) == x);
}

TEST_CASE("stand-in: what cuBLAS refuses has its code, and what it does not see has a sentence") {
  Blas on;
  const float one = 1, zero = 0;
  auto* a = on.put(some<float>(1));
  auto* b = on.put(some<float>(3));
  auto* c = on.put(some<float>(2));
  Asked good;
  good.a = a, good.b = b, good.c = c, good.alpha = &one, good.beta = &zero;
  using Change = std::function<void(Asked&)>;
  const auto status = [&](const Change& change) {
    Asked p = good;
    change(p);
    return on.multiply(p);
  };
  const auto sentence = [&](const Change& change) { return fault_of([&] { return status(change); }); };
  CHECK(status([](Asked&) {}) == CUBLAS_STATUS_SUCCESS);

  CHECK(status([](Asked& p) { p.lda = 4; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status([](Asked& p) { p.ta = CUBLAS_OP_T, p.lda = 4; }) == CUBLAS_STATUS_SUCCESS);
  CHECK(status([](Asked& p) { p.ldb = 3; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status([](Asked& p) { p.ldc = 4, p.n = 0; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status([](Asked& p) { p.k = -1; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status([](Asked& p) { p.batch = -1; }) == CUBLAS_STATUS_EXECUTION_FAILED);
  CHECK(status([](Asked& p) { p.output = CUDA_R_16BF; }) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(status([](Asked& p) { p.compute = CUBLAS_COMPUTE_64F; }) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(status([](Asked& p) { p.alpha = nullptr; }) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(status([](Asked& p) { p.m = p.lda = 0; }) == CUBLAS_STATUS_INVALID_VALUE);
  // No rows, an inner size of 0 without factors, one factor for the whole batch.
  CHECK(status([](Asked& p) { p.m = 0, p.c = nullptr; }) == CUBLAS_STATUS_SUCCESS);
  CHECK(status([](Asked& p) { p.k = 0, p.ldb = 1, p.a = p.b = nullptr; }) == CUBLAS_STATUS_SUCCESS);
  CHECK(on.get(c, 1)[0] == 0);
  CHECK(status([](Asked& p) { p.sa = 0; }) == CUBLAS_STATUS_SUCCESS);
  // Columns of one output between those of another.
  CHECK(status([](Asked& p) { p.sc = 5, p.ldc = 10; }) == CUBLAS_STATUS_SUCCESS);

  const int64_t slow = counts.slow_products, all = counts.products;
  CHECK(status([](Asked& p) { p.lda = p.ldb = p.ldc = 8; }) == CUBLAS_STATUS_SUCCESS);
  CHECK(counts.slow_products == slow);
  CHECK(status([](Asked& p) { p.lda = p.ldb = p.ldc = 9; }) == CUBLAS_STATUS_SUCCESS);
  CHECK(counts.slow_products == slow + 1);
  CHECK(counts.products == all + 2);

  CHECK(has(sentence([](Asked& p) { p.sc = 0; }), "entries of the batch overlap in C"));
  CHECK(has(sentence([](Asked& p) { p.sc = 4, p.ldc = 10; }), "entries of the batch overlap in C"));
  CHECK(has(sentence([&](Asked& p) { p.c = a + 2; }), "C overlaps A"));
  CHECK(has(sentence([&](Asked& p) { p.c = b; }), "C overlaps B"));
  CHECK(sentence([&](Asked& p) { p.c = a + 5, p.ldc = 8, p.m = 3; }).empty());  // between A's columns
  CHECK(has(sentence([](Asked& p) { p.sb = 290; }), "of which the tensor has 1200"));
  std::vector<float> host(300);
  CHECK(has(sentence([&](Asked& p) { p.b = host.data(); }), "memory that is no living tensor of the device"));
  CHECK(has(sentence([&](Asked& p) { p.a = reinterpret_cast<char*>(a) + 2; }), "a pointer between two numbers"));

  REQUIRE(cublasSetPointerMode(on.handle, CUBLAS_POINTER_MODE_DEVICE) == CUBLAS_STATUS_SUCCESS);
  CHECK(has(sentence([](Asked&) {}), "alpha and beta must be the host's"));
  REQUIRE(cublasSetPointerMode(on.handle, CUBLAS_POINTER_MODE_HOST) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasSetStream(on.handle, on.stream) == CUBLAS_STATUS_SUCCESS);
  CHECK(has(sentence([](Asked&) {}), "no workspace since the stream was set"));
  CHECK(has(fault_of([&] { return cublasSetStream(on.handle, nullptr); }), "the default stream"));

  Blas without_stream;
  REQUIRE(cublasDestroy(without_stream.handle) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasCreate(&without_stream.handle) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasSetWorkspace(without_stream.handle, without_stream.room<char>(64), 64) == CUBLAS_STATUS_SUCCESS);
  CHECK(has(fault_of([&] { return without_stream.multiply(good); }), "the default stream"));
}
