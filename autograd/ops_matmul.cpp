#include "autograd/ops.h"
#include "engine/math.h"
#include "engine/matrix.h"

namespace borealis {

// y = a b.   da = dy bᵀ,  db = aᵀ dy.
Var matmul(const Var& a, const Var& b) {
  check_together("matmul", a.value("matmul"), b.value("matmul"));
  const int rank = a.shape().rank();
  if ((rank != 2 && rank != 3) || b.shape().rank() != rank || (rank == 3 && a.shape()[0] != b.shape()[0]))
    fail("matmul: takes [m, k] [k, n] or equal batches of them, got ", a.shape(), " and ", b.shape());
  const Matrix A = a.value(), B = b.value();
  if (A.cols() != B.rows()) fail("matmul: inner sizes differ: a is ", a.shape(), ", b is ", b.shape());
  const Tensor Y(rank == 2 ? Shape{A.rows(), B.cols()} : Shape{a.shape()[0], A.rows(), B.cols()}, a.dtype(),
                 a.device());
  gemm(Y, A, B);
  return record("matmul", Y, {a, b}, [A, B](Backward& bw) {
    const Matrix dY = bw.dy();
    if (bw.needs(0)) {
      const auto [g, beta] = bw.slot(0);
      gemm(g, dY, B.t(), 1, beta);
    }
    if (bw.needs(1)) {
      const auto [g, beta] = bw.slot(1);
      gemm(g, A.t(), dY, 1, beta);
    }
  });
}

// y = x wᵀ + bias.   dx = dy w,  dw = dyᵀ x,  dbias = column sums of dy.
Var linear(const Var& x, const Var& w, const Var& bias) {
  check_together("linear", x.value("linear"), w.value("linear"));
  if (w.shape().rank() != 2 || x.shape().rank() < 1 || x.shape()[-1] != w.shape()[1])
    fail("linear: x is ", x.shape(), " but w is ", w.shape(), " ([out, in]): the last size of x must equal in");
  const int64_t in = w.shape()[1], out = w.shape()[0];
  if (bias) {
    check_together("linear", x.value(), bias.value());
    if (!(bias.shape() == Shape{out}))
      fail("linear: bias is ", bias.shape(), " but w is ", w.shape(), " ([out, in]): bias must be [out]");
  }
  const int64_t rows = around(x.shape(), x.shape().rank() - 1, x.shape().rank() - 1).outer;
  Shape y_shape = x.shape();
  y_shape.set(-1, out);

  const Tensor X = x.value().reshape({rows, in}), W = w.value();
  const Tensor Y({rows, out}, x.dtype(), x.device());
  gemm(Y, X, Matrix(W).t());
  if (bias) backend(Y.device()).binary(BinaryOp::add, Y, Y, bias.value(), broadcast("linear", Y.shape(), bias.shape()));

  return record("linear", Y.reshape(y_shape), {x, w, bias}, [X, W, rows, out](Backward& bw) {
    const Tensor dY = bw.dy().reshape({rows, out});
    if (bw.needs(0)) {
      const auto [g, beta] = bw.slot(0);
      gemm(g.reshape(X.shape()), dY, W, 1, beta);
    }
    if (bw.needs(1)) {
      const auto [g, beta] = bw.slot(1);
      gemm(g, Matrix(dY).t(), X, 1, beta);
    }
    if (bw.needs(2)) {
      const auto [g, beta] = bw.slot(2);
      backend(g.device()).sum(g, dY, 1, rows, out, 1, beta);
    }
  });
}

}  // namespace borealis
