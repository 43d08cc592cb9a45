// Learns XOR with a two-layer network: the whole of training in one page. Start reading here.
#include <cstdio>

#include "autograd/ops.h"
#include "autograd/parameter.h"
#include "demos/run/program.h"

using namespace borealis;

int main() {
  // Four examples: two inputs each, and the answer a XOR b.
  const Var x = Tensor::of<float>({4, 2}, {0, 0, 0, 1, 1, 0, 1, 1});
  const Var answer = Tensor::of<float>({4, 1}, {0, 1, 1, 0});

  // Weights are leaves: values that want a gradient. [out, in], so a row is a neuron.
  Rng rng(7);
  const Var w1 = Var::leaf(rng.normal({8, 2}, 1)), b1 = Var::leaf(Tensor::zeros({8}));
  const Var w2 = Var::leaf(rng.normal({1, 8}, 1)), b2 = Var::leaf(Tensor::zeros({1}));

  for (int step = 0; step <= 400; ++step) {
    // Forward: each op computes its value and remembers how to send a gradient back.
    const Var hidden = tanh(linear(x, w1, b1));         // [4, 8]
    const Var guess = sigmoid(linear(hidden, w2, b2));  // [4, 1]
    const Var loss = mean(square(guess - answer));

    // Backward: the chain rule from the loss to every leaf.
    loss.backward();

    // Gradient descent: w ← w − 2·dw. The new value knows nothing of its past, nor of a gradient.
    for (const Var& w : {w1, b1, w2, b2}) w.assign(w - 2.0 * w.grad());
    if (step % 100 == 0) std::printf("step %3d  loss %.5f\n", step, loss.item());
  }

  const NoGrad off;  // just using the network: nothing to remember
  const Var guess = sigmoid(linear(tanh(linear(x, w1, b1)), w2, b2));
  for (int i = 0; i < 4; ++i) std::printf("%d XOR %d = %.3f\n", i / 2, i % 2, guess.value().data<float>()[i]);
  return status_with_output("hello_autograd");  // 0, unless what was printed got lost
}
