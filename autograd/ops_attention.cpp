#include <cmath>

#include "autograd/ops.h"
#include "engine/math.h"

namespace borealis {

RotaryTable rotary_table(int64_t length, int64_t dim, DType dtype, Device device) {
  if (dim < 4 || dim % 4) fail("rotary: the head size must be a multiple of 4, got ", dim);
  const int64_t half = dim / 2, turning = dim / 4;
  const Tensor cos({length, half}, DType::f64), sin({length, half}, DType::f64);
  for (int64_t t = 0; t < length; ++t)
    for (int64_t i = 0; i < half; ++i) {
      const double at = turning > 1 ? static_cast<double>(i) / static_cast<double>(turning - 1) : 0;
      const double angle = i < turning ? static_cast<double>(t) * std::pow(1.0 / 1024, at) : 0;
      cos.data<double>()[t * half + i] = std::cos(angle);
      sin.data<double>()[t * half + i] = std::sin(angle);
    }
  return {cos.to(dtype).to(device), sin.to(dtype).to(device)};
}

// y₁ = x₁ cos + x₂ sin,  y₂ = x₂ cos − x₁ sin.   dx: the same with the angle reversed.
Var rotary(const Var& x, int64_t heads, const RotaryTable& table, int64_t offset) {
  const Shape& s = x.value("rotary").shape();
  if (s.rank() < 2 || heads < 1 || s[-1] % heads) fail("rotary: ", s, " does not split into ", heads, " heads");
  const int64_t dim = s[-1] / heads, T = s[-2];
  check_together("rotary", x.value(), table.cos);
  check_together("rotary", x.value(), table.sin);
  const Shape& served = table.cos.shape();
  const Range positions{offset, T};
  if (served.rank() != 2 || !(table.sin.shape() == served) || served[1] * 2 != dim || !positions.inside(served[0]))
    fail("rotary: the table ", served, " does not serve positions ", positions, " of ", s, " with ", heads, " heads");
  RotaryArgs args{
      .outer = around(s, s.rank() - 2, s.rank() - 1).outer, .t = T, .heads = heads, .dim = dim, .offset = offset};
  const Tensor y = x.value().like();
  backend(y.device()).rotary(y, x.value(), table.cos, table.sin, args, 0);
  args.inverse = true;
  return record("rotary", y, {x}, [args, table](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).rotary(g, bw.dy(), table.cos, table.sin, args, beta);
  });
}

namespace {

void check_heads(const Shape& shape, int64_t C, int64_t heads, const AttentionOptions& o) {
  if (heads < 1 || C < 1 || C % heads) fail("attention: ", shape, " does not split into ", heads, " heads");
  if (!(o.dropout >= 0 && o.dropout < 1)) fail("attention: dropout must be in [0, 1), got ", o.dropout);
  if (o.dropout > 0 && !o.rng) fail("attention: dropout needs a random number generator");
  if (!(o.scale >= 0)) fail("attention: the scale must not be negative, got ", o.scale);
}

// What both forms share once sizes and strides are known.
AttentionArgs attention_args(const Tensor& q, int64_t C, int64_t heads, const AttentionOptions& o) {
  const int64_t dim = C / heads;
  AttentionArgs args{.dtype = q.dtype(),
                     .batch = q.size(0),
                     .heads = heads,
                     .tq = q.size(1),
                     .tk = q.size(1),
                     .dim = dim,
                     .scale = o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(dim))};
  args.y_batch_stride = args.tq * C;
  args.y_row_stride = C;
  if (o.dropout > 0) args.dropout = {o.dropout, o.rng->next_stream()};
  return args;
}

void run(const AttentionArgs& args, bool composed, const Tensor& y, const Tensor& lse) {
  Backend& on = backend(y.device());
  if (composed)
    on.Backend::attention(y.raw(), lse, args);
  else
    on.attention(y.raw(), lse, args);
}

