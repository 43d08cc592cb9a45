// Learns XOR in a project that knows nothing of Borealis but <borealis/borealis.h>.
#include <cstdio>

#include <borealis/borealis.h>
#include <nn/gpt.h>

#include "nn/gpt.h"

// Nothing else came onto the include path: none of our folders, none of what we are made with.
#if __has_include(<engine/tensor.h>) || __has_include(<optim/adamw.h>) || __has_include(<tensor.h>) || \
    __has_include(<Eigen/Core>)
#error "more than borealis/ is on the include path"
#endif
#if defined(BOREALIS_IS_INSTALLED) && __has_include(<borealis/engine/cpu/gemm.h>)
#error "the inside of the CPU backend is installed"
#endif

using namespace borealis;

int main() {
  const Var x = Tensor::of<float>({4, 2}, {0, 0, 0, 1, 1, 0, 1, 1});
  const Var answer = Tensor::of<float>({4, 1}, {0, 1, 1, 0});
  Rng rng(7);
  const Var w1 = Var::leaf(rng.normal({8, 2}, 1)), b1 = Var::leaf(Tensor::zeros({8}));
  const Var w2 = Var::leaf(rng.normal({1, 8}, 1)), b2 = Var::leaf(Tensor::zeros({1}));
  double loss = 1;
  for (int step = 0; step < 600; ++step) {
    const Var error = mean(square(sigmoid(linear(tanh(linear(x, w1, b1)), w2, b2)) - answer));
    error.backward();
    for (const Var& w : {w1, b1, w2, b2}) {
      axpby(w.value(), -2.0, w.grad(), 1.0);
      w.zero_grad();
    }
    loss = error.item();
  }
  std::printf("Borealis %s, %s nn/gpt.h, XOR learned to a loss of %.4f\n", BOREALIS_VERSION, whose, loss);
  return loss < 0.01 ? 0 : 1;
}
