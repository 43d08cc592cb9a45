// The formulas that both compilers share, by the other one: a kernel in f32 for each. Nothing here runs.
#include "engine/formulas.h"
#include "engine/philox.h"
#include "engine/pointwise.h"

namespace borealis {

template <class Op> __global__ void unary(float* y, const float* x) {
  y[0] = Op::f(x[0], x[1]);
  y[1] = Op::df(x[0], x[1]);
}

template <class Op> __global__ void binary(float* y, const float* x) {
  y[0] = Op::f(x[0], x[1]);
  y[1] = Op::da(x[0], x[1]);
  y[2] = Op::db(x[0], x[1]);
}

template <class... Unary, class... Binary> void pointwise(float* y, std::tuple<Unary...>, std::tuple<Binary...>) {
  (unary<Unary><<<1, 1>>>(y, y), ...);
  (binary<Binary><<<1, 1>>>(y, y), ...);
}
template void pointwise(float*, UnaryOps, BinaryOps);

__global__ void uniform(float* y, RandomStream stream) { y[threadIdx.x] = uniform(stream.word(threadIdx.x)); }

namespace formulas {

__global__ void adamw(float* x, AdamWArgs args, StepRecord now) { AdamW<float>{args, now}(x[0], x[1], x[2], x[3]); }

__global__ void momentum(float* x, double mu, double gain, bool nesterov) {
  Momentum<float>{mu, gain, nesterov}(x[0], x[1], x[2]);
}

__global__ void second_moment(float* x, double beta, double eps) { SecondMoment<float>{beta, eps}(x[0], x[1], x[2]); }

__global__ void inverse_norm(float* x) { x[0] = inverse_norm(x[0], x[1], x[2], x[3]); }

__global__ void rebalance(float* x) { x[0] = rebalance(x[0], x[1], x[2], x[3], x[4]); }

__global__ void dropout(float* x, double p, const uint32_t* word) {
  const Dropout<float> dropout{p};
  x[0] = dropout.drop(x[0], dropout.factor(word[0]));
}

__global__ void finite_shift(float* x) { x[0] = finite_shift(x[0]); }

__global__ void softmax_grad(float* x) { x[0] = softmax_grad(x[0], x[1], x[2]); }

__global__ void log_softmax_grad(float* x) { x[0] = log_softmax_grad(x[0], x[1], x[2]); }

__global__ void logsumexp_grad(float* x) { x[0] = logsumexp_grad(x[0], x[1], x[2]); }

__global__ void turned(float* x) {
  const Turned<float> turned{x[0], x[1], x[2], x[3]};
  x[0] = turned.y1;
  x[1] = turned.y2;
}

}  // namespace formulas

}  // namespace borealis
