// Embeddings.
#include <algorithm>
#include <limits>

#include "cuda/row_kernels.h"

namespace borealis {

inline namespace tables_cu {

template <class Plan, class T>
__global__ void embedding_kernel(Gate gate, T* y, const T* table, const int32_t* ids, int64_t n, int64_t rows,
                                 int64_t cols) {
  if (gate.closed()) return;
  const int64_t i = team_row<Plan::one_warp>();
  if (i >= n) return;
  const int64_t id = ids[i];
  const bool there = id >= 0 && id < rows;
  const OfAllRows<Plan> row{there ? table + id * cols : nullptr, std::numeric_limits<T>::quiet_NaN()};
  write_row<Plan>(
      Out<T>{y + i * cols}, cols, [](int64_t, T& to, T v) { to = v; }, row);
}

// A warp for each row of the table and 32 of its columns. It looks through the ids, 32 at a time, and adds the rows of dy
// that are its own in the order of i.
template <class T, class Array, class Put>
__global__ void embedding_grad_kernel(Gate gate, Array dtable, const int32_t* ids, const T* dy, int64_t n, int64_t rows,
                                      int64_t cols, Put put) {
  if (gate.closed()) return;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  for (int64_t first = static_cast<int64_t>(blockIdx.y) * 32; first < cols;
       first += static_cast<int64_t>(gridDim.y) * 32) {
    const int64_t j = first + threadIdx.x;
    T sum = 0;
    for (int64_t i = 0; i < n; i += 32) {
      const int64_t mine = i + threadIdx.x;
      unsigned hits = __ballot_sync(~0u, mine < n && ids[mine] == row);
      for (; hits != 0; hits &= hits - 1)
        if (j < cols) sum += dy[(i + __ffs(static_cast<int>(hits)) - 1) * cols + j];
    }
    if (j < cols) put(dtable.at[row * cols + j], sum);
  }
}

}  // namespace tables_cu

void CudaBackend::embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) {
  if (y.count == 0) return;
  visit(y.dtype, [&]<class T>(T) {
    with_rows<T>(cols, have_packs<T>(cols, y.as<T>(), table.as<T>()), [&]<class Plan>(Plan) {
      launch_rows<Plan>(on_, "embedding", ids.count, embedding_kernel<Plan, T>, y.as<T>(), table.as<T>(),
                        ids.as<int32_t>(), ids.count, table.count / cols, cols);
    });
  });
}

void CudaBackend::embedding_grad(Span dtable, ConstSpan ids, ConstSpan dy, int64_t cols, double beta) {
  if (dtable.count == 0) return;
  const int64_t rows = dtable.count / cols;
  visit(dtable.dtype, [&]<class T>(T) {
    with_beta<T>(dtable, beta, [&]<class Array, class Put>(Array out, Put put) {
      const unsigned across = std::min(65535u, blocks_for(cols, 32).x);
      on_.launch("embedding_grad", embedding_grad_kernel<T, Array, Put>, dim3(blocks_for(rows, 8).x, across),
                 dim3(32, 8), 0, out, place<int32_t>(ids), place<T>(dy), ids.count, rows, cols, put);
    });
  });
}

}  // namespace borealis
