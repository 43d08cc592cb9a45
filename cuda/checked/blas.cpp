// The stand-in for cuBLAS: products by plain loops, independent of the CPU's own.
#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_set>
#include <vector>

#include "cuda/checked/controls.h"
#include "cuda/checked/cublas_v2.h"
#include "cuda/checked/cuda_bf16.h"
#include "cuda/checked/device_memory.h"
#include "cuda/checked/errors.h"
#include "cuda/checked/grid.h"
#include "cuda/checked/stream.h"
#include "cuda/checked/watch.h"

using borealis::GuardedMemory;
using namespace borealis::stand_in;

struct cublasContext {
  cudaStream_t stream = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
  cublasPointerMode_t pointers = CUBLAS_POINTER_MODE_HOST;
};

namespace {

constexpr const char* call = "cublasGemmStridedBatchedEx";

size_t size_of(cudaDataType type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

// One of the three matrices, as it is stored.
struct Matrix {
  const void* data;
  cudaDataType type;
  int64_t rows, cols, ld;
  long long stride;
  int64_t batch;

  // Elements from the first to the last, of all entries of the batch.
  int64_t extent() const { return rows * cols == 0 ? 0 : (batch - 1) * stride + (cols - 1) * ld + rows; }
  const std::byte* begin() const { return static_cast<const std::byte*>(data); }
  const std::byte* end() const { return begin() + static_cast<size_t>(extent()) * size_of(type); }
  bool is_aligned() const {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && static_cast<size_t>(ld) * size_of(type) % 16 == 0;
  }
  size_t offset(int64_t entry, int64_t row, int64_t col) const {
    return static_cast<size_t>(entry * stride + col * ld + row) * size_of(type);
  }
  template <class F> void for_each(F f) const {
    for (int64_t e = 0; e < batch; ++e)
      for (int64_t j = 0; j < cols; ++j)
        for (int64_t i = 0; i < rows; ++i) f(begin() + offset(e, i, j));
  }
};

double load(const std::byte* at, cudaDataType type) {
  if (type == CUDA_R_64F) return *reinterpret_cast<const double*>(at);
  if (type == CUDA_R_32F) return *reinterpret_cast<const float*>(at);
  return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(at));
}

template <class T> void store(std::byte* at, cudaDataType type, T value) {
  if (type == CUDA_R_64F)
    *reinterpret_cast<double*>(at) = value;
  else if (type == CUDA_R_32F)
    *reinterpret_cast<float*>(at) = static_cast<float>(value);
  else
    *reinterpret_cast<__nv_bfloat16*>(at) = __float2bfloat16(static_cast<float>(value));
}

// To 10 bits of mantissa, the nearest, ties away from zero.
float to_tf32(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return std::isfinite(x) ? std::bit_cast<float>((bits + 0x1000) & 0xFFFFE000) : x;
}

// A product once it is found good; sums are of type T.
template <class T> struct Product {
  Matrix A, B, C;
  bool transposed_a, transposed_b, tf32;
  int64_t k;
  T alpha, beta;

  // op(X) of one entry, column by column, rounded.
  std::vector<T> read(const Matrix& X, bool transposed, int64_t entry) const {
    const int64_t rows = transposed ? X.cols : X.rows, cols = transposed ? X.rows : X.cols;
    for (int64_t j = 0; j < X.cols; ++j)
      watch::check(call, X.begin() + X.offset(entry, 0, j), static_cast<size_t>(X.rows) * size_of(X.type));
    std::vector<T> dense(static_cast<size_t>(rows * cols));
    auto* to = dense.data();
    for (int64_t j = 0; j < cols; ++j)
      for (int64_t i = 0; i < rows; ++i) {
        const auto x =
            static_cast<T>(load(X.begin() + (transposed ? X.offset(entry, j, i) : X.offset(entry, i, j)), X.type));
        *to++ = tf32 ? static_cast<T>(to_tf32(static_cast<float>(x))) : x;
      }
    return dense;
  }

  void run() const {
    auto* c = static_cast<std::byte*>(const_cast<void*>(C.data));
    const int64_t m = C.rows, n = C.cols;
    std::vector<T> column(static_cast<size_t>(m));
    for (int64_t e = 0; e < C.batch; ++e) {
      const bool reads = alpha != 0 && k > 0;
      const std::vector<T> a = reads ? read(A, transposed_a, e) : std::vector<T>();
      const std::vector<T> b = reads ? read(B, transposed_b, e) : std::vector<T>();
      for (int64_t j = 0; j < n; ++j) {
        std::fill(column.begin(), column.end(), T(0));
        for (int64_t p = 0; reads && p < k; ++p) {
          const T factor = b[static_cast<size_t>(j * k + p)];
          const T* from = a.data() + p * m;
          for (int64_t i = 0; i < m; ++i) column[static_cast<size_t>(i)] += from[i] * factor;
        }
        for (int64_t i = 0; i < m; ++i) {
          std::byte* at = c + C.offset(e, i, j);
          const T product = alpha == 0 ? T(0) : alpha * column[static_cast<size_t>(i)];
          store(at, C.type, beta == 0 ? product : product + beta * static_cast<T>(load(at, C.type)));
        }
        watch::written(c + C.offset(e, 0, j), static_cast<size_t>(m) * size_of(C.type));
      }
    }
  }
};

void check_overlaps(const Matrix& C, const Matrix& A, const Matrix& B) {
  const bool apart = C.batch == 1 || C.stride >= (C.cols - 1) * C.ld + C.rows;
  const bool interleaved = C.stride >= C.rows && (C.batch - 1) * C.stride + C.rows <= C.ld;
  const auto meets = [&](const Matrix& X) { return X.begin() < C.end() && C.begin() < X.end(); };
  if ((apart || interleaved) && !meets(A) && !meets(B)) return;
  std::unordered_set<const std::byte*> cells;
  C.for_each([&](const std::byte* at) {
    if (!cells.insert(at).second) fault(call, ": entries of the batch overlap in C");
  });
  for (const Matrix* X : {&A, &B})
    X->for_each([&](const std::byte* at) {
      if (cells.contains(at)) fault(call, ": C overlaps ", X == &A ? "A" : "B");
    });
}

template <class T> void enqueue(const cublasContext& handle, Product<T> product) {
  const Matrix &A = product.A, &B = product.B, &C = product.C;
  ++counts.products;
  counts.slow_products += !(A.is_aligned() && B.is_aligned() && C.is_aligned());
  checked(handle.stream, call).add([=, workspace = handle.workspace, bytes = handle.workspace_bytes] {
    GuardedMemory::Open open(memory(), call);
    use(open, "cublasSetWorkspace", workspace, bytes);
    for (const Matrix* X : {&product.A, &product.B, &product.C})
      if (X == &product.C || (product.k > 0 && product.alpha != 0))
        use(open, call, X->data, static_cast<size_t>(X->extent()) * size_of(X->type));
    product.run();
  });
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  if (refuses(__func__)) return CUBLAS_STATUS_INVALID_VALUE;
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int* version) {
  *version = 130100;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  if (refuses(__func__)) return CUBLAS_STATUS_INVALID_VALUE;
  handle->stream = &checked(stream, "cublasSetStream");
  handle->workspace = nullptr, handle->workspace_bytes = 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, size_t bytes) {
  if (refuses(__func__)) return CUBLAS_STATUS_INVALID_VALUE;
  handle->workspace = workspace, handle->workspace_bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
  handle->pointers = mode;
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
    case CUBLAS_STATUS_INVALID_VALUE: return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "the functionality requested is not supported";
    default: return "the function failed to launch on the GPU";
  }
}

