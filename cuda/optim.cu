// The optimizers' own kernels. What changes from step to step is read on the device, from the step's record.
#include "cuda/backend.h"
#include "cuda/block_memory.h"
#include "cuda/types.h"
#include "engine/formulas.h"

namespace borealis {

inline namespace optim_cu {

// w ← (1 − rate·decay) w − rate·scale·u  with  rate = lr·record.factor.
template <class T> struct Descend {
  T keep, step;
  __device__ void operator()(T& w, T u) const { w = keep * w - step * u; }
};

template <class T> struct AdamWOf {
  AdamWArgs args;
  const StepRecord* record;
  __device__ formulas::AdamW<T> operator()() const { return {args, *record}; }
};

template <class T> struct DescendOf {
  double lr, scale, decay;
  const StepRecord* record;
  __device__ Descend<T> operator()() const {
    const double rate = lr * record->factor;
    return {static_cast<T>(1 - rate * decay), static_cast<T>(rate * scale)};
  }
};

// As map_kernel, with a formula that one thread of a block makes: it is dear (powers in f64), and the same for all.
template <int n, class Maker, class... Array>
__global__ void map_made_kernel(Gate gate, int64_t count, Maker maker, Array... arrays) {
  if (gate.closed()) return;
  using Formula = decltype(maker());
  auto& made = block_memory<Formula>();
  if (threadIdx.x == 0) made = maker();
  __syncthreads();
  const Formula f = made;
  mapping::share<n>(count, f, arrays...);
}

template <class T> struct InverseNorm {
  T scale, eps, floor;
  __device__ void operator()(T& d, T squares) const { d = formulas::inverse_norm(squares, scale, eps, floor); }
};

template <class T> struct Rebalance {
  T target, beta, floor;
  __device__ void operator()(T& d, T squares) const { d = formulas::rebalance(d, squares, target, beta, floor); }
};

template <class T> __global__ void stop_unless_finite_kernel(Gate, StepRecord* record, const T* x) {
  if (threadIdx.x == 0 && x[0] - x[0] != 0 && record->stopped == 0) record->stopped = record->step + 1;
}

template <class T, class Maker, class... Array>
void map_made(Context& on, const char* name, int64_t count, Maker maker, Array... arrays) {
  if (count == 0) return;
  constexpr int width = 16 / sizeof(T);
  const auto run = [&](auto kernel, int64_t n) {
    on.launch(name, kernel, blocks_for(count, block_threads * n), block_threads, sizeof(maker()), count, maker,
              arrays...);
  };
  if (are_aligned(arrays...))
    run(map_made_kernel<width, Maker, Array...>, width);
  else
    run(map_made_kernel<1, Maker, Array...>, 1);
}

}  // namespace optim_cu

void CudaBackend::inverse_norm(Span d, ConstSpan squares, double scale, double eps, double floor) {
  visit(d.dtype, [&]<class T>(T) {
    map<T>(on_, "inverse_norm", d.count, InverseNorm<T>{T(scale), T(eps), T(floor)}, Out<T>{d.as<T>()}, in<T>(squares));
  });
}

void CudaBackend::rebalance(Span d, ConstSpan squares, double target, double beta, double floor) {
  visit(d.dtype, [&]<class T>(T) {
    map<T>(on_, "rebalance", d.count, Rebalance<T>{T(target), T(beta), T(floor)}, InOut<T>{d.as<T>()}, in<T>(squares));
  });
}

void CudaBackend::adamw(Span w, Span m, Span v, ConstSpan g, const AdamWArgs& args, ConstSpan record) {
  visit(w.dtype, [&]<class T>(T) {
    map_made<T>(on_, "adamw", w.count, AdamWOf<T>{args, static_cast<const StepRecord*>(record.data)},
                InOut<T>{w.as<T>()}, InOut<T>{m.as<T>()}, InOut<T>{v.as<T>()}, in<T>(g));
  });
}

void CudaBackend::descend(Span w, ConstSpan u, double lr, double scale, double decay, ConstSpan record) {
  visit(w.dtype, [&]<class T>(T) {
    map_made<T>(on_, "descend", w.count, DescendOf<T>{lr, scale, decay, static_cast<const StepRecord*>(record.data)},
                InOut<T>{w.as<T>()}, in<T>(u));
  });
}

void CudaBackend::stop_unless_finite(Span record, ConstSpan x) {
  visit(x.dtype, [&]<class T>(T) {
    on_.launch("stop_unless_finite", stop_unless_finite_kernel<T>, dim3(1), dim3(32), 0,
               static_cast<StepRecord*>(record.data), x.as<T>());
  });
}

void CudaBackend::momentum(Span x, Span m, ConstSpan g, double mu, double gain, bool nesterov) {
  visit(m.dtype, [&]<class T>(T) {
    map<T>(on_, "momentum", m.count, formulas::Momentum<T>{mu, gain, nesterov}, Out<T>{x.as<T>()}, InOut<T>{m.as<T>()},
           in<T>(g));
  });
}

void CudaBackend::second_moment(Span x, Span v, ConstSpan g, double beta, double eps) {
  visit(v.dtype, [&]<class T>(T) {
    map<T>(on_, "second_moment", v.count, formulas::SecondMoment<T>{beta, eps}, InOut<T>{x.as<T>()},
           InOut<T>{v.as<T>()}, in<T>(g));
  });
}

}  // namespace borealis
