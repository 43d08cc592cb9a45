// Every pointwise formula and its derivative, once, for both compilers.
//
// A unary op is a struct with f (the function) and df (its derivative). df takes x, or y = f(x)
// in an OfOutput, where y is cheaper to differentiate from. `p` is the op's parameter, if
// it has one. Adding one: a struct, its name in the enum and in the list, and for an op of autograd
// a row in tests/op_cases.cpp.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "fastmath.h"
#include "host_device.h"

namespace borealis {

// Bases of the ops: what df takes.
struct OfInput {
  static constexpr bool from_output = false;
};
struct OfOutput {
  static constexpr bool from_output = true;
};

struct Neg : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) { return -x; }
  template <class T> BOREALIS_HD static T df(T, T) { return T(-1); }
};

// x²
struct Square : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) { return x * x; }
  template <class T> BOREALIS_HD static T df(T x, T) { return 2 * x; }
};

// √x.  d = 1/(2y).
struct Sqrt : OfOutput {
  template <class T> BOREALIS_HD static T f(T x, T) { return fast::sqrt(x); }
  template <class T> BOREALIS_HD static T df(T y, T) { return T(0.5) / y; }
};

// eˣ.  d = y.
struct Exp : OfOutput {
  template <class T> BOREALIS_HD static T f(T x, T) { return fast::exp(x); }
  template <class T> BOREALIS_HD static T df(T y, T) { return y; }
};

// ln x.  d = 1/x.
struct Log : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) { return fast::log(x); }
  template <class T> BOREALIS_HD static T df(T x, T) { return 1 / x; }
};

// tanh x.  d = 1 − y².
struct Tanh : OfOutput {
  template <class T> BOREALIS_HD static T f(T x, T) { return fast::tanh(x); }
  template <class T> BOREALIS_HD static T df(T y, T) { return 1 - y * y; }
};

// σ(x) = 1/(1 + e⁻ˣ).  d = y(1 − y).
struct Sigmoid : OfOutput {
  template <class T> BOREALIS_HD static T f(T x, T) { return 1 / (1 + fast::exp(-x)); }
  template <class T> BOREALIS_HD static T df(T y, T) { return y * (1 - y); }
};

// max(x, 0)
struct Relu : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) {
    return x < 0 ? T(0) : x;  // a NaN stays a NaN
  }
  template <class T> BOREALIS_HD static T df(T x, T) { return x > 0 ? T(1) : T(0); }
};

// max(x, 0)²  (So et al., "Primer", 2021)
struct ReluSquared : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) { return x < 0 ? T(0) : x * x; }
  template <class T> BOREALIS_HD static T df(T x, T) { return x > 0 ? 2 * x : T(0); }
};

// x σ(x).  d = s(1 + x(1 − s)).
struct Silu : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) { return x / (1 + fast::exp(-x)); }
  template <class T> BOREALIS_HD static T df(T x, T) {
    const T s = 1 / (1 + fast::exp(-x));
    return s * (1 + x * (1 - s));
  }
};

// x Φ(x) with Φ(x) = ½(1 + erf(x/√2))  (Hendrycks & Gimpel, 2016).  d = Φ(x) + x φ(x).
struct GeluErf : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) {
    return T(0.5) * x * (1 + fast::erf(x * T(0.70710678118654752440)));
  }
  template <class T> BOREALIS_HD static T df(T x, T) {
    const T cdf = T(0.5) * (1 + fast::erf(x * T(0.70710678118654752440)));
    const T pdf = T(0.39894228040143267794) * fast::exp(T(-0.5) * x * x);
    return cdf + x * pdf;
  }
};

// ½x(1 + tanh u) with u = √(2/π)(x + 0.044715 x³).
struct GeluTanh : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) {
    const T u = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
    return T(0.5) * x * (1 + fast::tanh(u));
  }
  template <class T> BOREALIS_HD static T df(T x, T) {
    const T u = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
    const T du = T(0.79788456080286535588) * (1 + T(0.134145) * x * x);
    const T t = fast::tanh(u);
    return T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * du;
  }
};

