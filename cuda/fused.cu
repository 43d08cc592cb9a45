// A function behind a bias, and SwiGLU's gradient.
#include "cuda/row_kernels.h"
#include "cuda/sums.h"
#include "engine/pointwise.h"

namespace borealis {

inline namespace fused_cu {

// y = op(x + bias)
template <class Plan, class Op, class T>
__global__ void bias_unary_kernel(Gate gate, T* y, const T* x, const T* bias, int64_t rows, int64_t cols, T p) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>();
  if (row >= rows) return;
  const auto behind_bias = [=](int64_t, T& to, T v, T b) { to = Op::f(v + b, p); };
  write_row<Plan>(Out<T>{y + row * cols}, cols, behind_bias, Row<Plan>(x + row * cols, cols),
                  OfAllRows<Plan>{bias, T(0)});
}

// d = op'(x + bias)·dy, of which dbias is the sum over the rows; dx ← d + beta·dx on the way, where it is wanted.
template <class Op, class T, class Array, class Put> struct BiasUnaryGrad {
  Array dx;
  const T *x, *bias, *dy;
  int64_t cols;
  T p;
  Put put;
  template <int n> __device__ Pack<T, n> pack(int64_t row, int64_t j) const {
    Pack<T, n> d = mapping::load<T, n>(In<T>{dy}, row * cols + j);
    const Pack<T, n> v = mapping::load<T, n>(In<T>{x}, row * cols + j), b = mapping::load<T, n>(In<T>{bias}, j);
    for (int e = 0; e < n; ++e) d.at[e] *= Op::df(v.at[e] + b.at[e], p);
    if (!dx.at) return d;
    Pack<T, n> out = mapping::load<T, n>(dx, row * cols + j);
    for (int e = 0; e < n; ++e) put(out.at[e], d.at[e]);
    mapping::store<T, n>(dx, row * cols + j, out);
    return d;
  }
};

// The same without the sum.
template <int n, class T, class F> __global__ void each_pack_kernel(Gate gate, int64_t count, F f) {
  if (const int64_t i = this_thread() * n; i < count && !gate.closed()) f.template pack<n>(i / f.cols, i % f.cols);
}

template <class Plan, class T, class Array, class Put>
__global__ void swiglu_grad_kernel(Gate gate, Array dh, const T* h, const T* dy, int64_t rows, int64_t cols, Put put) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>();
  if (row >= rows) return;
  h += 2 * row * cols, dh.at += 2 * row * cols;
  const auto grad = [=](T& da, T& db, T a, T b, T d) {
    put(da, SwiGlu::da(a, b) * d);
    put(db, SwiGlu::db(a, b) * d);
  };
  each_turn<Plan>(cols, [&](int, int64_t j) {
    mapping::step<Plan::width>(j, grad, dh, Array{dh.at + cols}, In<T>{h}, In<T>{h + cols}, In<T>{dy + row * cols});
  });
}

}  // namespace fused_cu

void CudaBackend::bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) {
  const int64_t cols = bias.count;
  if (y.count == 0) return;
  visit(y.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      with_rows<T>(cols, have_packs<T>(cols, y.as<T>(), x.as<T>(), bias.as<T>()), [&]<class Plan>(Plan) {
        launch_rows<Plan>(on_, "bias_unary", y.count / cols, bias_unary_kernel<Plan, Op, T>, y.as<T>(), x.as<T>(),
                          bias.as<T>(), y.count / cols, cols, static_cast<T>(param));
      });
    });
  });
}

void CudaBackend::bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                                  ConstSpan bias, ConstSpan dy, double param) {
  const int64_t cols = bias.count;
  if (cols == 0) return;
  visit(x.dtype, [&]<class T>(T) {
    with_op<UnaryOps>(op, [&]<class Op>(Op) {
      with_beta<T>(dx, beta, [&]<class Array, class Put>(Array out, Put put) {
        const T *const from = place<T>(x), *const added = place<T>(bias), *const d = place<T>(dy);
        const BiasUnaryGrad<Op, T, Array, Put> f{out, from, added, d, cols, static_cast<T>(param), put};
        const bool packs = have_packs<T>(cols, out.at, from, added, d);
        if (dbias)
          return column_sums<T>(on_, "bias_unary_grad", dbias, beta_bias, 1, x.count / cols, cols, 1, f, packs,
                                device_);
        if (x.count == 0) return;
        const auto run = [&](auto n) {
          on_.launch("bias_unary_grad", each_pack_kernel<n, T, decltype(f)>, blocks_for(x.count / n, block_threads),
                     block_threads, 0, x.count, f);
        };
        packs ? run(std::integral_constant<int, 16 / sizeof(T)>{}) : run(std::integral_constant<int, 1>{});
      });
    });
  });
}

void CudaBackend::swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) {
  if (dy.count == 0) return;
  visit(dh.dtype, [&]<class T>(T) {
    with_beta<T>(dh, beta, [&]<class Array, class Put>(Array out, Put put) {
      with_rows<T>(cols, have_packs<T>(cols, out.at, h.as<T>(), dy.as<T>()), [&]<class Plan>(Plan) {
        launch_rows<Plan>(on_, "swiglu_grad", dy.count / cols, swiglu_grad_kernel<Plan, T, Array, Put>, out, h.as<T>(),
                          dy.as<T>(), dy.count / cols, cols, put);
      });
    });
  });
}

}  // namespace borealis
