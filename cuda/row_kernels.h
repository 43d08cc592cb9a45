// Kernels that take rows: a warp or a block for each.
#pragma once

#include <limits>

#include "../engine/formulas.h"
#include "backend.h"
#include "block.h"
#include "types.h"

namespace borealis {

// The row of this thread's team.
template <bool one_warp> __device__ int64_t team_row() {
  return one_warp ? static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y : blockIdx.x;
}

// What to subtract before exp: the row's maximum.
template <class T, class Team> __device__ T row_shift(Team& team, const T* x, int64_t n) {
  T top = -std::numeric_limits<T>::infinity();
  for (int64_t j = team.thread(); j < n; j += Team::threads) top = Greater{}(top, x[j]);
  return formulas::finite_shift(team.reduce(top, Greater{}));
}

// A warp of its own for each row that is short.
template <class F> void with_team(int64_t cols, F&& f) { cols <= 1024 ? f(std::true_type{}) : f(std::false_type{}); }

template <class T, class Kernel, class... A>
void launch_rows(Context& on, const char* name, bool one_warp, int64_t rows, Kernel kernel, A... arguments) {
  if (rows == 0) return;
  if (one_warp)
    on.launch(name, kernel, blocks_for(rows, row_warps), dim3(32, row_warps), 0, arguments...);
  else
    on.launch(name, kernel, blocks_for(rows, 1), dim3(32 * row_warps), sizeof(RowMemory<T>), arguments...);
}

}  // namespace borealis
