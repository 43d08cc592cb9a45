// Kernels that do the same to each element: f(x[i], y[i], …), whole 16-byte packs where all arrays lie for it; or f(i).
#pragma once

#include <cstdint>
#include <limits>

#include "context.h"

namespace borealis {

// How a kernel uses an array: what it only writes is not read, what it only reads is not written.
template <class T> struct In {
  using Number = T;
  const T* at;
};
template <class T> struct Out {
  using Number = T;
  T* at;
};
template <class T> struct InOut {
  using Number = T;
  T* at;
};

template <class T, int n> struct alignas(sizeof(T) * n) Pack { T at[n]; };

// Among all threads of the grid.
__device__ inline int64_t this_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

namespace mapping {

template <class T, int n> __device__ Pack<T, n> load(In<T> x, int64_t i) {
  return *reinterpret_cast<const Pack<T, n>*>(x.at + i);
}
template <class T, int n> __device__ Pack<T, n> load(InOut<T> x, int64_t i) {
  return *reinterpret_cast<const Pack<T, n>*>(x.at + i);
}
template <class T, int n> __device__ Pack<T, n> load(Out<T>, int64_t) { return {}; }
template <class T, int n> __device__ void store(In<T>, int64_t, const Pack<T, n>&) {}
template <class T, int n> __device__ void store(InOut<T> y, int64_t i, const Pack<T, n>& pack) {
  *reinterpret_cast<Pack<T, n>*>(y.at + i) = pack;
}
template <class T, int n> __device__ void store(Out<T> y, int64_t i, const Pack<T, n>& pack) {
  *reinterpret_cast<Pack<T, n>*>(y.at + i) = pack;
}

template <int n, class F, class... Pack> __device__ void apply(F f, Pack&... packs) {
  for (int j = 0; j < n; ++j) f(packs.at[j]...);
}

// n elements from i on.
template <int n, class F, template <class> class... Use, class... T>
__device__ void step(int64_t i, F f, Use<T>... arrays) {
  [&](Pack<T, n>... packs) {
    apply<n>(f, packs...);
    (store<T, n>(arrays, i, packs), ...);
  }(load<T, n>(arrays, i)...);
}

// This thread's n elements of `count`, fewer at the end.
template <int n, class F, class... Array> __device__ void share(int64_t count, F f, Array... arrays) {
  const int64_t i = this_thread() * n;
  if (i + n <= count) {
    step<n>(i, f, arrays...);
  } else {
    for (int64_t k = i; k < count; ++k) step<1>(k, f, arrays...);
  }
}

template <int n, class F, class... Array> __global__ void map_kernel(Gate gate, int64_t count, F f, Array... arrays) {
  if (!gate.closed()) share<n>(count, f, arrays...);
}

}  // namespace mapping

template <class F> __global__ void item_kernel(Gate gate, int64_t count, F f) {
  if (const int64_t i = this_thread(); i < count && !gate.closed()) f(i);
}

// Whether all of these begin where n numbers of 16 bytes together may be loaded at once.
template <class... Array> bool are_aligned(Array... arrays) {
  return ((reinterpret_cast<uintptr_t>(arrays.at) % 16 == 0) && ...);
}

// Whether rows of `cols` numbers, one after the other from here on, may be taken in packs.
template <class T, class... P> bool have_packs(int64_t cols, const P*... rows) {
  return cols % static_cast<int64_t>(16 / sizeof(T)) == 0 && are_aligned(In<P>{rows}...);
}

constexpr unsigned block_threads = 256;

inline dim3 blocks_for(int64_t items, int64_t per_block) {
  const int64_t blocks = (items + per_block - 1) / per_block;
  if (blocks > std::numeric_limits<int32_t>::max()) fail("cuda: ", items, " items are more than one launch can take");
  return dim3(static_cast<unsigned>(blocks));
}

// f(i) for i < count, a thread each.
template <class F> void each_item(Context& on, const char* name, int64_t count, F f) {
  if (count > 0) on.launch(name, item_kernel<F>, blocks_for(count, block_threads), block_threads, 0, count, f);
}

// f(a[i], b[i], …) for i < count. f is given references; arrays are In, Out or InOut.
template <int width, class F, class... Array>
void map_packs(Context& on, const char* name, int64_t count, F f, Array... arrays) {
  if (count == 0) return;
  if (are_aligned(arrays...))
    on.launch(name, mapping::map_kernel<width, F, Array...>, blocks_for(count, block_threads * width), block_threads, 0,
              count, f, arrays...);
  else
    on.launch(name, mapping::map_kernel<1, F, Array...>, blocks_for(count, block_threads), block_threads, 0, count, f,
              arrays...);
}
template <class T, class F, class... Array>
void map(Context& on, const char* name, int64_t count, F f, Array... arrays) {
  map_packs<16 / sizeof(T)>(on, name, count, f, arrays...);
}

}  // namespace borealis
