// Reductions of x seen as [outer, mid, inner]. Long sums are cut into parts whose number follows from the shape alone.
#include <algorithm>
#include <limits>
#include <type_traits>

#include "cuda/row_kernels.h"
#include "cuda/sums.h"

namespace borealis {

inline namespace reduce_cu {

// y[o, p] ← scale·Σ f(x[o, m]) over part p of `part` numbers: a team of threads each, `rows` parts in all.
template <class Plan, class T, class F, class Array, class Put>
__global__ void row_sum_kernel(Gate gate, Array y, const typename Plan::T* x, F f, int64_t rows, int64_t mid,
                               int64_t part, int64_t parts, T scale, Put put) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>();
  if (row >= rows) return;
  const int64_t o = row / parts, first = row % parts * part, n = first + part < mid ? part : mid - first;
  RowTeam<T, Plan::one_warp> team;
  const auto term = [=](typename Plan::T v) { return f(static_cast<T>(v)); };
  const T sum = team.reduce(fold<Plan>(T(0), Plus{}, n, term, Row<Plan>(x + o * mid + first, n)), Plus{});
  if (threadIdx.x == 0) put(y.at[row], scale * sum);
}

struct Squared {
  template <class T> __device__ T operator()(T x) const { return x * x; }
};

// Whether v goes before the largest so far: a NaN is larger than all, and of equals the first stays.
struct IsLarger {
  template <class T> __device__ bool operator()(T v, T top) const { return v > top || (v != v && top == top); }
};
struct Larger {
  template <class T> __device__ T operator()(T a, T b) const { return IsLarger{}(b, a) ? b : a; }
};
struct Least {
  __device__ int32_t operator()(int32_t a, int32_t b) const { return b < a ? b : a; }
};

// y ← the largest of each row, and where it stands first.
template <class Plan, class T>
__global__ void row_max_kernel(Gate gate, T* y, int32_t* where, const T* x, int64_t rows, int64_t n) {
  if (gate.closed()) return;
  const int64_t r = team_row<Plan::one_warp>();
  if (r >= rows) return;
  constexpr int32_t nowhere = std::numeric_limits<int32_t>::max();
  const Row<Plan> row(x + r * n, n);
  T top = 0;
  int32_t at = nowhere;
  each_turn<Plan>(n, [&](int k, int64_t j) {
    const auto numbers = row.pack(k, j);
    for (int e = 0; e < Plan::width; ++e)
      if (at == nowhere || IsLarger{}(numbers.at[e], top)) top = numbers.at[e], at = static_cast<int32_t>(j) + e;
  });
  RowTeam<T, Plan::one_warp> team;
  const T all = team.reduce(at == nowhere ? -std::numeric_limits<T>::infinity() : top, Larger{});
  const bool mine = at != nowhere && (top == all || top != top);
  const int32_t first = team.reduce(mine ? at : nowhere, Least{});
  if (threadIdx.x == 0) y[r] = all, where[r] = first;
}

// The same down the columns, a thread each.
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
      if (const T v = column[m * inner]; IsLarger{}(v, top)) top = v, best = m;
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
  const int64_t step = gridDim.x * blockDim.x;  // some 10^5
  for (int64_t i = this_thread(); i < count; i += step) bad = bad || x[i] - x[i] != 0;
  if (__syncthreads_or(bad) && threadIdx.x == 0) atomicExch(found, 1);
}

}  // namespace reduce_cu

namespace {

// y[o] ← scale·Σ f(x[o, m]) + beta·y[o] for rows of `mid` numbers, in two stages where they are long.
template <class T, class From, class F>
void row_sums(Context& on, const char* name, Span y, double beta, const From* x, F f, int64_t outer, int64_t mid,
              double scale, Device device) {
  const int64_t parts = parts_of(mid, row_part);
  const auto stage = [&]<class G, class X, class Array, class Put>(Array out, const X* from, G g, int64_t n,
                                                                   int64_t pieces, T by, Put put) {
    const int64_t rows = outer * pieces;
    constexpr int width = 16 / sizeof(X);
    const auto run = [&]<class Plan>(Plan) {
      launch_rows<RowPlan<T, Plan::one_warp, 1, false>>(on, name, rows, row_sum_kernel<Plan, T, G, Array, Put>, out,
                                                        from, g, rows, n, pieces == 1 ? n : row_part, pieces, by, put);
    };
    const auto as_wide = [&](auto w) {
      n <= 1024 ? run(RowPlan<X, true, w, false>{}) : run(RowPlan<X, false, w, false>{});
    };
    have_packs<X>(n, from) ? as_wide(std::integral_constant<int, width>{}) : as_wide(std::integral_constant<int, 1>{});
  };
  with_beta<T>(y, beta, [&]<class Array, class Put>(Array out, Put put) {
    const T by = static_cast<T>(scale);
    if (parts == 1) return stage(out, x, f, mid, 1, by, put);
    const Storage partial(static_cast<size_t>(outer * parts) * sizeof(T), device);
    T* const sums = reinterpret_cast<T*>(partial.data());
    stage(Out<T>{sums}, x, f, mid, parts, T(1), borealis::Put{});
    stage(out, sums, Itself{}, parts, 1, by, put);
  });
}

}  // namespace

void CudaBackend::sum(Span y, ConstSpan x, int64_t outer, int64_t mid, int64_t inner, double scale, double beta) {
  if (y.count == 0) return;
  visit(y.dtype, [&]<class T>(T) {
    const T* const from = place<T>(x);
    if (inner == 1)
      row_sums<T>(on_, "sum", y, beta, from, Itself{}, outer, mid, scale, device_);
    else
      column_sums<T>(on_, "sum", y, beta, outer, mid, inner, scale, Numbers<T>{from, inner}, are_aligned(In<T>{from}),
                     device_);
  });
}

// In f64: it cannot overflow.
void CudaBackend::sum_squares(Span y, ConstSpan x) {
  visit(x.dtype, [&]<class T>(T) {
    row_sums<double>(on_, "sum_squares", y, 0, place<T>(x), Squared{}, 1, x.count, 1, device_);
  });
}

void CudaBackend::max(Span y, Span index, ConstSpan x, int64_t /*outer*/, int64_t mid, int64_t inner) {
  visit(y.dtype, [&]<class T>(T) {
    if (inner > 1) return each_item(on_, "max", y.count, Max<T>{y.as<T>(), index.as<int32_t>(), x.as<T>(), mid, inner});
    with_rows<T>(mid, have_packs<T>(mid, x.as<T>()), [&]<class Plan>(Plan) {
      launch_rows<Plan>(on_, "max", y.count, row_max_kernel<typename Plan::Once, T>, y.as<T>(), index.as<int32_t>(),
                        x.as<T>(), y.count, mid);
    });
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
