// Golden numbers: runs every case of the fixture files in a folder, in f64 and f32. A file is a
// safetensors file whose metadata says `format = borealis-fixture-1`, a kind, and as JSON all that
// its cases need:
//   ops         CASE/x0, x1, … → CASE/y; CASE/dy → CASE/dx0, …         cases: axis, eps, layout
//   polar       CASE/X → CASE/METHOD                                   methods: coefficient rows
//   optimizers  CASE/W0, CASE/G1 … → CASE/W1 …                         cases: every hyperparameter
//   model       param/NAME, ids, targets → logits, grad/NAME, grad_norm, adamw_losses
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/safetensors.h"

namespace borealis {

struct FixtureResult {
  std::string kind, name;
  // max|ours − theirs| / max|theirs|, the largest over the case's tensors.
  double error_f64 = 0, error_f32 = 0;
  bool ok = false;
  std::string needs = {};  // what is missing here to run the case: it was skipped

  bool skipped() const { return !needs.empty(); }
};

// Every case of every file in the folder, by file name, on a device. A file that cannot be read or is no
// fixture, and a folder without any, is a std::runtime_error of one sentence.
std::vector<FixtureResult> run_fixtures(const std::string& folder, Device device = {});

// "kind case 1.2e-16 3.4e-07 ok".
std::string line(const FixtureResult& result);

// --- between the files that run one kind each ------------------------------------------------

struct Fixture {
  std::string kind, stem;  // the file's name without its ending
  TensorFile file;
  Device device;  // where its cases run

  // A metadata entry as JSON.
  nlohmann::json json(const std::string& key) const;
  const Tensor& at(const std::string& name) const;
  // To compute with: on the device, floats in the type asked for.
  Tensor on_device(const std::string& name, DType dtype) const { return at(name).to(dtype).to(device); }

  // Measures one case in both types and holds it against the bounds.
  FixtureResult measure(const std::string& name, double bound_f32, const std::function<double(DType)>& error) const;
  FixtureResult skip(const std::string& name, const std::string& needs) const {
    return {kind, name, 0, 0, false, needs};
  }
};

std::vector<FixtureResult> run_ops(const Fixture& fixture);
std::vector<FixtureResult> run_polar(const Fixture& fixture);
std::vector<FixtureResult> run_optimizers(const Fixture& fixture);
std::vector<FixtureResult> run_model(const Fixture& fixture);

}  // namespace borealis
