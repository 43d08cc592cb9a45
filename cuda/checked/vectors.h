// CUDA's small vectors, aligned as on a device.
#pragma once

namespace borealis::stand_in {

template <class T> struct alignas(2 * sizeof(T)) Vector2 { T x, y; };
template <class T> struct alignas(4 * sizeof(T)) Vector4 { T x, y, z, w; };

}  // namespace borealis::stand_in

using int2 = borealis::stand_in::Vector2<int>;
using int4 = borealis::stand_in::Vector4<int>;
using uint2 = borealis::stand_in::Vector2<unsigned>;
using uint4 = borealis::stand_in::Vector4<unsigned>;
using float2 = borealis::stand_in::Vector2<float>;
using float4 = borealis::stand_in::Vector4<float>;
using double2 = borealis::stand_in::Vector2<double>;
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
