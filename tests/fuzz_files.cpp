// A target for clang's libFuzzer: whatever the bytes of a file are, reading it ends well or in one
// of our two exceptions. Built with -DBOREALIS_FUZZ=ON; tests/fuzz builds and runs it.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "demos/run/checkpoint.h"
#include "engine/parallel.h"
#include "engine/safetensors.h"
#include "nn/checkpoint.h"
#include "nn/sampling.h"
#include "nn/weights.h"

using namespace borealis;

namespace {

// A file in memory with these bytes.
const std::string& file_of(const uint8_t* bytes, size_t size) {
  static const int file = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (file < 0 || ::ftruncate(file, 0) != 0 || ::pwrite(file, bytes, size, 0) != static_cast<ssize_t>(size))
    std::abort();
  return path;
}

// Any other exception is a finding.
template <class F> void refused_or_done(F f) {
  try {
    f();
  } catch (const std::runtime_error& e) {
    if (std::strchr(e.what(), '\x1b')) std::abort();  // would reach the terminal
  } catch (const std::invalid_argument&) {
  }
}

void sample_from(const std::string& path) {
  const auto [model, vocabulary] = load(path);
  sample(model, vocabulary, "", {.max_new_tokens = 2});
}

// Models of the size that the seeds have.
std::vector<ParamList> small_models() {
  std::vector<ParamList> models;
  for (GptConfig config : {GptConfig::gpt2(), GptConfig::modern()}) {
    config.vocab = 4;
    config.block_size = 4;
    config.n_layer = config.n_head = 1;
    config.n_embd = 4;
    config.mlp_expansion = 1;
    config.bias = false;
    Rng rng(0);
    models.push_back(Gpt(config, rng).parameters());
  }
  return models;
}

void load_weights(const std::string& path) {
  static const std::vector<ParamList> models = small_models();
  const TensorFile file = read_safetensors(path);
  for (const ParamList& model : models) refused_or_done([&] { from_file(model, file.tensors, path); });
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_threads(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string& path = file_of(bytes, size);
  refused_or_done([&] { load_weights(path); });
  refused_or_done([&] { sample_from(path); });
  refused_or_done([&] { read_checkpoint(path); });
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* bytes, size_t size, size_t most);

// Three times out of four the header alone, its length kept right: else few mutants would get past
// the length.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* bytes, size_t size, size_t most, unsigned int seed) {
  uint64_t length = 0;
  if (size >= sizeof length) std::memcpy(&length, bytes, sizeof length);
  if (seed % 4 == 0 || size < sizeof length || length > size - sizeof length)
    return LLVMFuzzerMutate(bytes, size, most);
  const uint8_t* end = bytes + sizeof length + length;
  const std::vector<uint8_t> data(end, static_cast<const uint8_t*>(bytes) + size);
  length = LLVMFuzzerMutate(bytes + sizeof length, length, most - sizeof length);
  std::memcpy(bytes, &length, sizeof length);
  const size_t kept = std::min(data.size(), most - sizeof length - length);
  std::copy_n(data.begin(), kept, bytes + sizeof length + length);
  return sizeof length + length + kept;
}