cublasStatus_t cublasGemmStridedBatchedEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                             int64_t m, int64_t n, int64_t k, const void* alpha, const void* a,
                                             cudaDataType a_type, int64_t lda, long long stride_a, const void* b,
                                             cudaDataType b_type, int64_t ldb, long long stride_b, const void* beta,
                                             void* c, cudaDataType c_type, int64_t ldc, long long stride_c,
                                             int64_t batch, cublasComputeType_t compute, cublasGemmAlgo_t) {
  if (refuses(__func__)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (handle->pointers != CUBLAS_POINTER_MODE_HOST) fault(call, ": alpha and beta must be the host's");
  if (!alpha || !beta) return CUBLAS_STATUS_INVALID_VALUE;
  if (!handle->workspace || handle->workspace_bytes == 0)
    fault(call, ": no workspace since the stream was set; cublasSetStream forgets it");

  const bool f64 = compute == CUBLAS_COMPUTE_64F;
  const auto are = [&](cudaDataType input, cudaDataType output) {
    return a_type == input && b_type == input && c_type == output;
  };
  const bool bf16 = are(CUDA_R_16BF, CUDA_R_16BF) || are(CUDA_R_16BF, CUDA_R_32F), f32 = are(CUDA_R_32F, CUDA_R_32F);
  const bool known = f64 ? are(CUDA_R_64F, CUDA_R_64F) : compute == CUBLAS_COMPUTE_32F ? bf16 || f32 : f32;
  if (!known) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool ta = transa == CUBLAS_OP_T, tb = transb == CUBLAS_OP_T;
  if (m < 0 || n < 0 || k < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (batch < 0) return CUBLAS_STATUS_EXECUTION_FAILED;  // as an H200 says
  const Matrix A{a, a_type, ta ? k : m, ta ? m : k, lda, stride_a, batch};
  const Matrix B{b, b_type, tb ? n : k, tb ? k : n, ldb, stride_b, batch};
  const Matrix C{c, c_type, m, n, ldc, stride_c, batch};
  for (const Matrix* X : {&A, &B, &C})
    if (X->ld < std::max<int64_t>(1, X->rows)) return CUBLAS_STATUS_INVALID_VALUE;
  if (m == 0 || n == 0 || batch == 0) return CUBLAS_STATUS_SUCCESS;
  for (const Matrix* X : {&A, &B, &C})
    if (reinterpret_cast<uintptr_t>(X->data) % size_of(X->type) != 0) fault(call, ": a pointer between two numbers");
  if (stride_a < 0 || stride_b < 0 || stride_c < 0) fault(call, ": a negative stride");
  check_overlaps(C, A, B);

  const bool tf32 = f32 && (compute == CUBLAS_COMPUTE_32F_FAST_TF32 ||
                            (compute == CUBLAS_COMPUTE_32F && (handle->math & 15) == CUBLAS_TF32_TENSOR_OP_MATH));
  if (f64)
    enqueue(*handle, Product<double>{A, B, C, ta, tb, false, k, *static_cast<const double*>(alpha),
                                     *static_cast<const double*>(beta)});
  else
    enqueue(*handle, Product<float>{A, B, C, ta, tb, tf32, k, *static_cast<const float*>(alpha),
                                    *static_cast<const float*>(beta)});
  return CUBLAS_STATUS_SUCCESS;
}
