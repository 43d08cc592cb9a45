// What the rows of `bench` share: their floor, and how it is measured at the moment a row runs.
#pragma once

#include <string>

#include <benchmark/benchmark.h>

#include "demos/run/progress.h"
#include "demos/run/train_options.h"

namespace borealis::bench {

// The least that a row has to do: multiplications and additions, and numbers that must cross
// memory once.
struct Work {
  double flops = 0, bytes = 0;
};

// FLOP/s of multiply-adds that stay in registers, on one thread or on all; takes 20 ms.
double fma_rate(int team);
// Bytes/s of x ← y + c z over three arrays of `bytes` together: what a pointwise kernel can reach
// at this footprint, in cache or out of it.
double triad_rate(double bytes, int team);

// Seconds that the machine needs for the work right now.
double floor_seconds(const Work& work);
void report(benchmark::State& state, const Work& work, double seconds, double floor);

// Times f. Other users of the machine slow a row down by a third and more, so its floor is measured
// just before and just after it.
template <class F> void time_row(benchmark::State& state, const Work& work, F&& f) {
  f();  // memory and kernels are there from the second time on
  const double before = floor_seconds(work);
  const Stopwatch clock;
  for (auto _ : state) f();
  const double seconds = clock.seconds() / static_cast<double>(state.iterations());
  report(state, work, seconds, (before + floor_seconds(work)) / 2);
}

// A row that runs f(state); wall-clock time.
template <class F> benchmark::internal::Benchmark* add_row(const std::string& name, F f) {
  return benchmark::RegisterBenchmark(name.c_str(), f)->UseRealTime();
}

// train_gpt's settings for a preset, with the 65 characters of Tiny Shakespeare and no dropout,
// which other programs' figures leave out.
TrainOptions preset_options(const std::string& preset, const std::string& optimizer);
inline const char* const presets[] = {"nano", "small"};

void add_machine_rows();
void add_gemm_rows();
void add_op_rows();
void add_step_rows();
void add_optimizer_rows();

}  // namespace borealis::bench
