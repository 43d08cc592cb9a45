// How fresh weights are spread: the numbers of the table in nn/README.md.
#include <cmath>

#include <doctest/doctest.h>

#include "nn/gpt.h"
#include "tests/near.h"

using namespace borealis;

namespace {

GptConfig sized(GptConfig c) {
  c.vocab = 300;
  c.block_size = 64;
  c.n_layer = 3;
  c.n_head = 4;
  c.n_embd = 64;
  return c;
}

struct Spread {
  double mean, std;
};

Spread spread(const std::vector<double>& numbers) {
  double sum = 0, squares = 0;
  for (const double x : numbers) sum += x, squares += x * x;
  const double n = static_cast<double>(numbers.size()), mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean)};
}

// Within five standard errors; a spread of 0 means zeros.
void check_normal(const Tensor& weight, double std) {
  const std::vector<double> numbers = weight.to_vector<double>();
  const Spread s = spread(numbers);
  const double error = 5 * std / std::sqrt(static_cast<double>(numbers.size()));
  CHECK(std::abs(s.mean) <= error);
  CHECK(std::abs(s.std - std) <= error / std::sqrt(2.0));
}

// The documented spread of a parameter, told by the end of its name; gains and biases are apart.
using Table = std::vector<std::pair<const char*, double>>;

void check_model(const GptConfig& c, const Table& table) {
  Rng rng(11);
  for (const Parameter& p : Gpt(c, rng).parameters()) {
    INFO(p.name, " ", p.var.shape());
    if (p.role == Role::vector) {
      const bool bias = p.name.ends_with(".bias");
      for (const double x : p.var.value().to_vector<double>()) CHECK(x == (bias ? 0 : 1));
      continue;
    }
    int found = 0;
    for (const auto& [end, std] : table)
      if (p.name.ends_with(end)) {
        ++found;
        const int64_t rows = p.var.shape()[0] / p.blocks;
        for (int64_t b = 0; b < p.blocks; ++b) check_normal(p.var.value().rows(b * rows, rows), std);
      }
    CHECK(found == 1);
  }
}

}  // namespace

TEST_CASE("gpt: initial weights of the gpt2 style") {
  GptConfig c = sized(GptConfig::gpt2());
  const double residual = 0.02 / std::sqrt(2.0 * 3);  // three layers, two projections each
  const Table table{{"wte.weight", 0.02},         {"wpe.weight", 0.02},
                    {"attn.c_attn.weight", 0.02}, {"attn.c_proj.weight", residual},
                    {"mlp.c_fc.weight", 0.02},    {"mlp.c_proj.weight", residual},
                    {"lm_head.weight", 0.02}};
  check_model(c, table);
  c.tied = false;
  c.mlp = MlpKind::swiglu;
  check_model(c, table);
}

TEST_CASE("gpt: initial weights of the modern style") {
  GptConfig c = sized(GptConfig::modern());
  const double hidden = std::sqrt(0.33 / 64);
  Table table{{"embed.weight", 1},     {"positions.weight", 0.02}, {"attn.qkv.weight", hidden},
              {"attn.proj.weight", 0}, {"mlp.fc.weight", hidden},  {"mlp.proj.weight", 0}};
  c.tied = true;
  check_model(c, table);
  c.position = Position::learned;
  check_model(c, table);

  c.tied = false;
  Rng rng(11);
  const Gpt model(c, rng);
  CHECK(model.head->weight.name == "proj.weight");
  check_normal(model.head->weight.var.value(), 0);
}

TEST_CASE("gpt: no two weights start from the same random numbers") {
  Rng rng(11);
  std::vector<std::vector<double>> starts;  // of each matrix, over its spread
  for (const Parameter& p : Gpt(sized(GptConfig::gpt2()), rng).parameters()) {
    if (p.role == Role::vector) continue;
    const std::vector<double> numbers = p.var.value().to_vector<double>();
    const double std = spread(numbers).std;
    starts.push_back({numbers[0] / std, numbers[1] / std});
  }
  for (size_t i = 0; i < starts.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      CHECK(std::abs(starts[i][0] - starts[j][0]) + std::abs(starts[i][1] - starts[j][1]) > 1e-3);
}

TEST_CASE("layers: a Linear that was told nothing keeps the spread of its inputs") {
  Rng rng(5);
  const Linear layer("layer", 400, 300, {rng});
  CHECK(layer.weight.var.shape() == Shape{300, 400});
  CHECK(layer.weight.role == Role::hidden_matrix);
  check_normal(layer.weight.var.value(), 1 / std::sqrt(400.0));
  for (const double b : layer.bias.var.value().to_vector<double>()) CHECK(b == 0);
  CHECK(spread(layer(rng.normal({50, 400}, 1)).value().to_vector<double>()).std == near(1).epsilon(0.05));
  check_normal(Linear("zeros", 40, 30, {rng}, {.std = 0}).weight.var.value(), 0);
}
