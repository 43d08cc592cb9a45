// Vector mathematics: exp, log, tanh, erf without branches, so that the compiler turns a loop of
// them into SIMD code. (g++ does not vectorise libm's without -ffast-math, which we do not use: it
// deletes NaN checks.) f32 is within 2 ulp of the truth (erf 2.5 without FMA); f64 uses the
// standard library.
//
// A NaN gives a NaN. exp gives 0 where the result is below the smallest normal number; denormal
// arguments are exact in all four. The polynomials are minimax fits (Remez) with rounded
// coefficients.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "host_device.h"

namespace borealis::fast {

template <class T> BOREALIS_HD inline T exp(T x) { return std::exp(x); }
template <class T> BOREALIS_HD inline T log(T x) { return std::log(x); }
template <class T> BOREALIS_HD inline T tanh(T x) { return std::tanh(x); }
template <class T> BOREALIS_HD inline T erf(T x) { return std::erf(x); }
template <class T> BOREALIS_HD inline T sqrt(T x) { return std::sqrt(x); }

// c0 + c1 x + c2 x² + …, by Horner's rule.
template <class... C> BOREALIS_HD inline float horner(float x, float c0, C... rest) {
  if constexpr (sizeof...(rest) == 0)
    return c0;
  else
    return horner(x, rest...) * x + c0;
}

// eˣ = 2ⁿ (1 + q): n the integer nearest x/ln 2, and q = eʳ − 1 with r = x − n ln 2, |r| ≤ ½ ln 2.
struct ExpParts {
  float q;
  uint32_t n;  // modulo 2³²: only shifted into exponent bits
};

BOREALIS_HD inline ExpParts exp_parts(float x) {
  // Adding 1.5·2²³ leaves no bits for a fraction: the sum's low bits are the rounded integer n.
  constexpr float shift = 12582912.0f;
  const float shifted = x * 1.44269504f + shift;
  const float n = shifted - shift;
  // ln 2 in two parts, the first short enough that n times it is exact.
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  const float Q = horner(r, 0.5f, 0.166665465f, 4.16663885e-2f, 8.36633053e-3f, 1.39422342e-3f);
  return {r * r * Q + r, std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(shift)};
}

BOREALIS_HD inline float exp(float x) {
  const ExpParts e = exp_parts(x);
  // 2ⁿ goes straight into the exponent bits, which hold every n whose result is a normal number.
  const float y = std::bit_cast<float>(std::bit_cast<uint32_t>(1 + e.q) + (e.n << 23));
  constexpr float lowest = -87.3365402f, highest = 88.7228317f;  // ≥ ln 2⁻¹²⁶, ≤ ln max
  const float z = x < lowest ? 0.0f : y;
  return x <= highest ? z : x * std::numeric_limits<float>::infinity();
}

// x = 2ᵏ (1 + f) with 1 + f in [√½, √2);  ln x = k ln 2 + f − ½f² + f³ P(f).
BOREALIS_HD inline float log(float x) {
  constexpr float smallest = std::numeric_limits<float>::min();
  const bool denormal = x < smallest;
  const uint32_t bits = std::bit_cast<uint32_t>(denormal ? x * 8388608.0f : x);  // 2²³
  // Counted from √½, so that the exponent field steps there and not at 1.
  constexpr uint32_t root_half = 0x3F3504F3;
  const int32_t k = static_cast<int32_t>(bits - root_half) >> 23;
  const float f = std::bit_cast<float>(bits - (static_cast<uint32_t>(k) << 23)) - 1;
  const float n = static_cast<float>(denormal ? k - 23 : k);
  const float P = horner(f, 0.333333164f, -0.250008136f, 0.200023040f, -0.166244641f, 0.141811743f, -0.131300807f,
                         0.128798485f, -7.85071701e-2f);
  const float y = n * 0.693145752f + (f + (f * f * (f * P - 0.5f) + n * 1.42860677e-6f));
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float z = x < infinity ? y : x;
  return x > 0 ? z : (x == 0 ? -infinity : std::numeric_limits<float>::quiet_NaN());
}

// tanh x = x + x³ P(x²) up to 0.55, 1 − 2/(e²ˣ + 1) above (where nothing cancels); odd.
BOREALIS_HD inline float tanh(float x) {
  const float a = std::fabs(x), z = x * x;
  const float P = horner(z, -0.333333164f, 0.133325279f, -5.38446717e-2f, 2.10353099e-2f, -6.21708017e-3f);
  const float small = a + a * z * P, large = 1 - 2 / (exp(2 * a) + 1);
  return std::copysign(a < 0.55f ? small : large, x);
}

// erf x = 1 − e⁻ᵍ for x ≥ 0, with g = −ln(1 − erf x) = x G(x); odd. 2/√π, the leading coefficient
// of G, stands in two parts. From 3.95 on erf is 1.
BOREALIS_HD inline float erf(float x) {
  const float a = std::fabs(x), t = a > 3.95f ? 3.95f : a;
  const float H = horner(t, 0.636619806f, 0.102771610f, -1.91192701e-2f, -2.49292119e-4f, 1.79431553e-3f,
                         -7.36778253e-4f, 1.65742662e-4f, -2.09449790e-5f, 1.15382873e-6f);
  const float g = t * 1.12837923f + (t * -5.86353828e-8f + t * t * H);
  // e⁻ᵍ − 1 = 2ⁿ (1 + q) − 1, summed so that q keeps its digits when g is small and n = 0.
  const ExpParts e = exp_parts(-g);
  const float power = std::bit_cast<float>((127 + e.n) << 23);
  return std::copysign(-(power * e.q + (power - 1)), x);
}

}  // namespace borealis::fast
