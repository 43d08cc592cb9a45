// The GPU: kernels of our own, products by cuBLAS. One .cu per family, as engine/cpu/ has one .cpp. What is not overridden
// here runs as engine/composed.cpp spells it out.
#pragma once

#include "context.h"

namespace borealis {

class CudaBackend final : public Backend {
 public:
  // Number `card` of the machine, called `device`.
  CudaBackend(Device device, int card);
  Device device() const override { return device_; }
  Counters counters() const override { return on_.counters; }

  // backend.cpp
  void* allocate(size_t bytes) override;
  void release(void* data) override;
  void upload(void* dst, const void* host, size_t bytes) override;
  void download(void* host, const void* src, size_t bytes) override;
  void synchronize() override;
  void mark(void* data, size_t bytes, size_t capacity) override;
  bool gate(ConstSpan record) override;

  // pointwise.cu
  void copy(void* dst, const void* src, size_t bytes) override;
  void fill(Span y, double value) override;
  void cast(Span y, ConstSpan x) override;
  void unary(UnaryOp op, Span y, ConstSpan x, double param) override;
  void unary_grad(UnaryOp op, Span dx, ConstSpan saved, ConstSpan dy, double param, double beta) override;
  void affine(Span y, ConstSpan x, double alpha, double shift, double beta) override;
  void dropout(Span y, ConstSpan x, const DropoutArgs& args, double beta) override;

  // fused.cu
  void bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) override;
  void bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x, ConstSpan bias,
                       ConstSpan dy, double param) override;
  void swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) override;

  // norm.cu
  void norm(Span y, Span s, Span mean, Span rstd, ConstSpan x, ConstSpan branch, ConstSpan gain, ConstSpan bias,
            const NormArgs& args) override;
  void norm_grad(Span dx, double beta_x, Span dgain, double beta_gain, Span dbias, double beta_bias, ConstSpan x,
                 ConstSpan gain, ConstSpan mean, ConstSpan rstd, ConstSpan dy, const NormArgs& args) override;

  // cross_entropy.cu
  void cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                     int64_t ignored, double cap) override;
  void cross_entropy_grad(Span dlogits, ConstSpan logits, ConstSpan targets, ConstSpan lse, ConstSpan count,
                          ConstSpan dloss, int64_t cols, int64_t ignored, double cap, double beta) override;

  // rotary.cu
  void rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
              const RotaryArgs& args) override;
  void rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd, ConstSpan cos,
                   ConstSpan sin, const RotaryArgs& args, double beta) override;

  // attention.cu
  void attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k, const MatrixView& v,
                 const AttentionArgs& args) override;
  void attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                      const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& y,
                      const MatrixView& dy, ConstSpan lse, const AttentionArgs& args) override;

  // strided.cu
  void binary(BinaryOp op, Span y, ConstSpan a, ConstSpan b, const Broadcast& walk) override;
  void binary_grad(BinaryOp op, int side, Span dx, ConstSpan a, ConstSpan b, ConstSpan dy, const Broadcast& walk,
                   double beta) override;
  void strided_copy(Span dst, ConstSpan src, const StridedCopy& walk, double beta) override;

  // reduce.cu
  void sum(Span y, ConstSpan x, int64_t outer, int64_t mid, int64_t inner, double scale, double beta) override;
  void max(Span y, Span index, ConstSpan x, int64_t outer, int64_t mid, int64_t inner) override;
  void max_grad(Span dx, ConstSpan index, ConstSpan dy, int64_t outer, int64_t mid, int64_t inner,
                double beta) override;
  void sum_squares(Span y, ConstSpan x) override;
  bool all_finite(ConstSpan x) override;

  // rows.cu
  void softmax(Span y, ConstSpan x, const RowsArgs& args) override;
  void softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) override;
  void log_softmax(Span y, ConstSpan x, const RowsArgs& args) override;
  void log_softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) override;
  void logsumexp(Span y, ConstSpan x, const RowsArgs& args) override;
  void logsumexp_grad(Span dx, ConstSpan x, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) override;

  // tables.cu
  void embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) override;
  void embedding_grad(Span dtable, ConstSpan ids, ConstSpan dy, int64_t cols, double beta) override;

  // matrix.cu
  void row_sum_squares(Span out, const MatrixView& x) override;
  void scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d) override;
  void matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta) override;
  void scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor) override;
  void add_to_diagonal(const MatrixView& a, double shift, double relative) override;

  // factor.cu
  void cholesky(const MatrixView& a) override;
  void solve_lower(const MatrixView& x, const MatrixView& l) override;

  // optim.cu
  void inverse_norm(Span d, ConstSpan squares, double scale, double eps, double floor) override;
  void rebalance(Span d, ConstSpan squares, double target, double beta, double floor) override;
  void adamw(Span w, Span m, Span v, ConstSpan g, const AdamWArgs& args, ConstSpan record) override;
  void descend(Span w, ConstSpan u, double lr, double scale, double decay, ConstSpan record) override;
  void stop_unless_finite(Span record, ConstSpan x) override;
  void momentum(Span x, Span m, ConstSpan g, double mu, double gain, bool nesterov) override;
  void second_moment(Span x, Span v, ConstSpan g, double beta, double eps) override;

  // blas.cpp
  void gemm(const MatrixView& c, const MatrixView& a, const MatrixView& b, double alpha, double beta, bool symmetric,
            Precision precision) override;

 private:
  // Memory of this device from the pool, for the length of a kernel.
  Storage scratch(size_t bytes) const { return Storage(bytes, device_); }

  const Device device_;
  Context on_;
};

}  // namespace borealis
