// The settings that a preset and an optimizer stand for, and the list of optimizers.
#pragma once

#include <string>

#include "demos/run/train_options.h"

namespace borealis {

// nano, small, gpt2-124m or track3-nano, with the companions of its optimizer. An empty style or
// optimizer is the preset's own.
TrainOptions preset_options(const std::string& preset, const std::string& style = "",
                            const std::string& optimizer = "");

// A table of all optimizers: their stages, costs and sources.
std::string optimizer_table();

}  // namespace borealis
