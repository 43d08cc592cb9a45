// What a backend need not have: each kernel spelled out in the core's. These are references: they
// copy what they are given into tensors and write the formula with them, and what cannot be said so
// (factorizations, rebalance) is the CPU's kernel on copies there, for which they wait. Fast forms
// are tested against them: the CPU's by b.Backend::norm(…), all on a device of the core alone.
#include <cmath>
#include <limits>

#include "engine/backend.h"
#include "engine/math.h"
#include "engine/matrix.h"

namespace borealis {

namespace {

Tensor operator+(const Tensor& a, const Tensor& b) { return binary("+", BinaryOp::add, a, b); }
Tensor operator-(const Tensor& a, const Tensor& b) { return binary("-", BinaryOp::sub, a, b); }
Tensor operator*(const Tensor& a, const Tensor& b) { return binary("*", BinaryOp::mul, a, b); }
Tensor operator/(const Tensor& a, const Tensor& b) { return binary("/", BinaryOp::div, a, b); }
Tensor operator*(double c, const Tensor& x) { return affine(x, c, 0); }
Tensor operator+(const Tensor& x, double c) { return affine(x, 1, c); }
Tensor square(const Tensor& x) { return unary(UnaryOp::square, x); }
Tensor sqrt(const Tensor& x) { return unary(UnaryOp::sqrt, x); }
Tensor exp(const Tensor& x) { return unary(UnaryOp::exp, x); }
Tensor log(const Tensor& x) { return unary(UnaryOp::log, x); }
Tensor sign(const Tensor& x) { return unary(UnaryOp::sign, x); }
Tensor full_like(const Tensor& x, double value) { return Tensor::full(x.shape(), value, x.dtype(), x.device()); }

// Over the last axis, which stays; over all.
Tensor row_sum(const Tensor& x) { return sum(x, {-1}); }
Tensor row_mean(const Tensor& x) { return sum(x, {-1}, 1 / static_cast<double>(x.size(-1))); }
Tensor total(const Tensor& x) { return sum(x, {}); }

// max(x, least); a NaN stays one.
Tensor at_least(const Tensor& x, double least) {
  const Tensor both({2, x.numel()}, x.dtype(), x.device()), y = x.like(), index(x.shape(), DType::i32, x.device());
  both.rows(0, 1).copy_from(x.reshape({1, x.numel()}));
  both.rows(1, 1).fill(least);
  backend(x.device()).max(y, index, both, 1, 2, x.numel());
  return y;
}

// a/b for b ≥ 0, and 0 where b is 0.
Tensor quotient(const Tensor& a, const Tensor& b) {
  const Tensor some = sign(b);
  return a * some / (b + (-1 * some + 1));
}

// x where keep is 1; 0 where it is 0, even if x is not finite there.
Tensor select(const Tensor& keep, const Tensor& x) {
  const Tensor y = x.like(), dropped = (full_like(x, 1) - keep).to(DType::i32);
  backend(x.device()).max_grad(y, dropped, x, x.numel(), 1, 1, 0);
  return y;
}

// The numbers of x, copied.
Tensor tensor(Backend& on, ConstSpan x, const Shape& shape) {
  const Tensor t(shape, x.dtype, on.device());
  if (x.count) on.copy(t.raw(), x.data, static_cast<size_t>(x.count) * size_of(x.dtype));
  return t;
}

Shape::Strides strides(const MatrixView& x) {
  return {x.batch.stride[0], x.batch.stride[1], x.row_stride, x.col_stride};
}

Tensor tensor(Backend& on, const MatrixView& x) {
  const Tensor t({x.batch.count[0], x.batch.count[1], x.rows, x.cols}, x.dtype, on.device());
  const ConstSpan from(x.data, x.dtype, x.extent());
  if (from.count) on.strided_copy(t, from, {t.shape(), t.shape().strides(), strides(x)}, 0);
  return t;
}

// y ← x + beta·y.
void write(Backend& on, const MatrixView& y, const Tensor& x, double beta = 0) {
  const Span to{y.data, y.dtype, y.extent()};
  if (to.count) on.strided_copy(to, x, {x.shape(), strides(y), x.shape().strides()}, beta);
}

// 1 for what each row sees, 0 for the rest.
Tensor seen(Backend& on, DType dtype, const RowsArgs& args) {
  const Tensor x = Tensor::zeros({args.rows, args.cols}, dtype, on.device()), y = x.like();
  on.softmax(y, x, args);
  return sign(y);
}

// 1 where ids [rows, 1] name a column of x [rows, cols], 0 elsewhere.
Tensor one_hot(const Tensor& ids, const Tensor& x) {
  const Tensor y = x.like();
  backend(x.device()).max_grad(y, ids, full_like(row_sum(x), 1), x.size(0), x.size(1), 1, 0);
  return y;
}

// 0 where the target is `ignored`, else 1. In f64, where every id is exact.
Tensor counted(const Tensor& targets, int64_t ignored) {
  return square(sign(targets.to(DType::f64) + -static_cast<double>(ignored)));
}

Tensor capped(const Tensor& x, double cap) { return cap == 0 ? x : unary(UnaryOp::soft_cap, x, cap); }

// Rows of bias.count numbers.
Tensor plus_bias(Backend& on, ConstSpan x, ConstSpan bias) {
  const int64_t cols = bias.count;
  return tensor(on, x, {cols ? x.count / cols : 0, cols}) + tensor(on, bias, {cols});
}

// a bᵀ·scale for each matrix of a's batch.
Tensor scores(Backend& on, const MatrixView& a, const MatrixView& b, double scale) {
  const Tensor S({a.batch.count[0], a.batch.count[1], a.rows, b.rows}, a.dtype, on.device());
  on.gemm(Matrix(S), a, b.t(), scale, 0, false, Precision::exact);
  return S;
}

// Query i sees its first i + offset + 1 keys.
RowsArgs visible(const MatrixView& q, const MatrixView& k, const AttentionArgs& args) {
  return {.rows = q.batch.total() * q.rows, .cols = k.rows, .causal_rows = q.rows, .causal_offset = args.offset};
}

}  // namespace

void Backend::sum_squares(Span y, ConstSpan x) {
  affine(y, total(square(tensor(*this, x, {x.count}).to(DType::f64))), 1, 0, 0);
}

// --- pointwise ---------------------------------------------------------------------------------

void Backend::bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) {
  unary(op, y, plus_bias(*this, x, bias), param);
}

