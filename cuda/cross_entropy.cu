// Cross-entropy, with or without a soft cap on the logits.
#include <limits>

#include "cuda/row_kernels.h"
#include "engine/formulas.h"

namespace borealis {

namespace {

// lse and the loss of each row; 0 where it does not count.
template <class T, bool one_warp, class C>
__global__ void row_loss_kernel(Gate gate, T* losses, T* lse, const T* x, const int32_t* targets, int64_t rows,
                                int64_t cols, int64_t ignored, C cap) {
  if (gate.closed()) return;
  const int64_t row = team_row<one_warp>();
  if (row >= rows) return;
  x += row * cols;
  RowTeam<T, one_warp> team;
  const T shift = cap.z(row_shift(team, x, cols));  // z grows with x: the largest of all z
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

// dx_j = (exp(z_j − lse) − [j = t]) z'_j dloss/count.
template <class T, class C, class Put> struct Grad {
  T* dx;
  const T* x;
  const int32_t* targets;
  const T *lse, *count, *dloss;
  int64_t cols, ignored;
  C cap;
  Put put;
  __device__ void operator()(int64_t i) const {
    const int64_t row = i / cols, target = targets[row];
    if (target == ignored) return put(dx[i], T(0));
    const bool there = target >= 0 && target < cols;
    const T d = there ? dloss[0] / count[0] : std::numeric_limits<T>::quiet_NaN(), dz = cap.dz(x[i]);
    const T hot = target == i % cols ? d * dz : T(0);
    put(dx[i], formulas::logsumexp_grad(cap.z(x[i]), lse[row], d) * dz - hot);
  }
};

}  // namespace

void CudaBackend::cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                                int64_t ignored, double cap) {
  const int64_t rows = targets.count;
  visit(logits.dtype, [&]<class T>(T) {
    const Storage scratch_rows = scratch(static_cast<size_t>(rows) * sizeof(T));
    T* const losses = rows ? reinterpret_cast<T*>(scratch_rows.data()) : nullptr;
    const int32_t* const target = place<int32_t>(targets);
    formulas::with_cap<T>(cap, [&]<class C>(C c) {
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
  visit(logits.dtype, [&]<class T>(T) {
    formulas::with_cap<T>(cap, [&]<class C>(C c) {
      with_put<T>(beta, [&]<class Put>(Put put) {
        each_item(on_, "cross_entropy_grad", dlogits.count,
                  Grad<T, C, Put>{dlogits.as<T>(), logits.as<T>(), targets.as<int32_t>(), lse.as<T>(), count.as<T>(),
                                  dloss.as<T>(), cols, ignored, c, put});
      });
    });
  });
}

}  // namespace borealis
