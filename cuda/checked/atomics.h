// Atomic operations and fences. Compiled apart from kernels, so that whoever watches these takes no atomic access for a plain one.
#pragma once

#include <type_traits>

namespace borealis::stand_in {

enum class Update { add, min, max, exchange };

// What was there before. For int, unsigned, unsigned long long, float and double.
template <class T> T update(Update how, T* at, T by);
template <class T> T compare_and_swap(T* at, T expected, T by);
void fence();

template <class T> using Number = std::type_identity_t<T>;  // of the pointer's type

}  // namespace borealis::stand_in

template <class T> T atomicAdd(T* at, borealis::stand_in::Number<T> by) {
  return borealis::stand_in::update(borealis::stand_in::Update::add, at, by);
}
template <class T> T atomicMin(T* at, borealis::stand_in::Number<T> by) {
  return borealis::stand_in::update(borealis::stand_in::Update::min, at, by);
}
template <class T> T atomicMax(T* at, borealis::stand_in::Number<T> by) {
  return borealis::stand_in::update(borealis::stand_in::Update::max, at, by);
}
template <class T> T atomicExch(T* at, borealis::stand_in::Number<T> by) {
  return borealis::stand_in::update(borealis::stand_in::Update::exchange, at, by);
}
template <class T> T atomicCAS(T* at, borealis::stand_in::Number<T> expected, borealis::stand_in::Number<T> by) {
  return borealis::stand_in::compare_and_swap(at, expected, by);
}
inline void __threadfence() { borealis::stand_in::fence(); }