void Backend::bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                              ConstSpan bias, ConstSpan dy, double param) {
  const Tensor h = plus_bias(*this, x, bias), d = h.like();
  unary_grad(op, d, h, dy, param, 0);
  if (dx) affine(dx, d, 1, 0, beta);
  if (dbias) sum(dbias, d, 1, d.size(0), d.size(1), 1, beta_bias);
}

void Backend::swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) {
  if (dy.count == 0) return;
  const Shape half{dy.count / cols, cols};
  const Tensor H = tensor(*this, h, {half[0], 2 * cols}), dH = H.like(), a(half, h.dtype, device()), b = a.like();
  copy_from_slice(a, H, 1, 0, 0);
  copy_from_slice(b, H, 1, cols, 0);
  for (const int side : {0, 1}) {
    const Tensor d = a.like();
    binary_grad(BinaryOp::swiglu, side, d, a, b, dy, broadcast("swiglu", half, half), 0);
    copy_into_slice(dH, d, 1, side * cols, 0);
  }
  affine(dh, dH, 1, 0, beta);
}

// --- rows --------------------------------------------------------------------------------------

// y = x − lse, −∞ beyond what is seen. A row of −∞ alone has lse = −∞, and y = −∞ with any finite number in its place.
void Backend::log_softmax(Span y, ConstSpan x, const RowsArgs& args) {
  const Tensor X = tensor(*this, x, {args.rows, args.cols}), lse({args.rows, 1}, x.dtype, device());
  const Tensor S = seen(*this, x.dtype, args);
  logsumexp(lse, x, args);
  affine(y, select(S, X - at_least(lse, std::numeric_limits<float>::lowest())) + log(S), 1, 0, 0);
}

void Backend::log_softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) {
  const Shape shape{args.rows, args.cols};
  const Tensor dY = select(seen(*this, y.dtype, args), tensor(*this, dy, shape));
  affine(dx, dY - exp(tensor(*this, y, shape)) * row_sum(dY), 1, 0, beta);
}

void Backend::logsumexp_grad(Span dx, ConstSpan x, ConstSpan /*y*/, ConstSpan dy, const RowsArgs& args, double beta) {
  const Tensor P({args.rows, args.cols}, x.dtype, device());
  softmax(P, x, args);
  affine(dx, P * tensor(*this, dy, {args.rows, 1}), 1, 0, beta);
}

