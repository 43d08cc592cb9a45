// Matrix products by cuBLAS. It thinks column by column: what is C to us is Cᵀ to it, and Cᵀ = Bᵀ Aᵀ, so the factors change
// places and nothing is transposed. This is the one place that knows.
#include <algorithm>

#include "cuda/backend.h"
#include "engine/matrix.h"

namespace borealis {

namespace {

// A factor as cuBLAS takes it: its transpose, stored column by column, `ld` numbers apart.
struct Factor {
  const void* data;
  cublasOperation_t op;
  int64_t ld;

  explicit Factor(const MatrixView& x) : data(x.data) {
    const bool rows_lie = x.col_stride == 1;  // side by side
    op = rows_lie ? CUBLAS_OP_N : CUBLAS_OP_T;
    // With a single row or column a stride is never used, and may be anything; without any cuBLAS still asks for 1.
    ld = rows_lie ? std::max<int64_t>({1, x.row_stride, x.cols}) : std::max<int64_t>({1, x.col_stride, x.rows});
  }
};

struct Types {
  cudaDataType stored;
  cublasComputeType_t compute;
};

Types types_of(DType dtype, Precision precision) {
  switch (dtype) {
    case DType::f64: return {CUDA_R_64F, CUBLAS_COMPUTE_64F};
    case DType::f32:
      // Of factors in f32 cuBLAS makes no use of fewer than 10 bits.
      return {CUDA_R_32F, precision == Precision::exact ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32};
    default: fail("cuda: products take f32 or f64, got ", dtype);
  }
}

// The strides of one batch dimension that takes both: of one that has a single entry, and of two that lie evenly.
bool is_one_batch(const Batch& b) {
  return b.count[0] == 1 || b.count[1] == 1 || b.stride[0] == b.stride[1] * b.count[1];
}
int64_t stride_of(const Batch& b) { return b.count[1] == 1 ? b.stride[0] : b.stride[1]; }

}  // namespace

// A wider result: its factors are widened, which loses nothing.
void CudaBackend::gemm(const MatrixView& c, const MatrixView& a, const MatrixView& b, double alpha, double beta,
                       bool symmetric, Precision precision) {
  if (c.rows == 0 || c.cols == 0 || c.batch.total() == 0) return;
  if (c.dtype != a.dtype)
    return gemm(c, converted(a, c.dtype, device()), converted(b, c.dtype, device()), alpha, beta, symmetric, precision);
  const Types types = types_of(c.dtype, precision);
  const float alpha32 = static_cast<float>(alpha), beta32 = static_cast<float>(beta);
  const bool f64 = c.dtype == DType::f64;
  const auto number = [f64](const double& wide, const float& narrow) {
    return f64 ? static_cast<const void*>(&wide) : static_cast<const void*>(&narrow);
  };
  const Factor A(a), B(b);
  // One matrix that is met again and again.
  const auto batch_of = [&](const MatrixView& x) {
    return x.batch.total() == 1 ? Batch{c.batch.count, {0, 0}} : x.batch;
  };
  const Batch of_a = batch_of(a), of_b = batch_of(b);
  const bool together = is_one_batch(c.batch) && is_one_batch(of_a) && is_one_batch(of_b);
  const int64_t calls = together ? 1 : c.batch.count[0], entries = c.batch.total() / calls;
  const auto step = [&](const Batch& x) { return together ? stride_of(x) : x.stride[1]; };
  for (int64_t outer = 0; outer < calls; ++outer) {
    const auto at = [&](const void* data, const Batch& x) {
      return static_cast<const std::byte*>(data) + static_cast<size_t>(outer * x.stride[0]) * size_of(c.dtype);
    };
    ++on_.counters.launches;
    check_cublas(cublasGemmStridedBatchedEx_64(
                     on_.blas(), B.op, A.op, c.cols, c.rows, a.cols, number(alpha, alpha32), at(B.data, of_b),
                     types.stored, B.ld, step(of_b), at(A.data, of_a), types.stored, A.ld, step(of_a),
                     number(beta, beta32), const_cast<std::byte*>(at(c.data, c.batch)), types.stored,
                     std::max(c.row_stride, c.cols), step(c.batch), entries, types.compute, CUBLAS_GEMM_DEFAULT),
                 "a matrix product");
  }
}

}  // namespace borealis
