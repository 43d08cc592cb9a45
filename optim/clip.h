// Clipping by the global norm.
#pragma once

#include "param_arena.h"

namespace borealis {

// g ← g·min(1, max_norm/(‖g‖ + 1e-6)) over all gradients; max_norm = 0 leaves them. Returns ‖g‖
// from before, f64 (finite whenever the gradients are), still on the device: item() waits for it.
Tensor clip_grad_norm(const ParamArena& arena, double max_norm);

}  // namespace borealis