void Backend::norm(Span y, Span s, Span mean, Span rstd, ConstSpan x, ConstSpan branch, ConstSpan gain, ConstSpan bias,
                   const NormArgs& args) {
  Tensor X = tensor(*this, x, {args.rows, args.cols});
  if (branch) {
    X = X + tensor(*this, branch, X.shape());
    affine(s, X, 1, 0, 0);
  }
  if (args.center) {
    affine(mean, row_mean(X), 1, 0, 0);
    X = X - row_mean(X);
  }
  const Tensor deviation = sqrt(row_mean(square(X)) + args.eps), R = full_like(deviation, 1) / deviation;
  affine(rstd, R, 1, 0, 0);
  Tensor Y = X * R;
  if (gain) Y = Y * tensor(*this, gain, {args.cols});
  if (bias) Y = Y + tensor(*this, bias, {args.cols});
  affine(y, Y, 1, 0, 0);
}

// With x̂ = (x − mean) rstd and d = dy gain:  dx = rstd (d − ⟨d⟩ − x̂ ⟨d x̂⟩), for RMSNorm without ⟨d⟩;
// dgain = Σ_rows dy x̂,  dbias = Σ_rows dy.
void Backend::norm_grad(Span dx, double beta_x, Span dgain, double beta_gain, Span dbias, double beta_bias, ConstSpan x,
                        ConstSpan gain, ConstSpan mean, ConstSpan rstd, ConstSpan dy, const NormArgs& args) {
  const Shape shape{args.rows, args.cols}, each_row{args.rows, 1};
  const Tensor R = tensor(*this, rstd, each_row), dY = tensor(*this, dy, shape);
  Tensor X = tensor(*this, x, shape);
  if (args.center) X = X - tensor(*this, mean, each_row);
  X = X * R;
  if (dx) {
    const Tensor D = gain ? dY * tensor(*this, gain, {args.cols}) : dY;
    Tensor dX = D - X * row_mean(D * X);
    if (args.center) dX = dX - row_mean(D);
    affine(dx, R * dX, 1, 0, beta_x);
  }
  if (dgain) sum(dgain, dY * X, 1, args.rows, args.cols, 1, beta_gain);
  if (dbias) sum(dbias, dY, 1, args.rows, args.cols, 1, beta_bias);
}

// --- fused -------------------------------------------------------------------------------------

// loss = mean of lse − z[target] over the rows that count.
void Backend::cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                            int64_t ignored, double cap) {
  const int64_t rows = targets.count;
  const Tensor ids = tensor(*this, targets, {rows, 1});
  const Tensor X = capped(tensor(*this, logits, {rows, cols}), cap), hot = one_hot(ids, X);
  const Tensor counts = counted(ids, ignored).to(X.dtype()), n = total(counts);
  const Tensor at_target = row_sum(select(hot, X)) / row_sum(hot);  // NaN if it is no column
  logsumexp(lse, X, {.rows = rows, .cols = cols});
  affine(count, n, 1, 0, 0);
  affine(loss, quotient(total(select(counts, tensor(*this, lse, {rows, 1}) - at_target)), n), 1, 0, 0);
}

// dx = (exp(z − lse) − onehot) z' dloss/count.
void Backend::cross_entropy_grad(Span dlogits, ConstSpan logits, ConstSpan targets, ConstSpan lse, ConstSpan count,
                                 ConstSpan dloss, int64_t cols, int64_t ignored, double cap, double beta) {
  const int64_t rows = targets.count;
  const Tensor raw = tensor(*this, logits, {rows, cols}), X = capped(raw, cap), ids = tensor(*this, targets, {rows, 1});
  const Tensor hot = one_hot(ids, X), is_column = row_sum(hot) / row_sum(hot);  // 1, or NaN
  const Tensor dX = (exp(X - tensor(*this, lse, {rows, 1})) - hot) * is_column;
  if (cap != 0) unary_grad(UnaryOp::soft_cap, dX, raw, dX, cap, 0);
  const Tensor scale = quotient(tensor(*this, dloss, {1}), tensor(*this, count, {1}));
  affine(dlogits, select(counted(ids, ignored).to(X.dtype()), dX * scale), 1, 0, beta);
}

namespace {

// y₁ = x₁ cos + x₂ sin,  y₂ = x₂ cos − x₁ sin  of each head; direction −1 turns back.
Tensor turned(Backend& on, const Tensor& x, ConstSpan cos, ConstSpan sin, const RotaryArgs& args, int direction) {
  if (!cos || x.numel() == 0) return x;
  const int64_t half = args.dim / 2, outer = x.numel() / (args.t * args.heads * args.dim);
  const Tensor X = x.reshape({outer, args.t, args.heads, 2, half}), Y = X.like();
  const Tensor x1({outer, args.t, args.heads, 1, half}, x.dtype(), x.device()), x2 = x1.like();
  copy_from_slice(x1, X, 3, 0, 0);
  copy_from_slice(x2, X, 3, 1, 0);
  const auto angles = [&](ConstSpan table) {
    return tensor(on, table, {table.count / half, half}).rows(args.offset, args.t).reshape({args.t, 1, 1, half});
  };
  const Tensor c = angles(cos), s = direction * angles(sin);
  copy_into_slice(Y, x1 * c + x2 * s, 3, 0, 0);
  copy_into_slice(Y, x2 * c - x1 * s, 3, 1, 0);
  return Y.reshape(x.shape());
}

NormArgs head_norm(const MatrixView& x, const RotaryArgs& args) {
  return {.rows = x.rows * args.heads, .cols = args.dim, .eps = args.eps, .center = false};
}

}  // namespace

