// A function behind a bias, and SwiGLU's gradient.
#include "cuda/sums.h"
#include "engine/pointwise.h"

namespace borealis {

namespace {

template <class Op, class T>
__global__ void bias_unary_kernel(Gate gate, T* y, const T* x, const T* bias, int64_t count, int64_t cols, T p) {
  if (gate.closed()) return;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i] = Op::f(x[i] + bias[i % cols], p);
}

// op'(x + bias)·dy
template <class Op, class T> struct BiasUnaryGrad {
  const T *x, *bias, *dy;
  int64_t cols;
  T p;
  __device__ T operator()(int64_t row, int64_t j) const {
    return Op::df(x[row * cols + j] + bias[j], p) * dy[row * cols + j];
  }
};

template <class T, class F, class Array, class Put>
__global__ void bias_unary_grad_kernel(Gate gate, Array dx, F f, int64_t count, Put put) {
  if (gate.closed()) return;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) put(dx.at[i], f(i / f.cols, i % f.cols));
}

template <class T, class Array, class Put>
__global__ void swiglu_grad_kernel(Gate gate, Array dh, const T* h, const T* dy, int64_t count, int64_t cols, Put put) {
  if (gate.closed()) return;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int64_t a = i / cols * 2 * cols + i % cols, b = a + cols;
  const T gate_value = h[a], up = h[b], d = dy[i];
  put(dh.at[a], SwiGlu::da(gate_value, up) * d);
  put(dh.at[b], SwiGlu::db(gate_value, up) * d);
}

}  // namespace

void CudaBackend::bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) {
  if (y.count == 0) return;
  visit(y.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      on_.launch("bias_unary", bias_unary_kernel<Op, T>, blocks_for(y.count, block_threads), block_threads, 0,
                 y.as<T>(), x.as<T>(), bias.as<T>(), y.count, bias.count, static_cast<T>(param));
    });
  });
}

void CudaBackend::bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                                  ConstSpan bias, ConstSpan dy, double param) {
  const int64_t cols = bias.count;
  visit(x.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      using F = BiasUnaryGrad<Op, T>;
      const F f{place<T>(x), place<T>(bias), place<T>(dy), cols, static_cast<T>(param)};
      if (dx && x.count)
        with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
          on_.launch("bias_unary_grad", bias_unary_grad_kernel<T, F, Array, Put>, blocks_for(x.count, block_threads),
                     block_threads, 0, out, f, x.count, put);
        });
      if (dbias && cols)
        column_sums<T>(on_, "bias_unary_grad", dbias, beta_bias, 1, x.count / cols, cols, 1, f, device_);
    });
  });
}

void CudaBackend::swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) {
  if (dy.count == 0) return;
  visit(dh.dtype, [&]<class T>(T) {
    with_beta<T>(dh, beta, [&]<class Array, class Put>(Array out, Put put) {
      on_.launch("swiglu_grad", swiglu_grad_kernel<T, Array, Put>, blocks_for(dy.count, block_threads), block_threads,
                 0, out, h.as<T>(), dy.as<T>(), dy.count, cols, put);
    });
  });
}

}  // namespace borealis
