// Models: names, routes, files, and whether they learn.
#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include <doctest/doctest.h>

#include "engine/parallel.h"
#include "nn/gpt.h"
#include "nn/weights.h"
#include "optim/optimizer.h"
#include "tests/compare.h"
#include "tests/near.h"

using namespace borealis;

namespace {

GptConfig tiny(GptConfig c) {
  c.vocab = 23;
  c.block_size = 16;
  c.n_layer = 2;
  c.n_head = 2;
  c.n_embd = 24;
  return c;
}

Tensor ids(int64_t B, int64_t T, int64_t vocab, uint64_t seed) {
  const Tensor t({B, T}, DType::i32);
  Rng rng(seed);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<int32_t>()[i] = static_cast<int32_t>(rng.below(vocab));
  return t;
}

std::set<std::string> file_names(const GptConfig& c) {
  Rng rng(1);
  std::set<std::string> names;
  for (const auto& [name, tensor] : to_file(Gpt(c, rng).parameters())) names.insert(name);
  return names;
}

// Trains on one batch with a spectral optimizer for the matrices and AdamW for the rest.
struct Run {
  Gpt model;
  Optimizer optimizer;

  Run(const GptConfig& c, Rng& rng, const SpectralConfig& config)
      : model(c, rng),
        optimizer(model.parameters(),
                  {.matrices = config, .adamw = {.weight_decay = 0}, .rates = {0.02, 0.01, 0.01, 0.01}}) {}

  double step(const Tensor& x, const Tensor& y, Rng* dropout = nullptr) {
    const Var loss = model.loss(x, y, dropout);
    loss.backward();
    optimizer.clip(1);
    optimizer.step();
    optimizer.zero_grad();
    return loss.item();
  }
};

}  // namespace

TEST_CASE("gpt: parameter names are those of nanoGPT and of the optimizer track") {
  const auto gpt2 = file_names(tiny(GptConfig::gpt2()));
  for (const char* name : {"transformer.wte.weight", "transformer.wpe.weight", "transformer.h.1.attn.c_attn.weight",
                           "transformer.h.0.mlp.c_proj.bias", "transformer.ln_f.bias"})
    CHECK_MESSAGE(gpt2.count(name) == 1, name);
  CHECK(gpt2.count("lm_head.weight") == 0);  // tied
  const auto modern = file_names(tiny(GptConfig::modern()));
  for (const char* name : {"embed.weight", "norm1.gains", "blocks.0.attn.q.weight", "blocks.1.attn.v.bias",
                           "blocks.1.attn.proj.weight", "blocks.0.mlp.fc.bias", "norm2.gains", "proj.weight"})
    CHECK_MESSAGE(modern.count(name) == 1, name);
}

TEST_CASE("gpt: each parameter knows its role, blocks and neurons") {
  Rng rng(1);
  for (const Parameter& p : Gpt(tiny(GptConfig::gpt2()), rng).parameters()) {
    INFO(p.name);
    const bool matrix = p.name.find("transformer.h.") == 0 && p.var.shape().rank() == 2;
    const bool table = p.name.find("wte") != std::string::npos || p.name.find("wpe") != std::string::npos;
    CHECK(p.role == (matrix ? Role::hidden_matrix : table ? Role::embedding : Role::vector));
    if (matrix) CHECK(p.blocks == (p.name.find("c_attn") != std::string::npos ? 3 : 1));
    if (p.name.find("c_fc.weight") != std::string::npos) CHECK(p.neurons == Neurons::rows);
    if (p.name.find("mlp.c_proj.weight") != std::string::npos) CHECK(p.neurons == Neurons::cols);
  }
  GptConfig gated = tiny(GptConfig::modern());
  gated.mlp = MlpKind::swiglu;
  int heads = 0;
  for (const Parameter& p : Gpt(gated, rng).parameters()) {
    heads += p.role == Role::head;
    if (p.name == "blocks.0.mlp.fc.weight") {
      CHECK(p.blocks == 2);
      CHECK(p.var.shape() == Shape{2 * 96, 24});
    }
  }
  CHECK(heads == 1);
}

