#include <cmath>

#include "autograd/ops.h"
#include "engine/math.h"
#include "engine/matrix.h"

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

namespace {

// Fails unless the table has the angles of x's positions.
void check_table(const RotaryTable& table, const Tensor& x, const RotaryArgs& args, int64_t heads) {
  check_together("rotary", x, table.cos);
  check_together("rotary", x, table.sin);
  const Shape& served = table.cos.shape();
  const Range positions{args.offset, args.t};
  if (served.rank() != 2 || !(table.sin.shape() == served) || served[1] * 2 != args.dim || !positions.inside(served[0]))
    fail("rotary: the table ", served, " does not serve positions ", positions, " of ", x.shape(), " with ", heads,
         " heads");
}

// The first `cols` numbers of each row.
Matrix columns(const Tensor& t, int64_t cols) {
  const int64_t width = t.size(-1);
  return Matrix::strided(t, 0, width ? t.numel() / width : 0, cols, width);
}

}  // namespace

// y₁ = x₁ cos + x₂ sin,  y₂ = x₂ cos − x₁ sin.   dx: the same with the angle reversed.
Var rotary(const Var& x, int64_t heads, const RotaryTable& table, int64_t offset) {
  const Shape& s = x.value("rotary").shape();
  if (s.rank() < 2 || heads < 1 || s[-1] % heads) fail("rotary: ", s, " does not split into ", heads, " heads");
  const RotaryArgs args{.t = s[-2], .heads = heads, .dim = s[-1] / heads, .offset = offset};
  check_table(table, x.value(), args, heads);
  const auto all = [](const Tensor& t) { return columns(t, t.size(-1)); };
  const Tensor y = x.value().like();
  backend(y.device()).rotary(all(y), {}, all(x.value()), table.cos, table.sin, args);
  return record("rotary", y, {x}, [args, table, all](Backward& bw) {
    const auto [g, beta] = bw.slot(0);
    backend(g.device()).rotary_grad(all(g), all(bw.dy()), {}, {}, table.cos, table.sin, args, beta);
  });
}

namespace {

AttentionArgs attention_args(const Shape& shape, int64_t C, int64_t H, int64_t offset, const AttentionOptions& o) {
  if (H < 1 || C < 1 || C % H) fail("attention: ", shape, " does not split into ", H, " heads");
  if (!(o.dropout >= 0 && o.dropout < 1)) fail("attention: dropout must be in [0, 1), got ", o.dropout);
  if (o.dropout > 0 && !o.rng) fail("attention: dropout needs a random number generator");
  if (!(o.qk_norm_eps.value_or(0) >= 0)) fail("attention: qk_norm_eps must not be negative, got ", *o.qk_norm_eps);
  if (!(o.scale >= 0)) fail("attention: the scale must not be negative, got ", o.scale);
  AttentionArgs args{.scale = o.scale > 0 ? o.scale : 1 / std::sqrt(static_cast<double>(C / H)), .offset = offset};
  if (o.dropout > 0) args.dropout = {o.dropout, o.rng->next_stream()};
  return args;
}

// The record that the generator of dropout follows, if it does.
Tensor followed(const AttentionOptions& o, Device device) {
  return o.rng ? o.rng->record("attention", device) : Tensor();
}

// `args` with that record, which a gradient rule keeps as a Tensor.
AttentionArgs following(const Tensor& steps, AttentionArgs args) {
  args.dropout.record = steps;
  return args;
}

}  // namespace

