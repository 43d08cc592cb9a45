// A training run in one safetensors file: weights under the names other tools use, the optimizer's
// state under "optimizer/…", and in the metadata what is needed to sample from it or to go on.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "demos/run/train_options.h"
#include "engine/tensor.h"
#include "nn/text.h"

namespace borealis {

struct Checkpoint {
  TrainOptions options;
  int64_t step = 0;  // steps done
  Vocabulary vocabulary;
  uint64_t fingerprint = 0;  // of the text it was trained on: a resumed run must see the same one
  std::map<std::string, Tensor> weights, optimizer;
};

// FNV-1a, 64 bits.
uint64_t fingerprint_of(const std::string& text);

// Same run, same bytes: nothing of the machine, the paths or the time goes in.
void write_checkpoint(const std::string& path, const Checkpoint& c);
// Fails in one sentence on a file that is missing, damaged or no checkpoint of ours, and on one
// whose description asks for a larger model than its weights can fill; whether each weight fits is
// from_file()'s to say.
Checkpoint read_checkpoint(const std::string& path);

}  // namespace borealis