// The heads' RMS norm, then the turn.
void Backend::rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
                     const RotaryArgs& args) {
  const Tensor X = tensor(*this, x);
  if (rstd) norm(X, {}, {}, rstd, X.clone(), {}, {}, {}, head_norm(x, args));
  write(*this, y, turned(*this, X, cos, sin, args, 1));
}

void Backend::rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd,
                          ConstSpan cos, ConstSpan sin, const RotaryArgs& args, double beta) {
  Tensor dX = turned(*this, tensor(*this, dy), cos, sin, args, -1);
  if (rstd) {
    const Tensor d = dX;
    dX = d.like();
    norm_grad(dX, 0, {}, 0, {}, 0, tensor(*this, x), {}, {}, rstd, d, head_norm(x, args));
  }
  write(*this, dx, dX, beta);
}

// S = scale Q Kᵀ,  P = softmax(S) over the visible keys,  D = dropout(P),  Y = D V.
void Backend::attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k, const MatrixView& v,
                        const AttentionArgs& args) {
  const Tensor S = scores(*this, q, k, args.scale), P = S.like(), D = S.like();
  logsumexp(lse, S, visible(q, k, args));
  softmax(P, S, visible(q, k, args));
  dropout(D, P, args.dropout, 0);
  gemm(y, Matrix(D), v, 1, 0, false, Precision::exact);
}

// dV = Dᵀ dY,  dD = dY Vᵀ,  dP = dropout(dD),  dS_ij = P_ij (dP_ij − Σ_j P_ij dP_ij),
// dQ = scale dS K,  dK = scale dSᵀ Q.  P is formed anew from Q and K; y and lse, which spare a
// fused kernel that sum and the softmax, are not needed here.
void Backend::attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                             const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& /*y*/,
                             const MatrixView& dy, ConstSpan /*lse*/, const AttentionArgs& args) {
  const Tensor S = scores(*this, q, k, args.scale), P = S.like(), D = S.like(), dP = S.like(), dS = S.like();
  softmax(P, S, visible(q, k, args));
  dropout(D, P, args.dropout, 0);
  gemm(dv, Matrix(D).t(), dy, 1, beta, false, Precision::exact);
  dropout(dP, scores(*this, dy, v, 1), args.dropout, 0);
  softmax_grad(dS, P, dP, visible(q, k, args), 0);
  gemm(dq, Matrix(dS), k, args.scale, beta, false, Precision::exact);
  gemm(dk, Matrix(dS).t(), q, args.scale, beta, false, Precision::exact);
}

// --- matrices ----------------------------------------------------------------------------------

void Backend::row_sum_squares(Span out, const MatrixView& x) {
  affine(out, row_sum(square(tensor(*this, x))), 1, 0, 0);
}

void Backend::scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d) {
  write(*this, y, tensor(*this, x) * tensor(*this, d, {x.batch.count[0], x.batch.count[1], x.rows, 1}));
}

void Backend::matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta) {
  write(*this, y, alpha * tensor(*this, x), beta);
}

void Backend::scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor) {
  write(*this, y, tensor(*this, x) * tensor(*this, factor, {x.batch.count[0], x.batch.count[1], 1, 1}));
}

void Backend::cholesky(const MatrixView& a) {
  const Tensor A = tensor(*this, a).to(Device{});
  backend(Device{}).cholesky(Matrix(A));
  write(*this, a, A.to(device()));
}

void Backend::solve_lower(const MatrixView& x, const MatrixView& l) {
  const Tensor X = tensor(*this, x).to(Device{}), L = tensor(*this, l).to(Device{});
  backend(Device{}).solve_lower(Matrix(X), Matrix(L));
  write(*this, x, X.to(device()));
}

void Backend::polar_svd(const MatrixView& u, const MatrixView& x) {
  const Tensor X = tensor(*this, x).to(Device{}), U = X.like();
  backend(Device{}).polar_svd(Matrix(U), Matrix(X));
  write(*this, u, U.to(device()));
}