void run_grad(const AttentionArgs& args, bool composed, const AttentionGrads& grads, const Tensor& y, const Tensor& dy,
              const Tensor& lse) {
  Backend& on = backend(y.device());
  if (composed)
    on.Backend::attention_grad(grads, y.raw(), dy.raw(), lse, args);
  else
    on.attention_grad(grads, y.raw(), dy.raw(), lse, args);
}

// The address of element `first` of t.
void* element(const Tensor& t, int64_t first) {
  return static_cast<std::byte*>(t.raw()) + static_cast<size_t>(first) * size_of(t.dtype());
}

}  // namespace

// P = softmax(scale q kᵀ) over the visible keys,  y = P v, head by head.
// dv = Pᵀ dy,  dP = dy vᵀ,  dS = P ∘ (dP − ⟨dP, P⟩),  dq = scale dS k,  dk = scale dSᵀ q.
Var causal_attention(const Var& qkv, int64_t heads, const AttentionOptions& options) {
  const Shape& s = qkv.value("attention").shape();
  if (s.rank() != 3 || s[2] % 3) fail("attention: packed qkv must be [B, T, 3C], got ", s);
  const int64_t C = s[2] / 3;
  check_heads(s, C, heads, options);
  const Tensor X = qkv.value();
  AttentionArgs args = attention_args(X, C, heads, options);
  args.q_row_stride = args.k_row_stride = args.v_row_stride = 3 * C;
  args.q_batch_stride = args.k_batch_stride = args.v_batch_stride = args.tq * 3 * C;
  args.q = element(X, 0);
  args.k = element(X, C);
  args.v = element(X, 2 * C);

  const Tensor y({args.batch, args.tq, C}, X.dtype(), X.device());
  const Tensor lse({args.batch, heads, args.tq}, X.dtype(), X.device());
  run(args, options.composed, y, lse);
  // X is captured for its memory: args points into it.
  return record("attention", y, {qkv}, [X, y, lse, args, C, composed = options.composed](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    run_grad(args, composed, {element(g, 0), element(g, C), element(g, 2 * C), beta, beta, beta}, y, bw.dy(), lse);
  });
}

Var causal_attention(const Var& q, const Var& k, const Var& v, int64_t heads, const AttentionOptions& options) {
  const Shape &sq = q.value("attention").shape(), &sk = k.value("attention").shape(),
              &sv = v.value("attention").shape();
  if (sq.rank() != 3 || sk.rank() != 3 || !(sk == sv) || sq[0] != sk[0] || sq[2] != sk[2] || sq[1] > sk[1])
    fail("attention: q must be [B, Tq, C] and k, v [B, Tk, C] with Tq ≤ Tk, got ", sq, ", ", sk, ", ", sv);
  check_together("attention", q.value(), k.value());
  check_together("attention", q.value(), v.value());
  const int64_t C = sq[2];
  check_heads(sq, C, heads, options);
  const Tensor Q = q.value(), K = k.value(), V = v.value();
  AttentionArgs args = attention_args(Q, C, heads, options);
  args.tk = sk[1];
  args.offset = args.tk - args.tq;
  args.q_row_stride = args.k_row_stride = args.v_row_stride = C;
  args.q_batch_stride = args.tq * C;
  args.k_batch_stride = args.v_batch_stride = args.tk * C;
  args.q = Q.raw();
  args.k = K.raw();
  args.v = V.raw();

  const Tensor y(sq, Q.dtype(), Q.device());
  const Tensor lse({args.batch, heads, args.tq}, Q.dtype(), Q.device());
  run(args, options.composed, y, lse);
  return record("attention", y, {q, k, v}, [Q, K, V, y, lse, args, composed = options.composed](Backward& bw) {
    // q, k and v may be one Var, so the three gradients are made apart and then added.
    const Tensor dq = Q.like(), dk = K.like(), dv = V.like();
    run_grad(args, composed, {dq.raw(), dk.raw(), dv.raw(), 0, 0, 0}, y, bw.dy(), lse);
    if (bw.needs(0)) bw.add(0, dq);
    if (bw.needs(1)) bw.add(1, dk);
    if (bw.needs(2)) bw.add(2, dv);
  });
}

}  // namespace borealis
