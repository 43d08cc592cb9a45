// The formulas of kernels at one element that are no pointwise ops, once, for both compilers.
//
// A formula with hyperparameters is made of them, before the loop: AdamW<T>{args}. What follows from
// them is then computed, in double, and used at each element.
#pragma once

#include <cmath>
#include <limits>

#include "backend.h"
#include "fastmath.h"
#include "host_device.h"
#include "pointwise.h"

namespace borealis::formulas {

// --- optimizers ----------------------------------------------------------------------------

// m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,
// w ← (1 − lr·decay) w − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps).
template <class T> struct AdamW {
  AdamWArgs a;
  StepRecord now;
  double lr = a.lr * now.factor;
  T keep_w = T(1 - lr * a.weight_decay), eps = T(a.eps);
  T step = T(lr / (1 - std::pow(a.beta1, now.step))), scale = T(1 / std::sqrt(1 - std::pow(a.beta2, now.step)));
  T keep_m = T(a.beta1), new_m = T(1 - a.beta1), keep_v = T(a.beta2), new_v = T(1 - a.beta2);

  BOREALIS_HD void operator()(T& w, T& m, T& v, T g) const {
    const T mi = m = keep_m * m + new_m * g;
    const T vi = v = keep_v * v + new_v * (g * g);
    w = keep_w * w - step * mi / (fast::sqrt(vi) * scale + eps);
  }
};

// m ← mu m + gain g;  x ← nesterov ? gain g + mu m : m.
template <class T> struct Momentum {
  double mu, gain;
  bool nesterov;
  T keep = T(mu), take = T(gain);
  T from_g = nesterov ? take : T(0), from_m = nesterov ? keep : T(1);

  BOREALIS_HD void operator()(T& x, T& m, T g) const {
    const T mi = m = keep * m + take * g;
    x = from_g * g + from_m * mi;
  }
};

// v ← beta v + (1−beta) g²;  x ← x/(√v + eps), 0 where v = 0.
template <class T> struct SecondMoment {
  double beta, eps;
  T keep = T(beta), take = T(1 - beta), least = T(eps);

  BOREALIS_HD void operator()(T& x, T& v, T g) const {
    const T vi = v = keep * v + take * (g * g);
    x = vi == T(0) ? T(0) : x / (fast::sqrt(vi) + least);
  }
};

// 1/max(scale·√squares + eps, floor); 0 where squares is 0. A NaN stays a NaN.
template <class T> BOREALIS_HD T inverse_norm(T squares, T scale, T eps, T floor) {
  const T norm = scale * fast::sqrt(squares) + eps;
  return squares == 0 ? T(0) : 1 / (norm < floor ? floor : norm);
}

// d·(target/max(squares, floor))^beta; d where squares is NaN.
template <class T> BOREALIS_HD T rebalance(T d, T squares, T target, T beta, T floor) {
  const T square = squares < floor ? floor : squares;
  return square == square ? d * std::pow(target / square, beta) : d;
}

// --- dropout -------------------------------------------------------------------------------

template <class T> struct Dropout {
  double p;
  // uniform(word) ≥ p, as integers: uniform is (word >> 8)/2²⁴.
  uint32_t threshold = static_cast<uint32_t>(std::ceil(p * 16777216.0));
  T scale = T(1 / (1 - p));

  // 1/(1−p) for an element that its random word keeps, else 0.
  BOREALIS_HD T factor(uint32_t word) const { return word >> 8 >= threshold ? scale : T(0); }
  // A dropped number becomes 0 even where it was infinite or a NaN.
  BOREALIS_HD static T drop(T x, T factor) { return factor == 0 ? T(0) : x * factor; }
};

// --- rows ----------------------------------------------------------------------------------

// A row's maximum or log-sum-exp as what to subtract before exp: 0 for a row of −∞ alone, so that
// exp gives 0 there (−∞ − −∞ would be NaN).
template <class T> BOREALIS_HD T finite_shift(T shift) {
  return shift == -std::numeric_limits<T>::infinity() ? T(0) : shift;
}

// dx = y (dy − Σ y dy)
template <class T> BOREALIS_HD T softmax_grad(T y, T dy, T dot) { return y * (dy - dot); }

// dx = dy − exp(y) Σ dy
template <class T> BOREALIS_HD T log_softmax_grad(T y, T dy, T sum) { return dy - fast::exp(y) * sum; }

// dx = exp(x − lse) dy, and with dy = dloss/count what cross-entropy's gradient is everywhere but at
// the target, where dy goes off.
template <class T> BOREALIS_HD T logsumexp_grad(T x, T lse, T dy) { return fast::exp(x - lse) * dy; }

// What cross-entropy makes of a logit, and its derivative: the soft cap, or nothing.
template <class T> struct Uncapped {
  BOREALIS_HD T z(T x) const { return x; }
  BOREALIS_HD T dz(T) const { return T(1); }
};
template <class T> struct Capped {
  T p;
  BOREALIS_HD T z(T x) const { return SoftCap::f(x, p); }
  BOREALIS_HD T dz(T x) const { return SoftCap::df(x, p); }
};
template <class T, class F> void with_cap(double cap, F&& f) {
  cap == 0 ? f(Uncapped<T>{}) : f(Capped<T>{static_cast<T>(cap)});
}

// --- tables --------------------------------------------------------------------------------

// The pair x₁, x₂ turned by an angle:  y₁ = x₁ cos + x₂ sin,  y₂ = x₂ cos − x₁ sin.
template <class T> struct Turned {
  T x1, x2, cos, sin;
  T y1 = x1 * cos + x2 * sin, y2 = x2 * cos - x1 * sin;
};

// The angles of the position at which row `row` stands; direction −1 turns back.
template <class T> struct Angles {
  const T *cos, *sin;
  T direction;

  BOREALIS_HD Angles(const T* cos_table, const T* sin_table, T direction_, int64_t row, const RotaryArgs& args)
      : direction(direction_) {
    const int64_t first = (row % args.t + args.offset) * (args.dim / 2);
    cos = cos_table + first, sin = sin_table + first;
  }
  // Pair i of a head.
  BOREALIS_HD Turned<T> turn(T x1, T x2, int64_t i) const { return {x1, x2, cos[i], direction * sin[i]}; }
};

}  // namespace borealis::formulas
