#include "optim/clip.h"

#include <cmath>

#include "engine/backend.h"
#include "engine/math.h"

namespace borealis {

Tensor clip_grad_norm(const ParamArena& arena, double max_norm) {
  if (!(max_norm >= 0)) fail("clip: the norm to clip at is ", max_norm, ", but must be at least 0");
  arena.finish_gradients();
  const Tensor& g = arena.grads();
  Backend& device = backend(g.device());
  const Tensor squares({1}, DType::f64, g.device());
  device.sum_squares(squares, g);
  if (max_norm > 0) {
    // min(1, c/(‖g‖ + 1e-6)) = 1/max(‖g‖/c + 1e-6/c, 1)
    const Tensor factor = squares.like();
    device.inverse_norm(factor, squares, 1 / max_norm, 1e-6 / max_norm, 1);
    device.scale_by(g, factor);
  }
  return unary(UnaryOp::sqrt, squares);
}

}  // namespace borealis
