// The known spectral optimizers, each a row: settings of the pipeline, and where they come from.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "optim/spectral_config.h"

namespace borealis {

struct SpectralMethod {
  const char* key;  // the word for flags
  SpectralConfig config;
  double lr;           // of hidden matrices: trains the nano preset
  const char* source;  // paper or public code
};

std::span<const SpectralMethod> spectral_methods();

// "KEY" or "KEY,stage=value,…" with the names of optim/spectral_config.h, as in
// "muon,pre=rows,decay=uw_floor": a row with some stages changed. Fails in one sentence on a key, a
// stage or a value that does not exist, and on stages that contradict each other.
SpectralMethod parse_spectral(const std::string& text);

// Rows by name.
SpectralConfig muon();
SpectralConfig aurora();

// "momentum=ema …": the settings of a row that differ from doing nothing.
std::string stages(const SpectralConfig& c);

// Numbers kept for each weight of an m×n matrix.
double state_per_weight(const SpectralConfig& c, double m, double n);

// FLOPs of the matrix products of an update of one m×n matrix, as they are run here.
double spectral_flops(const SpectralConfig& c, double m, double n);

}  // namespace borealis
