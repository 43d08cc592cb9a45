// Cross-entropy, with or without a soft cap on the logits.
#include <limits>

#include "cuda/row_kernels.h"
#include "engine/formulas.h"
#include "engine/pointwise.h"

namespace borealis {

namespace {

template <class T> struct NoCap {
  __device__ T z(T x) const { return x; }
  __device__ T dz(T) const { return T(1); }
};
template <class T> struct Cap {
  T p;
  __device__ T z(T x) const { return SoftCap::f(x, p); }
  __device__ T dz(T x) const { return SoftCap::df(x, p); }
};
template <class T, class F> void with_cap(double cap, F&& f) {
  cap == 0 ? f(NoCap<T>{}) : f(Cap<T>{static_cast<T>(cap)});
}

// lse and the loss of each row; 0 where it does not count.
template <class T, bool one_warp, class C>
__global__ void row_loss_kernel(Gate gate, T* losses, T* lse, const T* x, const int32_t* targets, int64_t rows,
                                int64_t cols, int64_t ignored, C cap) {
  if (gate.closed()) return;
  const int64_t row = team_row<one_warp>();
  if (row >= rows) return;
  x += row * cols;
  RowTeam<T, one_warp> team;
  T top = -std::numeric_limits<T>::infinity();
  for (int64_t j = team.thread(); j < cols; j += team.threads) top = Greater{}(top, x[j]);
  const T shift = cap.z(formulas::finite_shift(team.reduce(top, Greater{})));  // z grows with x
  const T log_sum = fast::log(team.sum(cols, [=](int64_t j) { return fast::exp(cap.z(x[j]) - shift); }));
  if (team.thread() != 0) return;
  lse[row] = shift + log_sum;
  const int64_t target = targets[row];
  const T at_target = target >= 0 && target < cols ? cap.z(x[target]) : std::numeric_limits<T>::quiet_NaN();
  losses[row] = target == ignored ? T(0) : log_sum + (shift - at_target);
}

// Their mean over the rows that count: one block.
template <class T>
__global__ void mean_loss_kernel(Gate gate, T* loss, T* count, const T* losses, const int32_t* targets, int64_t rows,
                                 int64_t ignored) {
  if (gate.closed()) return;
  RowTeam<T, false> team;
  const T sum = team.sum(rows, [=](int64_t r) { return losses[r]; });
  const T n = team.sum(rows, [=](int64_t r) { return targets[r] == ignored ? T(0) : T(1); });
  if (team.thread() != 0) return;
  count[0] = n;
  loss[0] = n > 0 ? sum / n : T(0);
}

template <class T, class C, class Array, class Put>
__global__ void grad_kernel(Gate gate, Array dx, const T* x, const int32_t* targets, const T* lse, const T* count,
                            const T* dloss, int64_t numbers, int64_t cols, int64_t ignored, C cap, Put put) {
  if (gate.closed()) return;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= numbers) return;
  const int64_t row = i / cols, target = targets[row];
  if (target == ignored) return put(dx.at[i], T(0));
  const bool there = target >= 0 && target < cols;
  const T d = there ? dloss[0] / count[0] : std::numeric_limits<T>::quiet_NaN(), dz = cap.dz(x[i]);
  const T hot = target == i % cols ? d * dz : T(0);
  put(dx.at[i], formulas::logsumexp_grad(cap.z(x[i]), lse[row], d) * dz - hot);
}

}  // namespace

void CudaBackend::cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                                int64_t ignored, double cap) {
  const int64_t rows = targets.count;
  visit(logits.dtype, [&]<class T>(T) {
    const Storage scratch_rows = scratch(static_cast<size_t>(rows) * sizeof(T));
    T* const losses = rows ? reinterpret_cast<T*>(scratch_rows.data()) : nullptr;
    const int32_t* const target = place<int32_t>(targets);
    with_cap<T>(cap, [&]<class C>(C c) {
      with_team(cols, [&](auto one_warp) {
        launch_rows<T>(on_, "cross_entropy", one_warp, rows, row_loss_kernel<T, one_warp, C>, losses, lse.as<T>(),
                       logits.as<T>(), target, rows, cols, ignored, c);
      });
    });
    on_.launch("cross_entropy", mean_loss_kernel<T>, dim3(1), dim3(32 * row_warps), sizeof(RowMemory<T>), loss.as<T>(),
               count.as<T>(), losses, target, rows, ignored);
  });
}

void CudaBackend::cross_entropy_grad(Span dlogits, ConstSpan logits, ConstSpan targets, ConstSpan lse, ConstSpan count,
                                     ConstSpan dloss, int64_t cols, int64_t ignored, double cap, double beta) {
  if (dlogits.count == 0) return;
  visit(logits.dtype, [&]<class T>(T) {
    with_cap<T>(cap, [&]<class C>(C c) {
      with_beta<T>(dlogits, beta, [&]<class Array, class Put>(Array out, Put put) {
        on_.launch("cross_entropy_grad", grad_kernel<T, C, Array, Put>, blocks_for(logits.count, block_threads),
                   block_threads, 0, out, logits.as<T>(), targets.as<int32_t>(), lse.as<T>(), count.as<T>(),
                   dloss.as<T>(), logits.count, cols, ignored, c, put);
      });
    });
  });
}

}  // namespace borealis
