// gpu_rows ROW [DEVICE] [--few]: one row of tests/gpu_check. Each finding is a line of JSON on standard output; exit status 1
// if one is not as it must be, 3 if the row came to its end by an exception.
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>

#include <nlohmann/json.hpp>

#include "demos/run/presets.h"
#include "engine/backend.h"
#include "tests/gpu/rows.h"

namespace borealis::gpu {

namespace {

bool kept = true;

void print(const nlohmann::json& finding) {
  // What is not finite has no place in JSON.
  std::printf("%s\n", finding.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  std::fflush(stdout);
}

nlohmann::json number(double x) {
  return std::isfinite(x) ? nlohmann::json(x) : nlohmann::json(std::isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
}

}  // namespace

void at_most(const std::string& what, double value, double bound, const std::string& note) {
  const bool ok = value <= bound;
  kept = kept && ok;
  print({{"what", what}, {"value", number(value)}, {"bound", number(bound)}, {"ok", ok}, {"note", note}});
}

void tell(const std::string& what, double value, const std::string& unit, double against, const std::string& note) {
  nlohmann::json finding{{"what", what}, {"value", number(value)}, {"unit", unit}, {"note", note}};
  if (against > 0) finding["against"] = number(against);
  print(finding);
}

bool all_kept() { return kept; }

void Worst::add(const std::string& which, double value, double bound, const std::string& note) {
  constexpr int64_t shown = 5;
  const bool ok = value <= bound;
  if (!ok && ++beyond_ <= shown) at_most(what_ + ", " + which, value, bound, note);
  if (++count_ > 1 && !(std::isnan(value) || value * bound_ > value_ * bound)) return;
  which_ = which, note_ = note, value_ = value, bound_ = bound;
}

void Worst::report() const {
  at_most(what_ + ", the worst of " + std::to_string(count_), value_, bound_,
          which_ + (note_.empty() ? "" : ": " + note_) +
              (beyond_ ? "; " + std::to_string(beyond_) + " exceed their bounds" : ""));
}

TrainOptions preset_of(const std::string& preset, const std::string& method) {
  TrainOptions o = preset_options(preset, "", method);
  o.model.vocab = preset == "gpt2-124m" ? 50257 : 65;
  o.model.dropout = 0;
  return o;
}

}  // namespace borealis::gpu

int main(int argc, char** argv) {
  using namespace borealis;
  const std::map<std::string, std::function<void(const gpu::Setting&)>> rows{
      {"products", gpu::products},   {"ops", gpu::ops},
      {"step", gpu::step},           {"steady", gpu::steady},
      {"nano", gpu::nano},           {"ceilings", gpu::ceilings},
      {"kernels", gpu::kernels},     {"polar", gpu::polar_buckets},
      {"aurora", gpu::aurora_ratio}, {"tokens", gpu::tokens}};
  try {
    if (argc < 2 || !rows.contains(argv[1]))
      throw std::invalid_argument("gpu_rows: name a row, as gpu_check lists them");
    gpu::Setting setting{parse_device("cuda")};
    for (int i = 2; i < argc; ++i)
      if (std::string(argv[i]) == "--few")
        setting.few = true;
      else
        setting.device = parse_device(argv[i]);
    backend(setting.device);  // says at once if there is none
    rows.at(argv[1])(setting);
    backend(setting.device).synchronize();  // a kernel's fault may come to light here alone
    return gpu::all_kept() ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 3;
  }
}
