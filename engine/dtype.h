// The number types a tensor may hold, as a run-time tag.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <utility>

#include "names.h"

namespace borealis {

// f64 lives on the CPU only (gradient checks); bf16 on the GPU only; i32 holds ids.
enum class DType { f32, f64, bf16, i32 };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f64: return 8;
    case DType::bf16: return 2;
    default: return 4;
  }
}

template <> inline constexpr std::array words_of<DType>{"dtype", "f32", "f64", "bf16", "i32"};
inline std::ostream& operator<<(std::ostream& out, DType t) { return out << name(t); }

// The tag of a C++ type.
template <class T> constexpr DType dtype_of();
template <> constexpr DType dtype_of<float>() { return DType::f32; }
template <> constexpr DType dtype_of<double>() { return DType::f64; }
template <> constexpr DType dtype_of<int32_t>() { return DType::i32; }

// Calls f(float{}) or f(double{}): the one place where a tag becomes a template argument.
template <class F> decltype(auto) visit(DType t, F&& f) {
  switch (t) {
    case DType::f32: return std::forward<F>(f)(float{});
    case DType::f64: return std::forward<F>(f)(double{});
    default: fail("this kernel takes f32 or f64, got ", t);
  }
}

// visit() for the kernels that only move numbers and so take i32 too.
template <class F> void visit_with_ids(DType t, F&& f) {
  if (t == DType::i32)
    f(int32_t{});
  else
    visit(t, f);
}

}  // namespace borealis
