#include "cuda/checked/atomics.h"

#include <algorithm>
#include <type_traits>

#include "cuda/checked/grid.h"
#include "cuda/checked/watch.h"

namespace borealis::stand_in {

namespace {

template <class T> T updated(Update how, T old, T by) {
  switch (how) {
    case Update::add: return old + by;
    case Update::subtract: return old - by;
    case Update::min: return std::min(old, by);
    case Update::max: return std::max(old, by);
    case Update::exchange: return by;
    default: break;
  }
  if constexpr (std::is_integral_v<T>) {
    if (how == Update::bits_and) return old & by;
    if (how == Update::bits_or) return old | by;
    if (how == Update::increment) return old >= by ? T(0) : old + 1;
  }
  fault("an atomic operation that this type does not have");
}

}  // namespace

template <class T> T update(Update how, T* at, T by) {
  watch::atomic(at, sizeof(T));
  const T old = *at;
  *at = updated(how, old, by);
  return old;
}

template <class T> T compare_and_swap(T* at, T expected, T by) {
  watch::atomic(at, sizeof(T));
  const T old = *at;
  if (old == expected) *at = by;
  return old;
}

void fence() { watch::fence(); }

template int update(Update, int*, int);
template unsigned update(Update, unsigned*, unsigned);
template unsigned long long update(Update, unsigned long long*, unsigned long long);
template float update(Update, float*, float);
template double update(Update, double*, double);
template int compare_and_swap(int*, int, int);
template unsigned compare_and_swap(unsigned*, unsigned, unsigned);
template unsigned long long compare_and_swap(unsigned long long*, unsigned long long, unsigned long long);

}  // namespace borealis::stand_in
