// Every row of the op table that is to be timed: each op at the shapes of the nano preset.
#include <string>
#include <vector>

#include "tests/bench/bench.h"
#include "tests/op_cases.h"

namespace borealis::bench {

namespace {

double bytes_of(const Tensor& t) { return static_cast<double>(t.numel()) * sizeof(float); }

void run(benchmark::State& state, const TimedCase& row, bool backward) {
  std::vector<Var> inputs;
  for (const Tensor& input : make_inputs(row, DType::f32)) inputs.push_back(Var::leaf(input));
  const Tensor dy = Tensor::full(row.f(inputs).shape(), 1);

  // Forward: inputs in, output out. Backward: the output's gradient in, the inputs' gradients out.
  // (slice reads a part of its input only, and may show more than 100 %.)
  Work work{row.flops, bytes_of(dy)};
  for (const Var& input : inputs) work.bytes += bytes_of(input.value());
  if (backward) work = {3 * work.flops, 2 * work.bytes};

  time_row(state, work, [&] {
    const Var y = row.f(inputs);
    if (!backward) return;
    for (const Var& input : inputs) input.zero_grad();
    y.backward(dy);
  });
}

}  // namespace

void add_op_rows() {
  for (const TimedCase& row : timed_cases())
    for (const bool backward : {false, true})
      add_row("op/" + row.op + (row.what.empty() ? "" : '_' + row.what) + (backward ? "/both" : "/forward"),
              [&row, backward](benchmark::State& state) { run(state, row, backward); })
          ->Unit(benchmark::kMicrosecond);
}

}  // namespace borealis::bench
