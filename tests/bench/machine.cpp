// The machine's own limits: multiply-adds from registers, and memory.
#include <algorithm>
#include <array>
#include <vector>

#include "engine/parallel.h"
#include "engine/tensor.h"
#include "tests/bench/bench.h"

namespace borealis::bench {

namespace {

// The widest vector that the compiler may use, as the library's own kernels do.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
using Vector [[gnu::vector_size(vector_bytes)]] = float;

// Independent chains: enough to hide the latency of a multiply-add (4 cycles, two a cycle), few
// enough for 16 registers.
constexpr int chains = 12;
constexpr int64_t links = 100'000;  // about 0.3 ms
constexpr double flops_per_piece = 2.0 * chains * links * vector_bytes / sizeof(float);

// x ← 0.999 x + 0.001, which goes to 1.
void multiply_add() {
  std::array<Vector, chains> x;
  for (int j = 0; j < chains; ++j) x[static_cast<size_t>(j)] = Vector{} + static_cast<float>(j);
  for (int64_t i = 0; i < links; ++i)
    for (Vector& v : x) v = v * 0.999f + 0.001f;
  for (Vector& v : x) benchmark::DoNotOptimize(v);
}

// x[i] ← y[i] + 0.5 z[i]
void triad(float* x, const float* y, const float* z, int64_t count) {
  for (int64_t i = 0; i < count; ++i) x[i] = y[i] + 0.5f * z[i];
}

// How often f runs in a second. Long enough to see several turns of the system's scheduler: the
// floor has to suffer from other users of the machine as the row does.
template <class F> double rate_of(F&& f) {
  f();
  const Stopwatch clock;
  int64_t times = 0;
  while (clock.seconds() < 0.02) {
    f();
    ++times;
  }
  return static_cast<double>(times) / clock.seconds();
}

}  // namespace

double fma_rate(int team) {
  // Small pieces, so that a thread which lost its core for a moment does not hold up the others.
  const int64_t pieces = 16 * team;
  const double rounds_per_second = rate_of([&] {
    parallel_for(pieces, team == 1 ? pieces : 1, [](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) multiply_add();
    });
  });
  return rounds_per_second * static_cast<double>(pieces) * flops_per_piece;
}

double triad_rate(double bytes, int team) {
  const auto n = std::max(int64_t{16}, static_cast<int64_t>(bytes / (3 * sizeof(float))));
  const Tensor x = Tensor::zeros({n}), y = Tensor::full({n}, 1), z = Tensor::full({n}, 2);
  const double sweeps_per_second = rate_of([&] {
    parallel_for(n, team == 1 ? n : 16384, [&](int64_t begin, int64_t end) {
      triad(x.data<float>() + begin, y.data<float>() + begin, z.data<float>() + begin, end - begin);
    });
  });
  return sweeps_per_second * static_cast<double>(3 * n) * sizeof(float);
}

double floor_seconds(const Work& work) {
  const int team = threads();
  return std::max(work.flops > 0 ? work.flops / fma_rate(team) : 0,
                  work.bytes > 0 ? work.bytes / triad_rate(work.bytes, team) : 0);
}

void report(benchmark::State& state, const Work& work, double seconds, double floor) {
  state.counters["GFLOP"] = work.flops * 1e-9;
  state.counters["GFLOP/s"] = work.flops * 1e-9 / seconds;
  state.counters["GB/s"] = work.bytes * 1e-9 / seconds;
  state.counters["share_%"] = 100 * floor / seconds;
}

void add_machine_rows() {
  constexpr double cached = 1 << 20, uncached = 192 << 20;
  std::vector<int> teams{1};
  if (threads() > 1) teams.push_back(threads());
  for (const int team : teams) {
    const std::string suffix = "/threads:" + std::to_string(team);
    const auto add = [&](const std::string& name, const char* unit, auto rate) {
      add_row("machine/" + name + suffix, [=](benchmark::State& state) {
        double sum = 0;
        for (auto _ : state) sum += rate();
        state.counters[unit] = sum / static_cast<double>(state.iterations()) * 1e-9;
      })->Unit(benchmark::kMillisecond);
    };
    add("fma", "GFLOP/s", [=] { return fma_rate(team); });
    add("triad_1MiB", "GB/s", [=] { return triad_rate(cached, team); });
    add("triad_192MiB", "GB/s", [=] { return triad_rate(uncached, team); });
  }
}

}  // namespace borealis::bench
