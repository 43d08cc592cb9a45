// A training step on the device against the CPU's: loss, every gradient, every updated parameter.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "nn/gpt.h"
#include "optim/optimizer.h"
#include "tests/compare.h"
#include "tests/gpu/rows.h"

namespace borealis::gpu {

namespace {

// What a step made, in order.
struct Made {
  std::string name;
  Tensor numbers;  // on the CPU
};

// One model and its optimizer on one device; all are made the same.
struct Side {
  Gpt model;
  Optimizer optimizer;
  ParamList parameters;
  Tensor ids, targets;
  std::vector<Made> made = {};

  Side(const GptConfig& c, const std::string& method, Device device)
      : model(of(c, device)), optimizer(model.parameters(), method), parameters(model.parameters()) {
    // Weights as large as those of a trained model, none of them 0 as fresh projections are.
    Rng rng(2);
    for (const Parameter& p : parameters)
      p.var.value().copy_from(rng.normal(p.var.shape(), p.role == Role::vector ? 0.5 : 0.2, DType::f32).to(device));
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < 3 * c.block_size; ++i) tokens.push_back(static_cast<int32_t>(rng.below(c.vocab)));
    ids = Tensor::of<int32_t>({3, c.block_size}, tokens).to(device);
    std::rotate(tokens.begin(), tokens.begin() + 1, tokens.end());
    tokens[5] = -1;  // not counted
    targets = Tensor::of<int32_t>({3, c.block_size}, tokens).to(device);
  }

  static Gpt of(const GptConfig& c, Device device) {
    Rng rng(1);
    return Gpt(c, rng, DType::f32, device);
  }

  void look() {
    made.clear();
    const Observer watch([this](const char* op, const Tensor& t) { made.push_back({op, t.to(Device{}).clone()}); });
    Rng dropout(7);
    const Var loss = model.loss(ids, targets, &dropout);
    made.push_back({"the loss", loss.value().to(Device{}).clone()});
    loss.backward();
    optimizer.expect_finite(loss.value());
    made.push_back({"the gradient's length", optimizer.clip(1).to(Device{}).clone()});
    for (const Parameter& p : parameters) made.push_back({"gradient of " + p.name, p.var.grad().to(Device{}).clone()});
  }
};

std::string text(const Difference& d) {
  std::ostringstream out;
  out.precision(9);
  out << "number " << d.at << ": " << d.a << " here, " << d.b << " on the CPU";
  return out.str();
}

void compare(const std::string& title, const GptConfig& c, const std::string& method, Device device) {
  constexpr double bound = 1e-4;
  Side here(c, method, device), cpu(c, method, {});
  Worst gradients(title + ", loss and gradients"), weights(title + ", updated parameters");
  for (int i = 0; i < 2; ++i) {
    here.look(), cpu.look();
    if (here.made.size() != cpu.made.size()) fail_runtime(title, ": the device makes another number of results");
    // The first result of an op that differs is named: what comes after it only carries that on.
    std::string first;
    for (size_t k = 0; k < std::min(here.made.size(), cpu.made.size()); ++k) {
      const std::string& name = cpu.made[k].name;
      if (cpu.made[k].numbers.dtype() == DType::i32) continue;
      const Difference d = difference(here.made[k].numbers, cpu.made[k].numbers);
      if (first.empty() && !(d.share <= bound))
        first = "the first to differ is result " + std::to_string(k) + ", " + name + ", " + text(d);
      if (name.starts_with("the ") || name.starts_with("gradient of "))
        gradients.add(name, d.share, bound, d.share <= bound ? text(d) : first);
    }
    // Both sides go on from the CPU's gradients. Where one is rounding alone, AdamW's first steps would make it as large as
    // any other.
    for (size_t k = 0; k < cpu.parameters.size(); ++k)
      here.parameters[k].var.set_grad(cpu.parameters[k].var.grad().to(device));
    here.optimizer.step(), cpu.optimizer.step();
    for (size_t k = 0; k < cpu.parameters.size(); ++k) {
      const Tensor &x = here.parameters[k].var.value(), &y = cpu.parameters[k].var.value();
      const Difference d = difference(x, y);
      double largest = 0;
      for (const double v : y.to_vector<double>()) largest = std::max(largest, std::abs(v));
      weights.add(cpu.parameters[k].name, d.share * largest, bound * std::max(1.0, largest), text(d));
    }
    here.optimizer.zero_grad(), cpu.optimizer.zero_grad();
  }
  gradients.report();
  weights.report();
}

}  // namespace

void step(const Setting& s) {
  for (const Style style : {Style::gpt2, Style::modern})
    for (const std::string method : {"adamw", "muon", "aurora"}) {
      GptConfig c = style == Style::gpt2 ? GptConfig::gpt2() : GptConfig::modern();
      c.vocab = 67, c.block_size = 24, c.n_layer = 2, c.n_head = 3, c.n_embd = 48, c.dropout = 0.1;
      compare((style == Style::gpt2 ? "gpt2, " : "modern, ") + method, c, method, s.device);
    }
}

}  // namespace borealis::gpu
