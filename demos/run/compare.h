// The same training step taken twice, and where the two differ (--compare).
#pragma once

#include <string>

#include "demos/run/training.h"

namespace borealis {

// Prints, for each part of a step (forward, backward, the parameters' gradients, the update), how many tensors were
// compared and which differ most. `what`: two devices or two of f32 and f64, with a comma between them. Fails on others.
void compare_step(const TrainOptions& o, const TokenStream& data, const std::string& what);

}  // namespace borealis
