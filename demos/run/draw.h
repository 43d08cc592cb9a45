// Numbers as small drawings of text (UTF-8): ▁▂▃▄▅▆▇█ on one line of a terminal or a log.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace borealis {

// A block per value. [low, high] is cut into eight equal steps, the lowest ▁, the highest █; what
// lies outside counts as the nearer end, NaN is a blank. All ▁ when high ≤ low.
std::string sparkline(std::span<const double> values, double low, double high);

// How many values lie in each of `bins` equal parts of [low, high], as heights relative to the
// fullest part. A part with none is a blank, one with any is at least ▁. What lies outside counts
// in the nearer end, NaN nowhere.
std::string histogram(std::span<const double> values, int bins, double low, double high);

// A layer's neurons, left to right: `width` cells (fewer where there are fewer neurons), each for a
// run of neighbours. Its height is the smallest relative leverage ρ = ‖U_i‖² m/n among them, from 0
// to 2, so an even layer is a line of ▅; × marks a run with a dead neuron. `dead` has a flag per
// neuron, or is empty.
std::string neuron_map(std::span<const double> relative, int width, std::span<const uint8_t> dead = {});

}  // namespace borealis
