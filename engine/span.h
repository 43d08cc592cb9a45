// What crosses the Backend interface: an address, a type tag and a count of elements.
#pragma once

#include <cassert>
#include <cstdint>

#include "dtype.h"

namespace borealis {

struct Span {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t count = 0;

  template <class T> T* as() const {
    assert(!data || dtype == dtype_of<T>());
    return static_cast<T*>(data);
  }
  explicit operator bool() const { return data != nullptr; }
};

struct ConstSpan {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int64_t count = 0;

  ConstSpan() = default;
  ConstSpan(const void* d, DType t, int64_t n) : data(d), dtype(t), count(n) {}
  ConstSpan(Span s) : data(s.data), dtype(s.dtype), count(s.count) {}  // implicit: reading a Span

  template <class T> const T* as() const {
    assert(!data || dtype == dtype_of<T>());
    return static_cast<const T*>(data);
  }
  explicit operator bool() const { return data != nullptr; }
};

}  // namespace borealis