// P = softmax(scale q kᵀ) over the visible keys,  y = P v, head by head.
// dv = Pᵀ dy,  dP = dy vᵀ,  dS = P ∘ (dP − ⟨dP, P⟩),  dq = scale dS k,  dk = scale dSᵀ q.
Var causal_attention(const Var& qkv, int64_t H, const AttentionOptions& options) {
  const Shape& s = qkv.value("attention").shape();
  if (s.rank() != 3 || s[2] % 3) fail("attention: packed qkv must be [B, T, 3C], got ", s);
  const int64_t C = s[2] / 3;
  const AttentionArgs args = attention_args(s, C, H, 0, options);
  const auto part = [C, H](const Tensor& t, int64_t index) { return heads(t, index * C, H, C / H); };
  const auto fresh = [&](const Shape& shape) { return Tensor(shape, qkv.dtype(), qkv.device()); };
  const Tensor X = qkv.value(), y = fresh({s[0], s[1], C}), lse = fresh({s[0], H, s[1]});
  const Tensor steps = followed(options, y.device());
  Backend& on = backend(y.device());

  // q and k as attention reads them: where they stand, or prepared.
  const RotaryTable angles = options.rotation;
  const RotaryArgs turn{.t = s[1], .heads = 2 * H, .dim = C / H, .eps = options.qk_norm_eps.value_or(0)};
  if (angles.cos || angles.sin) check_table(angles, X, turn, H);
  const bool prepares = angles.cos || options.qk_norm_eps;
  const Tensor QK = prepares ? fresh({s[0], s[1], 2 * C}) : X;
  const Tensor rstd = options.qk_norm_eps ? fresh({s[0], s[1], 2 * H}) : Tensor();
  const auto both = [C](const Tensor& t) { return columns(t, 2 * C); };
  if (prepares) on.rotary(both(QK), rstd, both(X), angles.cos, angles.sin, turn);

  on.attention(part(y, 0), lse, part(QK, 0), part(QK, 1), part(X, 2), following(steps, args));
  return record("attention", y, {qkv}, [=](Backward& bw) {
    const auto grad = [&](const Tensor& g, double beta) {
      backend(g.device())
          .attention_grad(part(g, 0), part(g, 1), part(g, 2), beta, part(QK, 0), part(QK, 1), part(X, 2), part(y, 0),
                          part(bw.dy(), 0), lse, following(steps, args));
    };
    if (!prepares) {
      const auto [g, beta] = bw.slot(0);
      return grad(g, beta);
    }
    const Tensor g = X.like();  // apart: the gradients of what was prepared are turned into those of q and k in place
    grad(g, 0);
    backend(g.device()).rotary_grad(both(g), both(g), both(X), rstd, angles.cos, angles.sin, turn, 0);
    bw.add(0, g);
  });
}

Var causal_attention(const Var& q, const Var& k, const Var& v, int64_t H, const AttentionOptions& options) {
  const Shape &sq = q.value("attention").shape(), &sk = k.value("attention").shape(),
              &sv = v.value("attention").shape();
  if (sq.rank() != 3 || sk.rank() != 3 || !(sk == sv) || sq[0] != sk[0] || sq[2] != sk[2] || sq[1] > sk[1])
    fail("attention: q must be [B, Tq, C] and k, v [B, Tk, C] with Tq ≤ Tk, got ", sq, ", ", sk, ", ", sv);
  if (options.qk_norm_eps || options.rotation.cos || options.rotation.sin)
    fail(
        "attention: only q and k that are packed with v are normed and turned; for separate ones call rms_norm, "
        "rotary");
  check_together("attention", q.value(), k.value());
  check_together("attention", q.value(), v.value());
  const AttentionArgs args = attention_args(sq, sq[2], H, sk[1] - sq[1], options);
  const auto all = [H](const Tensor& t) { return heads(t, 0, H, t.size(2) / H); };
  const Tensor y = q.value().like(), lse({sq[0], H, sq[1]}, y.dtype(), y.device());
  const Tensor steps = followed(options, y.device());
  const Matrix Q = all(q.value()), K = all(k.value()), V = all(v.value());
  backend(y.device()).attention(all(y), lse, Q, K, V, following(steps, args));
  return record("attention", y, {q, k, v}, [=, k_shape = sk](Backward& bw) {
    // q, k and v may be one Var, so the three gradients are made apart and then added.
    const Tensor dq = y.like(), dk(k_shape, y.dtype(), y.device()), dv = dk.like();
    backend(y.device())
        .attention_grad(all(dq), all(dk), all(dv), 0, Q, K, V, all(y), all(bw.dy()), lse, following(steps, args));
    if (bw.needs(0)) bw.add(0, dq);
    if (bw.needs(1)) bw.add(1, dk);
    if (bw.needs(2)) bw.add(2, dv);
  });
}

}  // namespace borealis
