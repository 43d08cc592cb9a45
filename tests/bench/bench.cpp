// How fast Borealis is on this machine, and how fast it could be: every row with the share of its
// floor that it reaches. Flags of Google Benchmark choose rows (--benchmark_filter=REGEX),
// repetitions and format.
#include "tests/bench/bench.h"

#include <cstdio>

#include <CLI/CLI.hpp>

#include "demos/run/presets.h"
#include "engine/cpu/gemm.h"
#include "engine/parallel.h"
#include "engine/version.h"

using namespace borealis;

namespace borealis::bench {

TrainOptions preset_options(const std::string& preset, const std::string& optimizer) {
  TrainOptions o = borealis::preset_options(preset, "", optimizer);
  o.model.vocab = 65;
  o.model.dropout = 0;
  return o;
}

}  // namespace borealis::bench

int main(int argc, char** argv) try {
  benchmark::Initialize(&argc, argv);  // takes its own flags away
  CLI::App app{"Times Borealis on this machine. --benchmark_filter=REGEX chooses rows."};
  app.set_version_flag("--version", "bench " BOREALIS_VERSION);
  int team = 0;
  app.add_option("--threads", team, "0: one per core")->check(CLI::Range(0, 1024));
  CLI11_PARSE(app, argc, argv);
  set_threads(team);

  benchmark::AddCustomContext("threads", std::to_string(threads()));
  benchmark::AddCustomContext("matrix products", gemm_provider());
  benchmark::AddCustomContext("share_%",
                              "of the row's floor: its FLOPs at the FMA peak, or its bytes at the rate of a "
                              "triad of that size, measured around the row");
  bench::add_machine_rows();
  bench::add_gemm_rows();
  bench::add_op_rows();
  bench::add_step_rows();
  bench::add_optimizer_rows();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
