#include "demos/run/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "engine/backend.h"
#include "nn/weights.h"

namespace borealis {

namespace {

// Where a step is taken, and in which numbers.
struct Place {
  Device device = {};
  DType dtype = DType::f32;
};

Place place(const std::string& word) {
  if (word == "f32") return {};
  if (word == "f64") return {{}, DType::f64};
  const Device device = parse_device(word);
  backend(device);  // says at once if this build has no such device
  return {device, DType::f32};
}

// What was made in a part of a step, in order.
struct Made {
  std::string name;
  Tensor numbers;  // on the CPU, in f64
};
struct Phase {
  const char* name;
  std::vector<Made> made = {};

  void add(const std::string& what, const Tensor& t) {
    if (t.dtype() != DType::i32) made.push_back({what, t.to(Device{}).to(DType::f64).clone()});
  }
};

std::vector<Phase> take_step(const TrainOptions& o, const TokenStream& data, const Place& where) {
  Rng weights = rng_for(o.seed, Purpose::weights), rest = rng_for(o.seed, Purpose::weights);
  const Gpt start(o.model, weights), model(o.model, rest, where.dtype, where.device);
  from_file(model.parameters(), to_file(start.parameters()), "the first model");  // the same numbers in any type
  Optimizer optimizer(model.parameters(), optimizer_config(o));
  Rng batches = rng_for(o.seed, Purpose::batches), dropout = rng_for(o.seed, Purpose::dropout);
  const TokenBatch batch = data.random_batch(o.batch_size, o.model.block_size, batches, where.device);

  std::vector<Phase> phases{{"forward"}, {"backward"}, {"gradients"}, {"update"}};
  const auto watch = [](Phase& phase) {
    return Observer([&phase](const char* op, const Tensor& t) { phase.add(op, t); });
  };
  Var loss;
  {
    const Observer forward = watch(phases[0]);
    loss = model.loss(batch.inputs, batch.targets, &dropout);
  }
  {
    const Observer backward = watch(phases[1]);
    loss.backward();
  }
  optimizer.clip(o.grad_clip);
  for (const Parameter& p : model.parameters()) phases[2].add(p.name, p.var.grad());
  optimizer.step();
  for (const Parameter& p : model.parameters()) phases[3].add(p.name, p.var.value());
  return phases;
}

// The largest difference of two tensors, as a share of the largest number; a NaN in one alone is infinitely far.
struct Difference {
  double share = 0;
  int64_t at = 0;
};
Difference difference(const Tensor& a, const Tensor& b) {
  const double *x = a.data<double>(), *y = b.data<double>();
  Difference d;
  double largest = 0, most = -1;
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (std::isfinite(y[i])) largest = std::max(largest, std::abs(y[i]));
    const bool same = x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]));
    const double apart = same ? 0 : std::isfinite(x[i] - y[i]) ? std::abs(x[i] - y[i]) : INFINITY;
    if (apart > most) most = apart, d.at = i;
  }
  d.share = most <= 0 ? 0 : largest > 0 ? most / largest : INFINITY;
  return d;
}

}  // namespace

void compare_step(const TrainOptions& o, const TokenStream& data, const std::string& what) {
  const size_t comma = what.find(',');
  if (comma == std::string::npos) fail("--compare: '", what, "' must be two devices or types, as cpu,cuda or f32,f64");
  const std::string words[] = {what.substr(0, comma), what.substr(comma + 1)};
  const std::vector<Phase> a = take_step(o, data, place(words[0])), b = take_step(o, data, place(words[1]));

  std::printf("one step of %s, %s against %s\n", o.optimizer.c_str(), words[0].c_str(), words[1].c_str());
  std::printf("%-10s %7s   largest difference, as a share of the largest number\n", "", "tensors");
  for (size_t p = 0; p < a.size(); ++p) {
    if (a[p].made.size() != b[p].made.size())
      fail("--compare: ", a[p].name, " made ", a[p].made.size(), " tensors on one side, ", b[p].made.size(),
           " on the other");
    Difference worst;
    size_t where = 0;
    for (size_t i = 0; i < a[p].made.size(); ++i)
      if (const Difference d = difference(a[p].made[i].numbers, b[p].made[i].numbers); d.share > worst.share)
        worst = d, where = i;
    std::printf("%-10s %7zu   %-8.2g", a[p].name, a[p].made.size(), worst.share);
    if (worst.share > 0) {
      const Made &x = a[p].made[where], &y = b[p].made[where];
      std::ostringstream shape;
      shape << x.numbers.shape();
      std::printf(" number %zu, %s %s, at place %lld: %.9g and %.9g", where + 1, x.name.c_str(), shape.str().c_str(),
                  static_cast<long long>(worst.at), x.numbers.data<double>()[worst.at],
                  y.numbers.data<double>()[worst.at]);
    }
    std::printf("\n");
  }
}

}  // namespace borealis
