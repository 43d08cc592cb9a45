// From what a kernel is asked with to its template parameters.
#pragma once

#include "map.h"

namespace borealis {

// y ← value + beta·y. With beta = 0, y is only written.
struct Put {
  template <class T> __device__ void operator()(T& y, T value) const { y = value; }
};
template <class T> struct PutOnto {
  T beta;
  __device__ void operator()(T& y, T value) const { y = value + beta * y; }
};

// f(put) for kernels that find their way to y by themselves.
template <class T, class F> void with_put(double beta, F&& f) {
  if (beta == 0)
    f(Put{});
  else
    f(PutOnto<T>{static_cast<T>(beta)});
}

// Where an array lies that may be empty: an empty one lies nowhere.
template <class T> T* place(Span x) { return x.count ? x.as<T>() : nullptr; }
template <class T> const T* place(ConstSpan x) { return x.count ? x.as<T>() : nullptr; }

// f(array, put): y as a map uses it, and how.
template <class T, class F> void with_beta(Span y, double beta, F&& f) {
  if (beta == 0)
    f(Out<T>{place<T>(y)}, Put{});
  else
    f(InOut<T>{place<T>(y)}, PutOnto<T>{static_cast<T>(beta)});
}

template <class T> In<T> in(ConstSpan x) { return {x.as<T>()}; }

}  // namespace borealis
