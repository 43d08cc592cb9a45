// The known spectral optimizers, each a row: settings of the pipeline, and where they come from.
#pragma once

#include <span>
#include <string>

#include "spectral_config.h"

namespace borealis {

// AdamW beside a spectral optimizer, on all that is no hidden matrix; nothing decays there. Where
// the numbers come from stands in optim/README.md.
struct Companion {
  double lr = 0.015, beta1 = 0.8, beta2 = 0.95;
};

struct SpectralMethod {
  const char* key;  // the word for flags
  SpectralConfig config;
  double lr;           // of hidden matrices: trains the nano preset
  const char* source;  // paper or public code
  Companion rest = {};
};

std::span<const SpectralMethod> spectral_methods();

// "KEY" or "KEY,stage=value,…" with the names of optim/spectral_config.h, as in
// "muon,pre=rows,decay=cautious": a row with some stages changed. Fails in one sentence on a key, a
// stage or a value that does not exist; whether the stages go together is check()'s to say.
SpectralMethod parse_spectral(const std::string& text);

// Rows by name.
SpectralConfig muon();
SpectralConfig aurora();

// "momentum=ema,mu=0.95,…": what a row does, and nothing that it does not.
std::string stages(const SpectralConfig& c);

// Every setting, which is what a checkpoint keeps; and back.
std::string all_stages(const SpectralConfig& c);
void set_stages(SpectralConfig& c, const std::string& text);

// Numbers kept for each weight of an m×n matrix.
double state_per_weight(const SpectralConfig& c, int64_t m, int64_t n);

// FLOPs of the matrix products of an update of one m×n matrix, as they are run here.
double spectral_flops(const SpectralConfig& c, int64_t m, int64_t n);

}  // namespace borealis
