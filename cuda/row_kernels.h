// Kernels that take rows: a warp or a block for each, whose threads hold the row, so that it is read once, or read a long one
// again.
#pragma once

#include <limits>
#include <type_traits>

#include "../engine/formulas.h"
#include "backend.h"
#include "block.h"
#include "types.h"

namespace borealis {

// How threads share a row: `width` numbers side by side at a time, of which thread t has those from (t + k·threads)·width on.
template <class T_, bool one_warp_, int width_, bool held_, int numbers_ = 32> struct RowPlan {
  using T = T_;
  using Team = RowTeam<T, one_warp_>;
  static constexpr bool one_warp = one_warp_, held = held_;
  static constexpr int width = width_, stride = Team::threads * width;
  static constexpr int numbers = numbers_, turns = numbers / width;  // of a thread, where the row is held
  using Once = RowPlan<T, one_warp_, width_, false>;                 // for kernels that need each number once
};

template <class T> using WarpRows = RowPlan<T, true, 1, true>;

// The row of this thread's team.
template <bool one_warp> __device__ int64_t team_row() {
  return one_warp ? static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y : blockIdx.x;
}

// f(k, j) for each of this thread's places: numbers from j on, of j < n, are those of turn k.
template <class Plan, class F> __device__ void each_turn(int64_t n, F f) {
  const int64_t mine = static_cast<int64_t>(threadIdx.x) * Plan::width;
  if constexpr (Plan::held) {
#pragma unroll
    for (int k = 0; k < Plan::turns; ++k) {  // unrolled, so that what is held stays in registers
      if (k * Plan::stride >= n) break;
      if (const int64_t j = k * Plan::stride + mine; j < n) f(k, j);
    }
  } else {
    for (int64_t j = mine; j < n; j += Plan::stride) f(0, j);
  }
}

// The first n numbers of a row.
template <class Plan> class Row {
  using T = typename Plan::T;

 public:
  using Numbers = Pack<T, Plan::width>;

  __device__ Row(const T* x, int64_t n) : x_(x) {
    if constexpr (Plan::held) each_turn<Plan>(n, [this](int k, int64_t j) { held_[k] = load(x_, j); });
  }
  // Those from j on.
  __device__ Numbers pack(int k, int64_t j) const {
    if constexpr (Plan::held) return held_[k];
    Numbers numbers = load(x_, j);
    if (gain_) multiply(numbers, j);
    return numbers;
  }
  // Each number times that of a vector, if there is one, from now on.
  __device__ void scale(const T* gain, int64_t n) {
    gain_ = gain;
    if constexpr (Plan::held)
      if (gain) each_turn<Plan>(n, [this](int k, int64_t j) { multiply(held_[k], j); });
  }
  // s ← x + y, which is the row from now on.
  __device__ void add(const T* y, T* s, int64_t n) {
    each_turn<Plan>(n, [&](int k, int64_t j) {
      Numbers sum = pack(k, j);
      const Numbers added = load(y, j);
      for (int e = 0; e < Plan::width; ++e) sum.at[e] += added.at[e];
      mapping::store<T, Plan::width>(Out<T>{s}, j, sum);
      if constexpr (Plan::held) held_[k] = sum;
    });
    x_ = s;  // read again by the thread that wrote it
  }

 private:
  static __device__ Numbers load(const T* x, int64_t j) { return mapping::load<T, Plan::width>(In<T>{x}, j); }
  __device__ void multiply(Numbers& numbers, int64_t j) const {
    const Numbers gain = load(gain_, j);
    for (int e = 0; e < Plan::width; ++e) numbers.at[e] *= gain.at[e];
  }

  const T *x_, *gain_ = nullptr;
  Numbers held_[Plan::held ? Plan::turns : 1] = {};
};

// Numbers that are not held, as those of a vector that all rows share; `otherwise` where there are none.
template <class Plan> struct Unheld {
  using T = typename Plan::T;
  const T* x;
  T otherwise;
  __device__ Pack<T, Plan::width> pack(int, int64_t j) const {
    if (x) return mapping::load<T, Plan::width>(In<T>{x}, j);
    Pack<T, Plan::width> same;
    for (T& e : same.at) e = otherwise;
    return same;
  }
};

// Of what this thread has of numbers j < n: f(j, number, …) combined, from `start` on.
template <class Plan, class A, class Combine, class F, class... R>
__device__ A fold(A start, Combine combine, int64_t n, F f, const R&... rows) {
  each_turn<Plan>(n, [&]([[maybe_unused]] int k, int64_t j) {
    [&](auto... packs) {
      for (int e = 0; e < Plan::width; ++e)
        if (j + e < n) start = combine(start, f(packs.at[e]...));
    }(rows.pack(k, j)...);
  });
  return start;
}

// Σ f(number, …), the same on all threads of the row.
template <class Plan, class F, class... R>
__device__ typename Plan::T row_sum(typename Plan::Team& team, int64_t n, F f, const R&... rows) {
  return team.reduce(fold<Plan>(typename Plan::T(0), Plus{}, n, f, rows...), Plus{});
}

// f(j, y_j, number, …) for each number of a row of y.
template <class Plan, class Array, class F, class... R>
__device__ void write_row(Array y, int64_t cols, F f, const R&... rows) {
  using T = typename Plan::T;
  each_turn<Plan>(cols, [&]([[maybe_unused]] int k, int64_t j) {
    Pack<T, Plan::width> out = mapping::load<T, Plan::width>(y, j);
    [&](auto... packs) {
      for (int e = 0; e < Plan::width; ++e) f(j + e, out.at[e], packs.at[e]...);
    }(rows.pack(k, j)...);
    mapping::store<T, Plan::width>(y, j, out);
  });
}

// Σ exp(z − shift), and the shift: the largest z, or 0 for a row of −∞ alone. z(x) grows with x. NaNs are no maximum; the
// sum shows them.
template <class T> struct Exponents { T shift, sum; };
template <class Plan, class Z>
__device__ Exponents<typename Plan::T> exponents(typename Plan::Team& team, int64_t n, Z z, const Row<Plan>& row) {
  using T = typename Plan::T;
  constexpr T least = -std::numeric_limits<T>::infinity();
  if constexpr (Plan::held) {
    const T top = team.reduce(fold<Plan>(least, Greater{}, n, Itself{}, row), Greater{});
    const T shift = formulas::finite_shift(z(top));
    const auto term = [=](T x) { return fast::exp(z(x) - shift); };
    return {shift, row_sum<Plan>(team, n, term, row)};
  } else {  // read once: each thread's sum is made smaller when a larger number comes
    T top = least, sum = 0;
    each_turn<Plan>(n, [&](int k, int64_t j) {
      const auto x = row.pack(k, j);
      T next = top;
      for (int e = 0; e < Plan::width; ++e)
        if (j + e < n) next = Greater{}(next, z(x.at[e]));
      const T shift = formulas::finite_shift(next);
      sum *= fast::exp(top - shift);
      for (int e = 0; e < Plan::width; ++e)
        if (j + e < n) sum += fast::exp(z(x.at[e]) - shift);
      top = next;
    });
    const T shift = formulas::finite_shift(team.reduce(top, Greater{}));
    return {shift, team.reduce(sum * fast::exp(top - shift), Plus{})};
  }
}

// f(plan) for rows of `cols` numbers, in packs or not: a warp for each row that is short.
template <class T, class F> void with_rows(int64_t cols, bool packs, F f) {
  constexpr int width = 16 / sizeof(T), threads = 32 * row_warps, numbers = RowPlan<T, true, 1, true>::numbers;
  if (packs) {
    if (cols <= 32 * numbers) return f(RowPlan<T, true, width, true>{});
    if (cols <= threads * numbers) return f(RowPlan<T, false, width, true>{});
    return f(RowPlan<T, false, width, false>{});
  }
  cols <= 32 * numbers ? f(RowPlan<T, true, 1, true>{}) : f(RowPlan<T, false, 1, false>{});
}

template <class Plan, class Kernel, class... A>
void launch_rows(Context& on, const char* name, int64_t rows, Kernel kernel, A... arguments) {
  if (rows == 0) return;
  if (Plan::one_warp)
    on.launch(name, kernel, blocks_for(rows, row_warps), dim3(32, row_warps), 0, arguments...);
  else
    on.launch(name, kernel, blocks_for(rows, 1), dim3(32 * row_warps), sizeof(RowMemory<typename Plan::T>),
              arguments...);
}

}  // namespace borealis
