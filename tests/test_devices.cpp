// Whole optimizers and a small GPT on every further device, against the CPU.
#include <cmath>

#include <doctest/doctest.h>

#include "nn/gpt.h"
#include "optim/optimizer.h"
#include "tests/compare.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

// The same weights on another device.
ParamList moved(const ParamList& list, Device device) {
  ParamList out = list;
  for (Parameter& p : out) p.var = Var::leaf(p.var.value().to(device), p.name);
  return out;
}

}  // namespace

TEST_CASE("devices: every optimizer steps a small model on every further device as on the CPU") {
  if (available_devices().size() == 1) MESSAGE("skipped: no further device in this build or machine");
  std::vector<std::string> methods{"adamw"};
  for (const SpectralMethod& row : spectral_methods()) methods.push_back(row.key);
  for (const Device device : available_devices()) {
    if (device == Device{}) continue;
    for (const std::string& method : methods) {
      const ParamList here = small_model(DType::f64), there = moved(here, device);
      Optimizer one(here, method), other(there, method);
      for (uint64_t step = 1; step <= 3; ++step) {
        set_gradients(here, step), set_gradients(there, step);
        one.clip(1), other.clip(1);
        one.step(), other.step();
      }
      for (size_t i = 0; i < here.size(); ++i) {
        INFO(method, " on ", device, ", ", here[i].name);
        CHECK(relative_error(there[i].var.value(), here[i].var.value()) <= 1e-9);
      }
    }
  }
}

// A GPU's grid has at most 65535 blocks in y: those that there are go on to further sums.
TEST_CASE("devices: more sums than a grid has blocks") {
  if (available_devices().size() == 1) MESSAGE("skipped: no further device in this build or machine");
  const Tensor x = Rng(1).normal({66000, 2, 3}, 1);
  const std::vector<float> expected = sum(x, {1}).to_vector<float>();
  for (const Device device : available_devices()) CHECK(sum(x.to(device), {1}).to_vector<float>() == expected);
}

TEST_CASE("devices: attention and its gradients have the same bits twice") {
  if (available_devices().size() == 1) MESSAGE("skipped: no further device in this build or machine");
  for (const Device device : available_devices()) {
    const auto run = [device] {
      Rng rng(1);
      const Var x = Var::leaf(rng.normal({2, 70, 96}, 1).to(device), "x");
      const Var y = causal_attention(x, 2, {.dropout = 0.25, .rng = &rng});
      sum(square(y)).backward();
      return std::vector{y.value().to_vector<float>(), x.grad().to_vector<float>()};
    };
    CHECK(run() == run());
  }
}

// Rows that many ids name, one, or none; ids that name none; more ids than a GPU sorts at once. Sums of small whole
// numbers are exact, so that the order of no device matters.
TEST_CASE("devices: the gradient of an embedding, whatever its ids") {
  if (available_devices().size() == 1) MESSAGE("skipped: no further device in this build or machine");
  struct Ids {
    int64_t n, rows, cols, step;
  };
  for (const Ids& s :
       {Ids{0, 3, 2, 1}, {1, 1, 1, 1}, {40, 7, 70, 3}, {1025, 3, 2, 1}, {2500, 3000, 5, 7}, {1100, 5, 33, 5}})
    for (const double beta : {0.0, 0.5, 1.0}) {
      const Tensor ids({s.n}, DType::i32);
      for (int64_t i = 0; i < s.n; ++i)  // from −1 to rows
        ids.data<int32_t>()[i] = static_cast<int32_t>(i * s.step % (s.rows + 2) - 1);
      const auto whole = [](const Shape& shape, int64_t by) {
        const Tensor x(shape, DType::f32);
        for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(i * by % 17 - 8);
        return x;
      };
      const Tensor dy = whole({s.n, s.cols}, 5), old = whole({s.rows, s.cols}, 3);
      std::vector<float> expected;
      for (const Device device : available_devices()) {
        const Tensor table = old.clone().to(device);
        backend(device).embedding_grad(table, ids.to(device), dy.to(device), s.cols, beta);
        if (device == Device{}) expected = table.to_vector<float>();
        INFO(s.n, " ids of ", s.rows, " rows, beta ", beta, " on ", device);
        CHECK(table.to_vector<float>() == expected);
      }
    }
}

TEST_CASE("devices: a small GPT learns on every further device what it learns on the CPU") {
  if (available_devices().size() == 1) MESSAGE("skipped: no further device in this build or machine");
  for (const GptConfig& style : {GptConfig::gpt2(), GptConfig::modern()})
    for (const std::string method : {"adamw", "aurora"}) {
      std::vector<double> expected;
      for (const Device device : available_devices()) {
        GptConfig config = style;
        config.vocab = 11, config.block_size = 8, config.n_layer = 2, config.n_head = 2, config.n_embd = 16;
        Rng rng(1);
        const Gpt model(config, rng, DType::f64, device);
        Optimizer optimizer(model.parameters(), method);
        const Tensor ids = Tensor::of<int32_t>({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7}).to(device);
        const Tensor targets = Tensor::of<int32_t>({2, 4}, {1, 2, 3, -1, 5, 6, 7, 8}).to(device);
        std::vector<double> losses;
        for (int step = 0; step < 4; ++step) {
          const Var loss = model.loss(ids, targets);
          loss.backward();
          optimizer.clip(1);
          optimizer.step();
          optimizer.zero_grad();
          losses.push_back(loss.item());
        }
        if (device == Device{}) expected = losses;
        for (size_t i = 0; i < losses.size(); ++i) {
          INFO(method, " on ", device, ", step ", i);
          CHECK(std::abs(losses[i] / expected[i] - 1) <= 1e-10);
        }
      }
    }
}
