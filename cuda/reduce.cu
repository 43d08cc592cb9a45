// Reductions of x seen as [outer, mid, inner]. Long sums are cut into parts whose number follows from the shape alone.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "cuda/sums.h"

namespace borealis {

namespace {

// y[o, p] ← scale·Σ f(x[o, m]) over part p of `part` numbers: a block each.
template <class T, class From, class F, class Array, class Put>
__global__ void row_sum_kernel(Gate gate, Array y, const From* x, F f, int64_t mid, int64_t part, int64_t parts,
                               T scale, Put put) {
  if (gate.closed()) return;
  const int64_t o = blockIdx.x / parts, first = blockIdx.x % parts * part;
  x += o * mid + first;
  RowTeam<T, false> team;
  const T sum = team.sum(first + part < mid ? part : mid - first, [=](int64_t j) { return f(static_cast<T>(x[j])); });
  if (team.thread() == 0) put(y.at[blockIdx.x], scale * sum);
}

struct Itself {
  template <class T> __device__ T operator()(T x) const { return x; }
};
struct Squared {
  template <class T> __device__ T operator()(T x) const { return x * x; }
};

template <class T> struct Max {
  T* y;
  int32_t* where;
  const T* x;
  int64_t mid, inner;
  __device__ void operator()(int64_t j) const {
    const T* const column = x + j / inner * mid * inner + j % inner;
    int64_t best = 0;
    T top = column[0];
    for (int64_t m = 1; m < mid; ++m)
      if (const T v = column[m * inner]; v > top || (v != v && top == top)) top = v, best = m;
    y[j] = top;
    where[j] = static_cast<int32_t>(best);
  }
};

template <class T, class Put> struct MaxGrad {
  T* dx;
  const int32_t* where;
  const T* dy;
  int64_t mid, inner;
  Put put;
  __device__ void operator()(int64_t k) const {
    const int64_t j = k / (mid * inner) * inner + k % inner, m = k / inner % mid;
    put(dx[k], where[j] == m ? dy[j] : T(0));
  }
};

// found ← 1 if there is a number that is not finite.
template <class T> __global__ void not_finite_kernel(Gate, int32_t* found, const T* x, int64_t count) {
  bool bad = false;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = this_thread(); i < count; i += step) bad = bad || x[i] - x[i] != 0;
  if (__syncthreads_or(bad) && threadIdx.x == 0) atomicExch(found, 1);
}

}  // namespace

void CudaBackend::sum(Span y, ConstSpan x, int64_t outer, int64_t mid, int64_t inner, double scale, double beta) {
  if (y.count == 0) return;
  visit(y.dtype, [&]<class T>(T) {
    if (inner != 1)
      return column_sums<T>(on_, "sum", y, beta, outer, mid, inner, scale, Numbers<T>{place<T>(x), inner}, device_);
    const int64_t parts = parts_of(mid);
    const auto stage = [&]<class Array, class Put>(Array out, const T* from, int64_t n, int64_t pieces, T by, Put put) {
      on_.launch("sum", row_sum_kernel<T, T, Itself, Array, Put>, blocks_for(outer * pieces, 1), dim3(32 * row_warps),
                 sizeof(RowMemory<T>), out, from, Itself{}, n, pieces == 1 ? n : part_length, pieces, by, put);
    };
    with_beta<T>(y, beta, [&]<class Array, class Put>(Array out, Put put) {
      const T by = static_cast<T>(scale);
      if (parts == 1) return stage(out, place<T>(x), mid, 1, by, put);
      const Storage partial = scratch(static_cast<size_t>(outer * parts) * sizeof(T));
      T* const sums = reinterpret_cast<T*>(partial.data());
      stage(Out<T>{sums}, x.as<T>(), mid, parts, T(1), borealis::Put{});
      stage(out, sums, parts, 1, by, put);
    });
  });
}

// In f64: it cannot overflow.
void CudaBackend::sum_squares(Span y, ConstSpan x) {
  visit(x.dtype, [&]<class T>(T) {
    const int64_t parts = parts_of(x.count);
    const Storage partial = scratch(static_cast<size_t>(parts) * sizeof(double));
    auto* const sums = reinterpret_cast<double*>(partial.data());
    using Array = Out<double>;
    on_.launch("sum_squares", row_sum_kernel<double, T, Squared, Array, borealis::Put>, blocks_for(parts, 1),
               dim3(32 * row_warps), sizeof(RowMemory<double>), Array{sums}, place<T>(x), Squared{}, x.count,
               part_length, parts, 1.0, borealis::Put{});
    on_.launch("sum_squares", row_sum_kernel<double, double, Itself, Array, borealis::Put>, dim3(1),
               dim3(32 * row_warps), sizeof(RowMemory<double>), Array{y.as<double>()}, sums, Itself{}, parts, parts,
               int64_t{1}, 1.0, borealis::Put{});
  });
}

void CudaBackend::max(Span y, Span index, ConstSpan x, int64_t /*outer*/, int64_t mid, int64_t inner) {
  visit(y.dtype, [&]<class T>(T) {
    each_item(on_, "max", y.count, Max<T>{y.as<T>(), index.as<int32_t>(), x.as<T>(), mid, inner});
  });
}

void CudaBackend::max_grad(Span dx, ConstSpan index, ConstSpan dy, int64_t /*outer*/, int64_t mid, int64_t inner,
                           double beta) {
  visit(dx.dtype, [&]<class T>(T) {
    with_put<T>(beta, [&]<class Put>(Put put) {
      each_item(on_, "max_grad", dx.count,
                MaxGrad<T, Put>{dx.as<T>(), index.as<int32_t>(), dy.as<T>(), mid, inner, put});
    });
  });
}

bool CudaBackend::all_finite(ConstSpan x) {
  const Storage flag = scratch(sizeof(int32_t));
  auto* const found = reinterpret_cast<int32_t*>(flag.data());
  int32_t answer = 0;
  upload(found, &answer, sizeof answer);
  if (x.count)
    visit(x.dtype, [&]<class T>(T) {
      on_.launch("all_finite", not_finite_kernel<T>, dim3(std::min(1024u, blocks_for(x.count, block_threads).x)),
                 block_threads, 0, found, x.as<T>(), x.count);
    });
  download(&answer, found, sizeof answer);
  return answer == 0;
}

}  // namespace borealis
