// A function behind a bias, and SwiGLU's gradient.
#include "cuda/sums.h"
#include "engine/pointwise.h"

namespace borealis {

namespace {

template <class Op, class T> struct BiasUnary {
  T* y;
  const T *x, *bias;
  int64_t cols;
  T p;
  __device__ void operator()(int64_t i) const { y[i] = Op::f(x[i] + bias[i % cols], p); }
};

// d = op'(x + bias)·dy, of which dbias is the sum over the rows.
template <class Op, class T> struct BiasUnaryGrad {
  const T *x, *bias, *dy;
  int64_t cols;
  T p;
  __device__ T operator()(int64_t row, int64_t j) const {
    return Op::df(x[row * cols + j] + bias[j], p) * dy[row * cols + j];
  }
};

// dx ← d + beta·dx.
template <class T, class F, class Put> struct Store {
  T* dx;
  F d;
  Put put;
  __device__ void operator()(int64_t i) const { put(dx[i], d(i / d.cols, i % d.cols)); }
};

template <class T, class Put> struct SwiGluGrad {
  T* dh;
  const T *h, *dy;
  int64_t cols;
  Put put;
  __device__ void operator()(int64_t i) const {
    const int64_t a = i / cols * 2 * cols + i % cols, b = a + cols;
    const T gate = h[a], up = h[b], d = dy[i];
    put(dh[a], SwiGlu::da(gate, up) * d);
    put(dh[b], SwiGlu::db(gate, up) * d);
  }
};

}  // namespace

void CudaBackend::bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) {
  visit(y.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      each_item(on_, "bias_unary", y.count,
                BiasUnary<Op, T>{y.as<T>(), x.as<T>(), bias.as<T>(), bias.count, static_cast<T>(param)});
    });
  });
}

void CudaBackend::bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                                  ConstSpan bias, ConstSpan dy, double param) {
  const int64_t cols = bias.count;
  visit(x.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      using D = BiasUnaryGrad<Op, T>;
      const D d{place<T>(x), place<T>(bias), place<T>(dy), cols, static_cast<T>(param)};
      if (dx)
        with_put<T>(beta, [&]<class Put>(Put put) {
          each_item(on_, "bias_unary_grad", x.count, Store<T, D, Put>{dx.as<T>(), d, put});
        });
      if (dbias && cols)
        column_sums<T>(on_, "bias_unary_grad", dbias, beta_bias, 1, x.count / cols, cols, 1, d, device_);
    });
  });
}

void CudaBackend::swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) {
  visit(dh.dtype, [&]<class T>(T) {
    with_put<T>(beta, [&]<class Put>(Put put) {
      each_item(on_, "swiglu_grad", dy.count, SwiGluGrad<T, Put>{dh.as<T>(), h.as<T>(), dy.as<T>(), cols, put});
    });
  });
}

}  // namespace borealis
