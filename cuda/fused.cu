// A function behind a bias, and SwiGLU's gradient.
#include "cuda/sums.h"
#include "cuda/walk.h"
#include "engine/pointwise.h"

namespace borealis {

inline namespace fused_cu {

// y = op(x + bias)
template <class Op, class T> struct BiasUnary {
  T p;
  __device__ void operator()(T& y, T x, T bias) const { y = Op::f(x + bias, p); }
};

// dx ← d + beta·dx with d = op'(x + bias)·dy.
template <class Op, class T, class Put> struct BiasUnaryGrad {
  T p;
  Put put;
  __device__ void operator()(T& dx, T x, T bias, T dy) const { put(dx, Op::df(x + bias, p) * dy); }
};

// d, of which dbias is the sum over the rows; dx is written on the way, where it is wanted.
template <class Op, class T, class Array, class Put> struct BiasUnarySum {
  Array dx;
  const T *x, *bias, *dy;
  int64_t cols;
  T p;
  Put put;
  template <int n> __device__ Pack<T, n> pack(int64_t row, int64_t j) const {
    const int64_t i = row * cols + j;
    const Pack<T, n> v = mapping::load<T, n>(In<T>{x}, i), b = mapping::load<T, n>(In<T>{bias}, j);
    Pack<T, n> d = mapping::load<T, n>(In<T>{dy}, i);
    for (int e = 0; e < n; ++e) d.at[e] *= Op::df(v.at[e] + b.at[e], p);
    if (!dx.at) return d;
    Pack<T, n> out = mapping::load<T, n>(dx, i);
    for (int e = 0; e < n; ++e) put(out.at[e], d.at[e]);
    mapping::store<T, n>(dx, i, out);
    return d;
  }
};

template <class T, class Put> struct SwiGluGrad {
  Put put;
  __device__ void operator()(T& da, T& db, T a, T b, T dy) const {
    put(da, SwiGlu::da(a, b) * dy);
    put(db, SwiGlu::db(a, b) * dy);
  }
};

}  // namespace fused_cu

void CudaBackend::bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) {
  if (y.count == 0) return;
  const Shape shape{y.count / bias.count, bias.count};
  visit(y.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      walk(on_, "bias_unary", shape, {shape.strides(), shape.strides(), {0, 1}},
           BiasUnary<Op, T>{static_cast<T>(param)}, Out<T>{y.as<T>()}, in<T>(x), in<T>(bias));
    });
  });
}

void CudaBackend::bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                                  ConstSpan bias, ConstSpan dy, double param) {
  const int64_t cols = bias.count;
  if (cols == 0) return;
  const Shape shape{x.count / cols, cols};
  const Shape::Strides dense = shape.strides();
  visit(x.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
        const T p = static_cast<T>(param);
        if (!dbias)
          return walk(on_, "bias_unary_grad", shape, {dense, dense, {0, 1}, dense}, BiasUnaryGrad<Op, T, Put>{p, put},
                      out, in<T>(x), in<T>(bias), in<T>(dy));
        const BiasUnarySum<Op, T, Array, Put> d{out, place<T>(x), place<T>(bias), place<T>(dy), cols, p, put};
        column_sums<T>(on_, "bias_unary_grad", dbias, beta_bias, 1, shape[0], cols, 1, d,
                       are_aligned(d.dx, In<T>{d.x}, In<T>{d.bias}, In<T>{d.dy}), device_);
      });
    });
  });
}

void CudaBackend::swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) {
  if (dy.count == 0) return;
  const Shape shape{dy.count / cols, cols};
  const Shape::Strides half{2 * cols, 1};
  visit(dh.dtype, [&]<class T>(T) {
    with_beta<T>(dh, beta, [&]<class Array, class Put>(Array out, Put put) {
      walk(on_, "swiglu_grad", shape, {half, half, half, half, shape.strides()}, SwiGluGrad<T, Put>{put}, out,
           Array{out.at + cols}, in<T>(h), In<T>{h.as<T>() + cols}, in<T>(dy));
    });
  });
}

}  // namespace borealis
