// Cross-entropy, with or without a soft cap on the logits.
#include <limits>

#include "cuda/row_kernels.h"
#include "engine/formulas.h"

namespace borealis {

inline namespace cross_entropy_cu {

// lse and the loss of each row; 0 where it does not count.
template <class Plan, class T, class C>
__global__ void row_loss_kernel(Gate gate, T* losses, T* lse, const T* x, const int32_t* targets, int64_t rows,
                                int64_t cols, int64_t ignored, C cap) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>();
  if (row >= rows) return;
  x += row * cols;
  typename Plan::Team team;
  const auto [shift, sum] = exponents<Plan>(
      team, cols, [=](T v) { return cap.z(v); }, Row<Plan>(x, cols));
  if (threadIdx.x != 0) return;
  const T log_sum = fast::log(sum);
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
template <class Plan, class T, class C, class Array, class Put>
__global__ void cross_entropy_grad_kernel(Gate gate, Array dx, const T* x, const int32_t* targets, const T* lse,
                                          const T* count, const T* dloss, int64_t rows, int64_t cols, int64_t ignored,
                                          C cap, Put put) {
  if (gate.closed()) return;
  const int64_t row = team_row<Plan::one_warp>();
  if (row >= rows) return;
  dx.at += row * cols;
  const int64_t target = targets[row];
  if (target == ignored) return write_row<Plan>(dx, cols, [=](int64_t, T& to) { put(to, T(0)); });
  const bool there = target >= 0 && target < cols;
  const T d = there ? dloss[0] / count[0] : std::numeric_limits<T>::quiet_NaN(), shift = lse[row];
  const auto grad = [=](int64_t j, T& to, T v) {
    const T dz = cap.dz(v), hot = j == target ? d * dz : T(0);
    put(to, formulas::logsumexp_grad(cap.z(v), shift, d) * dz - hot);
  };
  write_row<Plan>(dx, cols, grad, Row<Plan>(x + row * cols, cols));
}

}  // namespace cross_entropy_cu

void CudaBackend::cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                                int64_t ignored, double cap) {
  const int64_t rows = targets.count;
  visit(logits.dtype, [&]<class T>(T) {
    const Storage scratch_rows = scratch(static_cast<size_t>(rows) * sizeof(T));
    T* const losses = rows ? reinterpret_cast<T*>(scratch_rows.data()) : nullptr;
    const int32_t* const target = place<int32_t>(targets);
    formulas::with_cap<T>(cap, [&]<class C>(C c) {
      with_rows<T>(cols, have_packs<T>(cols, place<T>(logits)), [&]<class Plan>(Plan) {
        launch_rows<Plan>(on_, "cross_entropy", rows, row_loss_kernel<Plan, T, C>, losses, lse.as<T>(), logits.as<T>(),
                          target, rows, cols, ignored, c);
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
      with_beta<T>(dlogits, beta, [&]<class Array, class Put>(Array out, Put put) {
        with_rows<T>(cols, have_packs<T>(cols, out.at, place<T>(logits)), [&]<class Plan>(Plan) {
          launch_rows<Plan>(on_, "cross_entropy_grad", targets.count,
                            cross_entropy_grad_kernel<typename Plan::Once, T, C, Array, Put>, out, logits.as<T>(),
                            targets.as<int32_t>(), lse.as<T>(), count.as<T>(), dloss.as<T>(), targets.count, cols,
                            ignored, c, put);
        });
      });
    });
  });
}

}  // namespace borealis
