#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

namespace {

// y = op(a, b) under broadcasting.   da = ∂op/∂a · dy, summed down to a's shape; db likewise.
Var binary_op(const char* name, BinaryOp op, const Var& a, const Var& b) {
  const Tensor A = a.value(name), B = b.value(name);
  return record(name, binary(name, op, A, B), {a, b}, [name, op, A, B](Backward& bw) {
    const Broadcast walk = broadcast(name, A.shape(), B.shape());
    Backend& on = backend(A.device());
    for (const int side : {0, 1}) {
      if (!bw.needs(side)) continue;
      const Tensor& x = side == 0 ? A : B;
      if (x.shape() == walk.shape) {
        const auto [g, beta] = bw.slot(side);
        on.binary_grad(op, side, g, A, B, bw.dy(), walk, beta);
      } else {
        const Tensor full = bw.dy().like();
        on.binary_grad(op, side, full, A, B, bw.dy(), walk, 0);
        bw.add(side, sum_to(full, x.shape()));
      }
    }
  });
}

// y = op(x).   dx = op'(x) dy.
template <class Op> Var unary_op(const char* name, const Var& x, double param = 0) {
  constexpr UnaryOp op = enumerator<Op>(UnaryOps{});
  const Tensor X = x.value(name), Y = unary(op, X, param);
  return record(name, Y, {x}, [param, saved = Op::from_output ? Y : X](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    unary_grad(op, g, saved, bw.dy(), param, beta);
  });
}

// y = op(x + bias).   dx = op'(x + bias) dy,  dbias = its sum over the rows.
template <class Op> Var activation(const char* name, const Var& x, const Var& bias) {
  if (!bias) return unary_op<Op>(name, x);
  static_assert(!Op::from_output);
  constexpr UnaryOp op = enumerator<Op>(UnaryOps{});
  const Tensor X = x.value(name), B = bias.value(), Y = X.like();
  check_together(name, X, B);
  if (X.shape().rank() < 1 || !(B.shape() == Shape{X.size(-1)}))
    fail(name, ": x is ", X.shape(), " but the bias is ", B.shape(), ": it must be [last size of x]");
  backend(X.device()).bias_unary(op, Y, X, B, 0);
  return record(name, Y, {x, bias}, [X, B](Backward& bw) {
    // x and bias may be one Var, so the gradient of bias is made apart and then added.
    const Tensor dbias = bw.needs(1) ? B.like() : Tensor();
    const auto [dx, beta] = bw.needs(0) ? bw.slot(0) : Backward::Slot{Tensor(), 0};
    backend(X.device()).bias_unary_grad(op, dx, beta, dbias, 0, X, B, bw.dy(), 0);
    if (dbias) bw.add(1, dbias);
  });
}

// y = alpha x + shift.   dx = alpha dy.
Var affine_op(const char* name, const Var& x, double alpha, double shift) {
  return record(name, affine(x.value(name), alpha, shift), {x}, [alpha](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    axpby(g, alpha, bw.dy(), beta);
  });
}

}  // namespace

// y = a + b.   da = db = dy: handed on by handle where the shapes agree.
Var operator+(const Var& a, const Var& b) {
  const Shape sa = a.value("add").shape(), sb = b.value("add").shape();
  return record("add", binary("add", BinaryOp::add, a.value(), b.value()), {a, b}, [sa, sb](Backward& bw) {
    if (bw.needs(0)) bw.add(0, sum_to(bw.dy(), sa));
    if (bw.needs(1)) bw.add(1, sum_to(bw.dy(), sb));
  });
}

Var operator-(const Var& a, const Var& b) { return binary_op("sub", BinaryOp::sub, a, b); }
Var operator*(const Var& a, const Var& b) { return binary_op("mul", BinaryOp::mul, a, b); }
Var operator/(const Var& a, const Var& b) { return binary_op("div", BinaryOp::div, a, b); }
Var operator-(const Var& a) { return unary_op<Neg>("neg", a); }
Var operator+(const Var& a, double c) { return affine_op("add", a, 1, c); }
Var operator-(const Var& a, double c) { return affine_op("sub", a, 1, -c); }
Var operator-(double c, const Var& a) { return affine_op("sub", a, -1, c); }
Var operator*(const Var& a, double c) { return affine_op("mul", a, c, 0); }
Var operator/(const Var& a, double c) {
  if (c == 0) fail("div: division of ", a.shape(), " by the constant 0");
  return affine_op("div", a, 1 / c, 0);
}

Var square(const Var& x) { return unary_op<Square>("square", x); }
Var sqrt(const Var& x) { return unary_op<Sqrt>("sqrt", x); }
Var exp(const Var& x) { return unary_op<Exp>("exp", x); }
Var log(const Var& x) { return unary_op<Log>("log", x); }
Var tanh(const Var& x) { return unary_op<Tanh>("tanh", x); }
Var sigmoid(const Var& x) { return unary_op<Sigmoid>("sigmoid", x); }
Var relu(const Var& x, const Var& bias) { return activation<Relu>("relu", x, bias); }
Var relu_squared(const Var& x, const Var& bias) { return activation<ReluSquared>("relu_squared", x, bias); }
Var silu(const Var& x, const Var& bias) { return activation<Silu>("silu", x, bias); }
Var gelu(const Var& x, Gelu form, const Var& bias) {
  return form == Gelu::erf ? activation<GeluErf>("gelu", x, bias) : activation<GeluTanh>("gelu_tanh", x, bias);
}
Var swiglu(const Var& gate, const Var& up) { return binary_op("swiglu", BinaryOp::swiglu, gate, up); }

// y = silu(a) b  for h = (a, b).   dh = (silu'(a) b dy, silu(a) dy).
Var swiglu(const Var& h) {
  Shape shape = h.value("swiglu").shape();
  if (shape.rank() < 1 || shape[-1] % 2) fail("swiglu: the last size of ", shape, " does not split into two halves");
  const int64_t cols = shape[-1] / 2;
  shape.set(-1, cols);
  const Tensor H = h.value(), Y(shape, H.dtype(), H.device());
  if (Y.numel()) {
    const Shape::Strides rows{2 * cols, 1};
    backend(H.device())
        .binary(BinaryOp::swiglu, Y, H, H.flat_view(cols, {H.numel() - cols}),
                {.shape = {Y.numel() / cols, cols}, .a_stride = rows, .b_stride = rows});
  }
  return record("swiglu", Y, {h}, [H, cols](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).swiglu_grad(g, H, bw.dy(), cols, beta);
  });
}

Var soft_cap(const Var& x, double c) {
  if (!(c > 0)) fail("soft_cap: the cap must be positive, got ", c);
  return unary_op<SoftCap>("soft_cap", x, c);
}

// y = mask x / (1 − p).   dx = mask dy / (1 − p): the mask is drawn again, not stored.
Var dropout(const Var& x, double p, Rng& rng) {
  if (!(p >= 0 && p < 1)) fail("dropout: p must be in [0, 1), got ", p);
  const Tensor X = x.value("dropout");
  if (p == 0) return x;
  const Tensor Y = X.like(), step = rng.record("dropout", X.device());
  const RandomStream stream = rng.next_stream();
  backend(X.device()).dropout(Y, X, {p, stream, step}, 0);
  return record("dropout", Y, {x}, [p, stream, step](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).dropout(g, bw.dy(), {p, stream, step}, beta);
  });
}

}  // namespace borealis
