#include "demos/run/draw.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/error.h"

namespace borealis {

namespace {

constexpr std::array<const char*, 8> blocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr double none = std::numeric_limits<double>::quiet_NaN();

// The part of [low, high], cut into `parts` equal ones, that holds the value or is nearest to it.
size_t part_of(double value, double low, double high, size_t parts) {
  if (!(high > low)) return 0;
  const double place = (value - low) / (high - low) * static_cast<double>(parts);
  return static_cast<size_t>(std::clamp(place, 0.0, static_cast<double>(parts - 1)));
}

}  // namespace

std::string sparkline(std::span<const double> values, double low, double high) {
  std::string line;
  for (const double v : values) line += std::isnan(v) ? " " : blocks[part_of(v, low, high, blocks.size())];
  return line;
}

std::string histogram(std::span<const double> values, int bins, double low, double high) {
  if (bins < 1) fail("histogram: ", bins, " bins; there must be at least 1");
  std::vector<size_t> counts(static_cast<size_t>(bins));
  for (const double v : values)
    if (!std::isnan(v)) ++counts[part_of(v, low, high, counts.size())];
  const size_t most = *std::max_element(counts.begin(), counts.end());
  std::string line;
  for (const size_t count : counts)  // ⌈8·count/most⌉ eighths
    line += count == 0 ? " " : blocks[(blocks.size() * count + most - 1) / most - 1];
  return line;
}

std::string neuron_map(std::span<const double> relative, int width, std::span<const uint8_t> dead) {
  if (width < 1) fail("neuron_map: a width of ", width, "; it must be at least 1");
  if (!dead.empty() && dead.size() != relative.size())
    fail("neuron_map: ", dead.size(), " flags for ", relative.size(), " neurons");
  const size_t cells = std::min(static_cast<size_t>(width), relative.size());
  std::string line;
  for (size_t cell = 0; cell < cells; ++cell) {
    const size_t begin = cell * relative.size() / cells, end = (cell + 1) * relative.size() / cells;
    double smallest = none;
    bool any_dead = false;
    for (size_t i = begin; i < end; ++i) {
      smallest = std::fmin(smallest, relative[i]);  // passes NaN over
      any_dead = any_dead || (!dead.empty() && dead[i]);
    }
    line += any_dead ? "×" : sparkline({&smallest, 1}, 0, 2);
  }
  return line;
}

}  // namespace borealis