void Backend::add_to_diagonal(const MatrixView& a, double shift, double relative) {
  MatrixView diagonal = a;
  diagonal.cols = 1;
  diagonal.row_stride = a.row_stride + a.col_stride;
  const Tensor D = tensor(*this, diagonal);
  write(*this, diagonal, D + (borealis::sum(D, {-2}, relative / static_cast<double>(a.rows)) + shift));
}

// h_i = ‖L⁻¹ z_i‖² with L Lᵀ = ZᵀZ + ρI.
void Backend::leverage_scores(Span h, const MatrixView& z, double ridge) {
  const Matrix L = Matrix::make(z.cols, z.cols, z.batch, z.dtype, device());
  gemm(L, z.t(), z, 1, 0, true, Precision::exact);
  add_to_diagonal(L, 1e-30, ridge);  // 1e-30: for Z = 0
  cholesky(L);
  solve_lower(z, L);
  row_sum_squares(h, z);
}

void Backend::inverse_norm(Span d, ConstSpan squares, double scale, double eps, double floor) {
  const Tensor S = tensor(*this, squares, {squares.count});
  affine(d, quotient(sign(S), at_least(scale * sqrt(S) + eps, floor)), 1, 0, 0);
}

void Backend::rebalance(Span d, ConstSpan squares, double target, double beta, double floor) {
  const Tensor D = tensor(*this, d, {d.count}).to(Device{}), S = tensor(*this, squares, {d.count}).to(Device{});
  backend(Device{}).rebalance(D, S, target, beta, floor);
  affine(d, D.to(device()), 1, 0, 0);
}

// --- optimizers --------------------------------------------------------------------------------

namespace {

// What the record says, in f64 as it stands on the device: the number of the step, and lr·factor.
struct Now {
  Tensor step, rate;
  Now(Backend& on, ConstSpan record, double lr) {
    const Tensor numbers = tensor(on, record, {3});
    step = numbers.rows(1, 1), rate = lr * numbers.rows(2, 1);
  }
  Tensor unbias(double beta) const { return -1 * exp(std::log(beta) * step) + 1; }  // 1 − βᵗ
};

}  // namespace

void Backend::adamw(Span w, Span m, Span v, ConstSpan g, const AdamWArgs& args, ConstSpan record) {
  const Now now(*this, record, args.lr);
  affine(m, g, 1 - args.beta1, 0, args.beta1);
  affine(v, square(tensor(*this, g, {g.count})), 1 - args.beta2, 0, args.beta2);
  const Tensor size = sqrt(tensor(*this, v, {v.count})) / sqrt(now.unbias(args.beta2)).to(v.dtype) + args.eps;
  const Tensor keep = (-args.weight_decay * now.rate + 1).to(w.dtype);
  const Tensor step = (now.rate / now.unbias(args.beta1)).to(w.dtype);
  affine(w, keep * tensor(*this, w, {w.count}) - step * tensor(*this, m, {m.count}) / size, 1, 0, 0);
}

void Backend::descend(Span w, ConstSpan u, double lr, double scale, double decay, ConstSpan record) {
  const Tensor rate = Now(*this, record, lr).rate, keep = (-decay * rate + 1).to(w.dtype);
  affine(w, keep * tensor(*this, w, {w.count}) - (scale * rate).to(w.dtype) * tensor(*this, u, {u.count}), 1, 0, 0);
}

void Backend::stop_unless_finite(Span record, ConstSpan x) {
  const Tensor numbers = tensor(*this, record, {3}), first = tensor(*this, {x.data, x.dtype, 1}, {1}).to(DType::f64);
  const Tensor finite = first.like();  // 1, or 0 where x − x is a NaN
  unary_grad(UnaryOp::relu, finite, first - first + 1, full_like(first, 1), 0, 0);
  const Tensor goes_on = -1 * sign(numbers.rows(0, 1)) + 1;
  affine({record.data, DType::f64, 1}, (-1 * finite + 1) * goes_on * (numbers.rows(1, 1) + 1), 1, 0, 1);
}

void Backend::momentum(Span x, Span m, ConstSpan g, double mu, double gain, bool nesterov) {
  affine(m, g, gain, 0, mu);
  affine(x, m, nesterov ? mu : 1, 0, 0);
  if (nesterov) affine(x, g, gain, 0, 1);
}

void Backend::second_moment(Span x, Span v, ConstSpan g, double beta, double eps) {
  affine(v, square(tensor(*this, g, {g.count})), 1 - beta, 0, beta);
  const Tensor V = tensor(*this, v, {v.count});
  affine(x, quotient(tensor(*this, x, {x.count}) * sign(V), sqrt(V) + eps), 1, 0, 0);
}

}  // namespace borealis