TEST_CASE("gpt: the two styles' switches, as the table in nn/README.md has them") {
  const GptConfig a = GptConfig::gpt2(), b = GptConfig::modern();
  CHECK(a.norm == NormKind::layer);
  CHECK(b.norm == NormKind::rms);
  CHECK(a.norm_eps == 1e-5);
  CHECK(b.norm_eps == 1e-6);
  CHECK((!a.norm_after_embedding && b.norm_after_embedding));
  CHECK(a.position == Position::learned);
  CHECK(b.position == Position::rotary);
  CHECK((!a.qk_norm && b.qk_norm));
  CHECK(a.attention_scale == 0);
  CHECK(b.attention_scale == 0.12);
  CHECK(a.mlp == MlpKind::gelu_erf);
  CHECK(b.mlp == MlpKind::relu_squared);
  CHECK((a.tied && !b.tied));
  CHECK(a.logit_cap == 0);
  CHECK(b.logit_cap == 15);
  for (const GptConfig& c : {a, b}) {
    CHECK(c.mlp_expansion == 4);
    CHECK(c.bias);
    CHECK(c.dropout == 0);
  }
}

TEST_CASE("gpt: the names of styles and MLPs, there and back") {
  const std::pair<const char*, MlpKind> mlps[] = {{"gelu", MlpKind::gelu_erf},
                                                  {"gelu_tanh", MlpKind::gelu_tanh},
                                                  {"relu_squared", MlpKind::relu_squared},
                                                  {"swiglu", MlpKind::swiglu}};
  for (const auto& [text, mlp] : mlps) {
    CHECK(name(mlp) == std::string(text));
    CHECK(parse<MlpKind>(text) == mlp);
  }
  const std::pair<const char*, Style> styles[] = {{"gpt2", Style::gpt2}, {"modern", Style::modern}};
  for (const auto& [text, style] : styles) {
    CHECK(name(style) == std::string(text));
    CHECK(parse<Style>(text) == style);
  }
  CHECK_THROWS(parse<MlpKind>("gelu_erf"));
  CHECK_THROWS(parse<Style>(""));
}

TEST_CASE("gpt: counts of numbers and of floating-point operations") {
  Rng rng(1);
  // Blocks of 12 C² in matrices, 9 C of biases beside them and 4 C in norms; C = 24, V = 23.
  const Gpt tied(tiny(GptConfig::gpt2()), rng);
  const int64_t matrices = 2 * 12 * 24 * 24;
  CHECK(tied.parameter_count() == matrices + 2 * (9 + 4) * 24 + 2 * 24 + (23 + 16) * 24);
  CHECK(tied.flops_per_token(16) == 6 * (matrices + 23 * 24) + 6 * 2 * 24 * 16);
  CHECK(tied.flops_per_token(8) == 6 * (matrices + 23 * 24) + 6 * 2 * 24 * 8);
  const Gpt untied(tiny(GptConfig::modern()), rng);
  CHECK(untied.parameter_count() == matrices + 2 * (9 + 2) * 24 + 2 * 24 + 23 * 24 + (23 * 24 + 23));
  CHECK(untied.flops_per_token(16) == tied.flops_per_token(16));
}

TEST_CASE("gpt: the initial loss of the modern style is ln V exactly, since the head starts at zero") {
  Rng rng(3);
  const GptConfig c = tiny(GptConfig::modern());
  const double loss = Gpt(c, rng).loss(ids(3, 16, c.vocab, 1), ids(3, 16, c.vocab, 2)).item();
  CHECK(loss == near(std::log(23.0)).epsilon(1e-6));
}

