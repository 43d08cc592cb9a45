// Embeddings.
#include <algorithm>
#include <limits>

#include "cuda/backend.h"
#include "cuda/types.h"

namespace borealis {

namespace {

template <class T> struct Look {
  T* y;
  const T* table;
  const int32_t* ids;
  int64_t rows, cols;
  __device__ void operator()(int64_t i) const {
    const int64_t id = ids[i / cols];
    y[i] = id >= 0 && id < rows ? table[id * cols + i % cols] : std::numeric_limits<T>::quiet_NaN();
  }
};

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

}  // namespace

void CudaBackend::embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) {
  visit(y.dtype, [&]<class T>(T) {
    each_item(on_, "embedding", y.count,
              Look<T>{y.as<T>(), table.as<T>(), ids.as<int32_t>(), cols ? table.count / cols : 0, cols});
  });
}

void CudaBackend::embedding_grad(Span dtable, ConstSpan ids, ConstSpan dy, int64_t cols, double beta) {
  if (dtable.count == 0) return;
  const int64_t rows = dtable.count / cols;
  visit(dtable.dtype, [&]<class T>(T) {
    with_beta<T>(dtable, beta, [&]<class Array, class Put>(Array out, Put put) {
      const unsigned across = std::min(65535u, blocks_for(cols, 32).x);
      on_.launch("embedding_grad", embedding_grad_kernel<T, Array, Put>, dim3(blocks_for(rows, 8).x, across),
                 dim3(32, 8), 0, out, ids.as<int32_t>(), dy.as<T>(), ids.count, rows, cols, put);
    });
  });
}

}  // namespace borealis
