#include "cuda/checked/atomics.h"

#include <algorithm>

#include "cuda/checked/watch.h"

namespace borealis::stand_in {

template <class T> T update(Update how, T* at, T by) {
  watch::atomic(at, sizeof(T));
  const T old = *at;
  switch (how) {
    case Update::add: *at = old + by; break;
    case Update::min: *at = std::min(old, by); break;
    case Update::max: *at = std::max(old, by); break;
    case Update::exchange: *at = by; break;
  }
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