TEST_CASE("gpt: every switch works in both styles, and the future is never seen") {
  const auto variants = [](GptConfig c) {
    std::vector<GptConfig> list(12, c);
    list[1].norm = c.norm == NormKind::layer ? NormKind::rms : NormKind::layer;
    list[2].norm_after_embedding = !c.norm_after_embedding;
    list[3].position = c.position == Position::learned ? Position::rotary : Position::learned;
    list[4].qk_norm = !c.qk_norm;
    list[5].mlp = MlpKind::swiglu;
    list[6].mlp = MlpKind::gelu_tanh;
    list[7].tied = !c.tied;
    list[8].logit_cap = c.logit_cap > 0 ? 0 : 15;
    list[9].bias = !c.bias;
    list[10].mlp_expansion = 2.5;
    list[11].mlp_expansion = 16;
    return list;
  };
  for (const GptConfig& style : {GptConfig::gpt2(), GptConfig::modern()}) {
    int number = 0;
    for (const GptConfig& c : variants(tiny(style))) {
      INFO(name(c.style), " variant ", number++);
      Rng rng(5);
      Run run(c, rng, aurora());
      CHECK(parameter_count(c) == run.model.parameter_count());
      const Tensor x = ids(2, 16, c.vocab, 1), y = ids(2, 16, c.vocab, 2);
      const double before = run.step(x, y);
      for (int i = 0; i < 5; ++i) run.step(x, y);
      CHECK(run.step(x, y) < before);

      // A later token must not change an earlier position's logits.
      const NoGrad off;
      const Tensor a = run.model(x).value().clone();
      const Tensor changed = x.clone();
      changed.data<int32_t>()[15] = (x.data<int32_t>()[15] + 1) % 23;
      const Tensor b = run.model(changed).value();
      CHECK(std::memcmp(a.raw(), b.raw(), 15 * 23 * sizeof(float)) == 0);
      CHECK(std::memcmp(a.data<float>() + 15 * 23, b.data<float>() + 15 * 23, 23 * sizeof(float)) != 0);
    }
  }
}

TEST_CASE("gpt: a 10k-parameter model learns one line by heart") {
  const std::string line = "the quick brown fox jumps over the lazy dog";
  const auto T = static_cast<int64_t>(line.size()) - 1;
  GptConfig c = GptConfig::gpt2();
  c.vocab = 128;
  c.block_size = T;
  c.n_layer = 1;
  c.n_head = 2;
  c.n_embd = 24;
  c.bias = false;
  std::vector<int32_t> x(line.begin(), line.end() - 1), y(line.begin() + 1, line.end());
  for (const SpectralConfig& config : {muon(), aurora()}) {
    Rng rng(1);
    Run run(c, rng, config);
    double loss = 0;
    for (int step = 0; step < 100; ++step) loss = run.step(Tensor::of({1, T}, x), Tensor::of({1, T}, y));
    INFO(config.name, ", ", run.model.parameter_count(), " parameters");
    CHECK(loss < 0.05);
  }
}

TEST_CASE("gpt: training gives the same bytes for any number of threads") {
  for (GptConfig c : {tiny(GptConfig::gpt2()), tiny(GptConfig::modern())}) {
    c.dropout = 0.1;
    c.n_embd = 64;
    Tensor first;
    const int before = threads();
    for (const int n : {1, 2, 3, 8}) {
      set_threads(n);
      Rng rng(9), dropout(10);
      Run run(c, rng, aurora());
      for (int i = 0; i < 3; ++i) run.step(ids(4, 16, c.vocab, 1), ids(4, 16, c.vocab, 2), &dropout);
      const Tensor values = run.optimizer.arena().values().clone();
      if (!first) first = values;
      INFO(name(c.style), ", ", n, " threads");
      CHECK(std::memcmp(first.raw(), values.raw(), static_cast<size_t>(values.numel()) * 4) == 0);
    }
    set_threads(before);
  }
}