// Soft cap: p x/√(x² + p²), within (−p, p).  d = (p/√(x² + p²))³.
struct SoftCap : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T p) { return p * x / fast::sqrt(x * x + p * p); }
  template <class T> BOREALIS_HD static T df(T x, T p) {
    const T c = p / fast::sqrt(x * x + p * p);
    return c * c * c;
  }
};

// −1, 0 or 1; ±0 and a NaN as they are.
struct Sign : OfInput {
  template <class T> BOREALIS_HD static T f(T x, T) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; }
  template <class T> BOREALIS_HD static T df(T, T) { return T(0); }
};

// The enumerators of UnaryOp are the list's positions: both backends expand the list into their
// switch.
enum class UnaryOp {
  neg,
  square,
  sqrt,
  exp,
  log,
  tanh,
  sigmoid,
  relu,
  relu_squared,
  silu,
  gelu_erf,
  gelu_tanh,
  soft_cap,
  sign
};
using UnaryOps =
    std::tuple<Neg, Square, Sqrt, Exp, Log, Tanh, Sigmoid, Relu, ReluSquared, Silu, GeluErf, GeluTanh, SoftCap, Sign>;
static_assert(std::tuple_size_v<UnaryOps> == static_cast<size_t>(UnaryOp::sign) + 1);

// Op's enumerator: its place in the list.
template <class Op, class... Ops> constexpr UnaryOp enumerator(const std::tuple<Ops...>&) {
  int place = 0;
  (void)((std::is_same_v<Op, Ops> || (++place, false)) || ...);
  return static_cast<UnaryOp>(place);
}

// --- two inputs: f and the derivative with respect to each -------------------------------------

struct Add {
  template <class T> BOREALIS_HD static T f(T a, T b) { return a + b; }
  template <class T> BOREALIS_HD static T da(T, T) { return T(1); }
  template <class T> BOREALIS_HD static T db(T, T) { return T(1); }
};

struct Sub {
  template <class T> BOREALIS_HD static T f(T a, T b) { return a - b; }
  template <class T> BOREALIS_HD static T da(T, T) { return T(1); }
  template <class T> BOREALIS_HD static T db(T, T) { return T(-1); }
};

struct Mul {
  template <class T> BOREALIS_HD static T f(T a, T b) { return a * b; }
  template <class T> BOREALIS_HD static T da(T, T b) { return b; }
  template <class T> BOREALIS_HD static T db(T a, T) { return a; }
};

struct Div {
  template <class T> BOREALIS_HD static T f(T a, T b) { return a / b; }
  template <class T> BOREALIS_HD static T da(T, T b) { return 1 / b; }
  template <class T> BOREALIS_HD static T db(T a, T b) { return -a / (b * b); }
};

// SwiGLU's gate: silu(a) b  (Shazeer, "GLU variants improve transformer", 2020).
struct SwiGlu {
  template <class T> BOREALIS_HD static T f(T a, T b) { return Silu::f(a, T(0)) * b; }
  template <class T> BOREALIS_HD static T da(T a, T b) { return Silu::df(a, T(0)) * b; }
  template <class T> BOREALIS_HD static T db(T a, T) { return Silu::f(a, T(0)); }
};

enum class BinaryOp { add, sub, mul, div, swiglu };
using BinaryOps = std::tuple<Add, Sub, Mul, Div, SwiGlu>;
static_assert(std::tuple_size_v<BinaryOps> == static_cast<size_t>(BinaryOp::swiglu) + 1);

// Calls f(Op{}) for the struct that enumerator `op` names in the list Ops.
template <class Ops, class Enum, class F> void with_op(Enum op, F&& f) {
  const auto pick = [&]<size_t... I>(std::index_sequence<I...>) {
    ((op == static_cast<Enum>(I) ? f(std::tuple_element_t<I, Ops>{}) : void()), ...);
  };
  pick(std::make_index_sequence<std::tuple_size_v<Ops>>{});
}

}  // namespace borealis
