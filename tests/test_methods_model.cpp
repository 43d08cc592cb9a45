// Every row of spectral_methods() over a model of many matrices: what must hold for each of them.
#include <doctest/doctest.h>

#include "optim/spectral.h"
#include "tests/compare.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

template <class F> void for_each_method(F f) {
  for (const SpectralMethod& row : spectral_methods()) {
    CAPTURE(std::string(row.key));
    f(row);
  }
}

}  // namespace

TEST_CASE("methods: each block is a matrix of its own") {
  for_each_method([](const SpectralMethod& row) {
    const ParamList list = small_model(DType::f64);
    const ParamArena arena(list);
    Spectral optimizer(arena, row.config);
    const std::vector<Tensor> before = values(list);
    std::vector<std::vector<Tensor>> gradients;
    for (uint64_t t = 1; t <= 2; ++t) {
      set_gradients(list, t);
      gradients.emplace_back();
      for (const Parameter& p : list) gradients.back().push_back(p.var.grad().clone());
      optimizer.step(0.25);
    }
    for (size_t i = 0; i < list.size(); ++i) {
      const Parameter& p = list[i];
      CAPTURE(p.name);
      if (!is_hidden_matrix(p)) {
        CHECK(same_bytes(p.var.value(), before[i]));
        continue;
      }
      const int64_t height = p.var.shape()[0] / p.blocks;
      for (int64_t b = 0; b < p.blocks; ++b) {
        const Single one({height, p.var.shape()[1]}, DType::f64, p.neurons);
        one.w().copy_from(before[i].rows(b * height, height));
        Spectral alone(one.arena, row.config);
        for (size_t t = 0; t < 2; ++t) {
          set_gradients(one.list, 1);
          one.list[0].var.set_grad(gradients[t][i].rows(b * height, height));
          alone.step(0.25);
        }
        CHECK(relative_error(p.var.value().rows(b * height, height), one.w()) < 1e-10);
      }
    }
  });
}

TEST_CASE("methods: continue from a saved state, to the bit") {
  for_each_method([](const SpectralMethod& row) {
    for (const DType dtype : floats) {
      const ParamList list = small_model(dtype);
      const ParamArena arena(list);
      Spectral optimizer(arena, row.config);
      OptimizerState saved;
      std::vector<Tensor> weights;
      for (uint64_t t = 1; t <= 5; ++t) {
        if (t == 4) {
          saved = optimizer.state();
          for (auto& [key, tensor] : saved.tensors) tensor = tensor.clone();
          weights = values(list);
        }
        set_gradients(list, t);
        optimizer.step(0.1);
      }

      ParamList again = small_model(dtype);
      for (size_t i = 0; i < again.size(); ++i) again[i].var.value().copy_from(weights[i]);
      std::reverse(again.begin(), again.end());
      const ParamArena other(again);
      Spectral resumed(other, row.config);
      resumed.load_state(saved);
      CHECK(resumed.state().step == 3);
      for (uint64_t t = 4; t <= 5; ++t) {
        set_gradients(again, t);
        resumed.step(0.1);
      }
      CHECK(same_bytes(other.values(), arena.values()));
      const OptimizerState a = optimizer.state(), b = resumed.state();
      REQUIRE(a.tensors.size() == b.tensors.size());
      for (const auto& [key, tensor] : a.tensors) CHECK(same_bytes(tensor, b.tensors.at(key)));

      if (saved.tensors.empty()) continue;  // nothing is remembered
      saved.tensors.erase(std::prev(saved.tensors.end()));
      CHECK_THROWS_AS(resumed.load_state(saved), std::invalid_argument);
    }
  });
}

TEST_CASE("methods: the loss falls at the default learning rate") {
  for_each_method([](const SpectralMethod& row) {
    const ParamList list = small_model();
    const ParamArena arena(list);
    std::vector<Tensor> targets;
    for (const Parameter& p : list) {
      const Tensor& W = p.var.value();
      W.copy_from(affine(W, 0.3, 0));
      // Nearly as long as W, for methods that keep its length.
      const Tensor target = W.clone();
      axpby(target, 0.1, normal(W.shape(), DType::f32, 5), 1);
      targets.push_back(target);
    }
    Spectral optimizer(arena, row.config);
    const auto loss_and_gradients = [&] {
      double loss = 0;
      for (size_t i = 0; i < list.size(); ++i) {
        set_gradients({list[i]}, 1);
        const Tensor G = list[i].var.grad();
        G.copy_from(list[i].var.value());
        axpby(G, -1, targets[i], 1);
        if (is_hidden_matrix(list[i])) loss += 0.5 * dot(G, G);
      }
      return loss;
    };
    const double before = loss_and_gradients();
    for (int t = 0; t < 100; ++t) {
      loss_and_gradients();
      optimizer.step(row.lr * (1 - t / 100.));
    }
    REQUIRE(all_finite(arena.values().reshape({1, arena.values().numel()})));
    const double after = loss_and_gradients();
    CHECK(after < 0.6 * before);
  });
}