TEST_CASE("gpt: dropout acts on the embedding, on attention's probabilities and on both branches of each block") {
  GptConfig c = tiny(GptConfig::gpt2());
  c.dropout = 0.25;
  Rng rng(2), used(3), drawn(3);
  const Gpt model(c, rng);
  const Tensor x = ids(8, 16, c.vocab, 1);
  const std::vector<double> first = model.embed(x, &used).value().to_vector<double>();
  const auto dropped = static_cast<double>(std::count(first.begin(), first.end(), 0.0));
  CHECK(std::abs(dropped / static_cast<double>(first.size()) - 0.25) < 0.05);

  // A stream of random bits for each.
  model.loss(x, x, &used);
  for (int64_t i = 0; i < 1 + 1 + 3 * c.n_layer; ++i) drawn.next_stream();
  CHECK(same_bytes(used.uniform({4}, 0, 1), drawn.uniform({4}, 0, 1)));
}

TEST_CASE("gpt: from the third step on the system gives no more memory") {
  GptConfig c = tiny(GptConfig::gpt2());
  c.dropout = 0.1;
  Rng rng(2), dropout(3);
  Run run(c, rng, aurora());
  const Tensor x = ids(4, 16, c.vocab, 1), y = ids(4, 16, c.vocab, 2);
  for (int i = 0; i < 2; ++i) run.step(x, y, &dropout);
  const int64_t allocations = pool(Device{}).system_allocations();
  for (int i = 0; i < 5; ++i) run.step(x, y, &dropout);
  CHECK(pool(Device{}).system_allocations() == allocations);
}

TEST_CASE("weights: a file brings back the same model, also Hugging Face's transposed one") {
  const GptConfig c = tiny(GptConfig::gpt2());
  Rng rng(1), other(2);
  const Gpt a(c, rng), b(c, other), d(c, other);
  auto file = to_file(a.parameters());
  from_file(b.parameters(), file, "file");
  const Tensor x = ids(1, 16, c.vocab, 1);
  const NoGrad off;
  const auto expected = a(x).value().to_vector<float>();
  CHECK(b(x).value().to_vector<float>() == expected);

  std::map<std::string, Tensor> hugging_face;
  for (const auto& [name, t] : file) {
    const bool conv1d = name.find("attn.c_") != std::string::npos || name.find("mlp.c_") != std::string::npos;
    Tensor stored = t;
    if (conv1d && t.shape().rank() == 2) {
      stored = Tensor({t.size(1), t.size(0)});
      for (int64_t i = 0; i < t.size(0); ++i)
        for (int64_t j = 0; j < t.size(1); ++j)
          stored.data<float>()[j * t.size(0) + i] = t.data<float>()[i * t.size(1) + j];
    }
    hugging_face[name.substr(std::strlen("transformer."))] = stored;
  }
  // What such files hold beside the weights: causal masks, and the head once more.
  hugging_face["h.0.attn.bias"] = Tensor::zeros({1, 1, 16, 16});
  hugging_face["transformer.h.1.attn.masked_bias"] = Tensor::zeros({1}, DType::i32);
  hugging_face["lm_head.weight"] = file.at("transformer.wte.weight");
  from_file(d.parameters(), hugging_face, "file");
  CHECK(d(x).value().to_vector<float>() == expected);

  file.erase("transformer.ln_f.weight");
  CHECK_THROWS_WITH(from_file(b.parameters(), file, "w.safetensors"),
                    "w.safetensors: has no tensor 'transformer.ln_f.weight'; it is of another model");
  file["transformer.ln_f.weight"] = Tensor::zeros({3});
  CHECK_THROWS_WITH(from_file(b.parameters(), file, "w.safetensors"),
                    "w.safetensors: 'transformer.ln_f.weight' is [3] but the model's is [24]");
}

