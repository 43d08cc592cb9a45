// Every differentiable op, one formula line each. Gradients are first derivatives only: the rules
// write plain tensors, which remember nothing.
#pragma once

#include <optional>
#include <vector>

#include "../engine/rng.h"
#include "var.h"

namespace borealis {

// --- arithmetic, with NumPy broadcasting -----------------------------------------------------
// ops_pointwise.cpp
Var operator+(const Var& a, const Var& b);
Var operator-(const Var& a, const Var& b);
Var operator*(const Var& a, const Var& b);
Var operator/(const Var& a, const Var& b);
Var operator-(const Var& a);
Var operator+(const Var& a, double c);
Var operator-(const Var& a, double c);
Var operator-(double c, const Var& a);
Var operator*(const Var& a, double c);
Var operator/(const Var& a, double c);
inline Var operator+(double c, const Var& a) { return a + c; }
inline Var operator*(double c, const Var& a) { return a * c; }

// --- pointwise (formulas in engine/pointwise.h) ----------------------------------------------
enum class Gelu { erf, tanh };  // exact, or GPT-2's approximation

Var square(const Var& x);
Var sqrt(const Var& x);
Var exp(const Var& x);
Var log(const Var& x);
Var tanh(const Var& x);
Var sigmoid(const Var& x);
Var swiglu(const Var& gate, const Var& up);  // silu(gate) up
Var swiglu(const Var& h);                    // the same of the two halves of the last axis
Var soft_cap(const Var& x, double c);        // c x / √(x² + c²)
// With a bias [last size of x], the function is that of x + bias: one walk over memory behind a product without one.
Var relu(const Var& x, const Var& bias = {});
Var relu_squared(const Var& x, const Var& bias = {});                 // max(x, 0)²
Var silu(const Var& x, const Var& bias = {});                         // x σ(x)
Var gelu(const Var& x, Gelu form = Gelu::erf, const Var& bias = {});  // x Φ(x)
// Zeroes each number with probability p and divides the rest by 1 − p. p = 0 is the identity.
Var dropout(const Var& x, double p, Rng& rng);

// --- products --------------------------------------------------------------------------------
// ops_matmul.cpp a b for [m, k] [k, n], or for equal batches [b, m, k] [b, k, n].
Var matmul(const Var& a, const Var& b);
// x wᵀ + bias, with w: [out, in], x: […, in], bias: [out] or absent.
Var linear(const Var& x, const Var& w, const Var& bias = {});

// --- shapes ----------------------------------------------------------------------------------
// ops_shape.cpp
Var reshape(const Var& x, const Shape& shape);
Var permute(const Var& x, const std::vector<int>& order);
Var transpose(const Var& x, int axis_a = -2, int axis_b = -1);
Var slice(const Var& x, int axis, int64_t first, int64_t count);
Var concat(const std::vector<Var>& xs, int axis);

// --- reductions ------------------------------------------------------------------------------
// ops_reduce.cpp Over the listed axes; an empty list means all of them, and a single number comes
// out.
Var sum(const Var& x, const std::vector<int>& axes = {}, bool keepdim = false);
Var mean(const Var& x, const std::vector<int>& axes = {}, bool keepdim = false);
// The gradient goes to the first number that attains the maximum.
Var max(const Var& x, int axis, bool keepdim = false);
Var softmax(const Var& x, int axis = -1);
Var log_softmax(const Var& x, int axis = -1);
Var logsumexp(const Var& x, int axis = -1);  // the axis is gone from the result

// --- norms over the last axis ----------------------------------------------------------------
// ops_norm.cpp (x − mean)/√(var + eps)·gain + bias; gain and bias: [last size of x] or absent.
Var layer_norm(const Var& x, const Var& gain = {}, const Var& bias = {}, double eps = 1e-5);
// x/√(mean(x²) + eps)·gain
Var rms_norm(const Var& x, const Var& gain = {}, double eps = 1e-6);
// A residual stream's next value x + branch, and its norm: one walk over memory.
struct Normed {
  Var sum, norm;
};
Normed add_layer_norm(const Var& x, const Var& branch, const Var& gain = {}, const Var& bias = {}, double eps = 1e-5);
Normed add_rms_norm(const Var& x, const Var& branch, const Var& gain = {}, double eps = 1e-6);

// --- tokens ----------------------------------------------------------------------------------
// ops_embedding.cpp Rows of table [V, C] picked by ids (i32, any shape): [ids…, C].
Var embedding(const Var& table, const Tensor& ids);
// Mean over rows of −log softmax(logits)[target]; logits: […, V], targets: i32 […]. Rows whose
// target is `ignore_index` do not count. With a cap, it is that of soft_cap(logits, cap).
Var cross_entropy(const Var& logits, const Tensor& targets, int64_t ignore_index = -1, double cap = 0);

// --- attention -------------------------------------------------------------------------------
// ops_attention.cpp The angles' cosines and sines of the first `length` positions, [length, dim/2]
// each.
struct RotaryTable {
  Tensor cos, sin;
};
// Half-truncated: frequencies (1/1024)^linspace(0, 1, dim/4), then dim/4 zeros.
RotaryTable rotary_table(int64_t length, int64_t dim, DType dtype = DType::f32, Device device = {});
// Turns the pairs (i, i + dim/2) of each head of x […, T, heads·dim] by their position's angle.
Var rotary(const Var& x, int64_t heads, const RotaryTable& table, int64_t offset = 0);

struct AttentionOptions {
  double scale = 0;    // 0: 1/√(head size)
  double dropout = 0;  // on the probabilities; needs rng
  Rng* rng = nullptr;
  // Of packed qkv: each head of q and k is first divided by its root mean square, as by rms_norm with this eps, and then
  // turned as by rotary. Absent: neither.
  std::optional<double> qk_norm_eps = {};
  RotaryTable rotation = {};
};
// Causal attention of packed qkv [B, T, 3C] (q, then k, then v; heads of C/heads numbers): [B, T,
// C].
Var causal_attention(const Var& qkv, int64_t heads, const AttentionOptions& options = {});
// The same for separate q [B, Tq, C], k and v [B, Tk, C]; the queries are the last Tq positions.
Var causal_attention(const Var& q, const Var& k, const Var& v, int64_t heads, const AttentionOptions& options = {});

}  // namespace borealis
