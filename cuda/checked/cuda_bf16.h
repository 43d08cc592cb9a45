// Stands in for CUDA's header of this name: the upper half of a float, rounded to the nearest, ties to even.
#pragma once

#include <bit>
#include <cstdint>

#include "vectors.h"

struct __nv_bfloat16;
inline float __bfloat162float(__nv_bfloat16 x);
inline __nv_bfloat16 __float2bfloat16(float x);

struct alignas(2) __nv_bfloat16 {
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float x) { *this = __float2bfloat16(x); }
  operator float() const { return __bfloat162float(*this); }

  unsigned short bits;  // not a name of CUDA's: kernels have __bfloat16_as_ushort
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 y;
  y.bits = bits;
  return y;
}

inline float __bfloat162float(__nv_bfloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

inline __nv_bfloat16 __float2bfloat16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return __ushort_as_bfloat16(static_cast<unsigned short>(x == x ? rounded : 0x7FFF));
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __float2bfloat16(x); }

inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__float2bfloat16(x), __float2bfloat16(y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) { return __floats2bfloat162_rn(v.x, v.y); }
inline float2 __bfloat1622float2(__nv_bfloat162 v) { return {__bfloat162float(v.x), __bfloat162float(v.y)}; }