TEST_CASE("weights: tensors that the model does not take, or cannot compute with, are refused") {
  const GptConfig c = tiny(GptConfig::gpt2());
  GptConfig shallow = c;
  shallow.n_layer = 1;
  Rng rng(1);
  const Gpt a(c, rng), b(shallow, rng);
  const auto good = to_file(a.parameters());
  const auto before = b.tokens.weight.var.value().to_vector<float>();
  CHECK_THROWS_WITH(from_file(b.parameters(), good, "w"),
                    "w: has 12 tensors that the model does not take, the first "
                    "'transformer.h.1.attn.c_attn.bias'; it is of another model");
  CHECK(b.tokens.weight.var.value().to_vector<float>() == before);

  const auto refused = [&](const std::string& name, const Tensor& t) {
    auto file = good;
    file[name] = t;
    try {
      from_file(a.parameters(), file, "w");
    } catch (const std::runtime_error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  const auto left = [](const std::string& name) {
    return "w: has 1 tensor that the model does not take, '" + name + "'; it is of another model";
  };
  for (const char* name : {"wte.weight", "h.x.attn.bias", "h..attn.bias", "h.0.attn.biases", "h.0.mlp.bias",
                           "attn.bias", "h.", "lm_head.bias", "lm_head.weight"})
    CHECK(refused(name, Tensor::zeros({23, 24})) == left(name));
  const char* norm = "transformer.ln_f.weight";
  for (const double x : {NAN, INFINITY, -INFINITY})
    CHECK(refused(norm, Tensor::full({24}, x)) ==
          "w: 'transformer.ln_f.weight' holds NaN or infinity; no model computes with that");
  CHECK(refused(norm, Tensor::full({24}, 1e300, DType::f64)).find("NaN or infinity") != std::string::npos);
  CHECK(refused(norm, Tensor::zeros({24}, DType::i32)) ==
        "w: 'transformer.ln_f.weight' holds integers, which are no weights");
}

TEST_CASE("gpt: parameters are counted without a model, also more than a number can count") {
  GptConfig c = GptConfig::gpt2();
  c.vocab = 50257;
  c.block_size = 1024;
  c.n_layer = c.n_head = 12;
  c.n_embd = 768;
  CHECK(parameter_count(c) == 124'439'808);  // GPT-2's smallest
  c.n_layer = c.n_embd = 1 << 20;
  CHECK(parameter_count(c) == std::numeric_limits<int64_t>::max());
}

TEST_CASE("gpt: settings that make no model are refused in one sentence") {
  const auto refused = [](auto change) {
    GptConfig c = tiny(GptConfig::modern());
    change(c);
    Rng rng(1);
    try {
      Gpt model(c, rng);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  CHECK(refused([](GptConfig& c) { c.n_head = 5; }) ==
        "gpt: n_embd = 24 is not divisible by n_head = 5; each head takes n_embd / n_head channels");
  CHECK(refused([](GptConfig& c) { c.n_layer = 0; }) ==
        "gpt: n_layer = 0 makes no model; give a number from 1 to 1048576");
  CHECK(refused([](GptConfig& c) { c.n_embd = 1 << 30; }).find("n_embd = 1073741824 makes no model") !=
        std::string::npos);
  CHECK(refused([](GptConfig& c) { c.n_head = 12; }) ==
        "gpt: rotary positions need a head size that is a multiple of 4, got n_embd / n_head = 2");
  CHECK(refused([](GptConfig& c) { c.mlp_expansion = NAN; }).find("mlp_expansion") != std::string::npos);
  CHECK(refused([](GptConfig& c) { c.dropout = 1; }) == "gpt: dropout = 1 must be in [0, 1)");

  Rng rng(1);
  const Gpt model(tiny(GptConfig::gpt2()), rng);
  CHECK_THROWS_WITH(model(Tensor({2, 17}, DType::i32)),
                    "gpt: ids must be [B, T] with 1 ≤ T ≤ block_size = 16, got [2, 17]");
  const Tensor bad = Tensor::of<int32_t>({1, 3}, {0, 23, 1});
  CHECK_THROWS_WITH(model(bad), "embedding: the ids [1, 3]: 23 at place 1 is outside 0 … 22");
}
