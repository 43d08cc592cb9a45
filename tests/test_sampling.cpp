// Drawing a token, and text from a model.
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "engine/safetensors.h"
#include "nn/checkpoint.h"
#include "nn/sampling.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

constexpr int draws = 4000;

const std::vector<float> logits{0.3F, 2.0F, -1.0F, 1.2F, 0.9F, -0.4F, 1.7F};

std::vector<int> counts(const std::vector<float>& z, const SamplingOptions& o) {
  Rng rng(21);
  std::vector<int> n(z.size());
  for (int i = 0; i < draws; ++i) ++n.at(static_cast<size_t>(draw(z, o, rng)));
  return n;
}

// Draws against softmax(z/T) over the tokens `among`: within five standard errors each, and no
// other token at all.
void check_frequencies(const std::vector<float>& z, const SamplingOptions& o, const std::vector<size_t>& among) {
  INFO("temperature ", o.temperature, ", top_k ", o.top_k);
  const std::vector<int> n = counts(z, o);
  const auto weight = [&](size_t i) { return std::exp((z[i] - z[among[0]]) / o.temperature); };
  double total = 0;
  for (const size_t i : among) total += weight(i);
  int seen = 0;
  for (const size_t i : among) {
    const double p = weight(i) / total;
    CHECK(std::abs(n[i] - draws * p) <= 5 * std::sqrt(draws * p * (1 - p)));
    seen += n[i];
  }
  CHECK(seen == draws);
}

}  // namespace

TEST_CASE("sampling: a token comes as often as softmax(logits/temperature) among the top k says") {
  const std::vector<size_t> all{0, 1, 2, 3, 4, 5, 6}, best{1, 6, 3, 4, 0, 5, 2};
  for (const double temperature : {0.5, 1.0, 3.0}) {
    for (const int64_t k : {0, 7, 200}) check_frequencies(logits, {.temperature = temperature, .top_k = k}, all);
    for (const int64_t k : {1, 2, 4, 6})
      check_frequencies(logits, {.temperature = temperature, .top_k = k}, {best.begin(), best.begin() + k});
  }
}

TEST_CASE("sampling: a temperature near 0 takes the likeliest, a high one takes all alike") {
  CHECK(counts(logits, {.temperature = 0, .top_k = 0})[1] == draws);
  CHECK(counts(logits, {.temperature = 1e-3, .top_k = 0})[1] == draws);
  for (const int n : counts(logits, {.temperature = 1e6, .top_k = 0}))
    CHECK(std::abs(n - draws / 7.0) <= 5 * std::sqrt(draws * 6.0 / 49));
}

TEST_CASE("sampling: of equal logits the first come first into the top k") {
  const std::vector<float> ties{1, 3, 3, 3, 0};
  CHECK(counts(ties, {.temperature = 0})[1] == draws);
  CHECK(counts(ties, {.temperature = 1, .top_k = 1})[1] == draws);
  check_frequencies(ties, {.temperature = 1, .top_k = 2}, {1, 2});
  check_frequencies(ties, {.temperature = 1, .top_k = 4}, {0, 1, 2, 3});
}

TEST_CASE("sampling: large logits do not overflow, the same seed draws the same") {
  check_frequencies({1000, 1001, -1000}, {.temperature = 1, .top_k = 0}, {0, 1, 2});
  Rng a(1), b(1), c(2);
  std::vector<int32_t> from_a, from_b, from_c;
  for (int i = 0; i < 50; ++i) {
    from_a.push_back(draw(logits, {}, a));
    from_b.push_back(draw(logits, {}, b));
    from_c.push_back(draw(logits, {}, c));
  }
  CHECK(from_a == from_b);
  CHECK(from_a != from_c);
}

TEST_CASE("sampling: the model sees the last block_size tokens, and the last position speaks") {
  GptConfig c = GptConfig::gpt2();
  c.vocab = 5;
  c.block_size = 4;
  c.n_layer = 1;
  c.n_head = 1;
  c.n_embd = 8;
  Rng rng(3);
  const Gpt model(c, rng);
  // Larger weights than fresh ones, so that the likeliest token depends on what came before.
  for (const Parameter& p : model.parameters())
    if (p.role != Role::vector) p.var.value().copy_from(rng.normal(p.var.shape(), 0.8, DType::f32));

  const Vocabulary vocabulary("abcde");
  const NoGrad off;
  for (const std::string start : {"a", "bd", "edcba", "abcdeabcde"}) {
    std::vector<int32_t> tokens = vocabulary.encode(start);
    std::string expected, got;
    for (int i = 0; i < 12; ++i) {
      const auto T = static_cast<int64_t>(std::min<size_t>(4, tokens.size()));
      const std::vector<float> z =
          model(Tensor::of({1, T}, std::vector<int32_t>(tokens.end() - T, tokens.end()))).value().to_vector<float>();
      const auto last = z.end() - 5;
      tokens.push_back(static_cast<int32_t>(std::max_element(last, z.end()) - last));
      expected += vocabulary.decode(tokens.back());
    }
    const SamplingOptions o{.max_new_tokens = 12, .temperature = 0};
    sample(model, vocabulary.encode(start), o, [&](int32_t token) { got += vocabulary.decode(token); });
    CHECK(got == expected);
    CHECK(sample(model, vocabulary, start, o) == start + expected);
  }
}

TEST_CASE("sampling: a model is saved with its vocabulary and comes back the same") {
  const Folder f;
  GptConfig modern = GptConfig::modern();
  modern.mlp = MlpKind::swiglu;
  modern.norm_eps = 1e-4;
  modern.norm_after_embedding = false;
  modern.mlp_expansion = 2.5;
  modern.tied = true;
  GptConfig rotary = GptConfig::gpt2();
  rotary.position = Position::rotary;
  rotary.norm = NormKind::rms;
  rotary.bias = false;
  for (GptConfig c : {GptConfig::gpt2(), modern, rotary})
    for (const char* text : {"abcde", "ab→ßé", "ab\xff\xfe\xfd"}) {
      c.vocab = 5;
      c.block_size = 6;
      c.n_layer = 2;
      c.n_head = 2;
      c.n_embd = 16;
      Rng rng(3);
      const Gpt model(c, rng);
      for (const Parameter& p : model.parameters())  // projections begin at 0
        p.var.value().copy_from(rng.normal(p.var.shape(), 0.8, DType::f32));
      const Vocabulary vocabulary{std::string_view(text)};
      save(f / "model", model, vocabulary);
      const SavedModel again = load(f / "model");
      CHECK(again.vocabulary.pieces() == vocabulary.pieces());
      const SamplingOptions o{.max_new_tokens = 30};
      CHECK(sample(again.model, again.vocabulary, "", o) == sample(model, vocabulary, "", o));
      save(f / "again", again.model, again.vocabulary);
      CHECK(read(f / "again") == read(f / "model"));
    }
  Rng rng(3);
  GptConfig c = GptConfig::gpt2();
  c.vocab = 5;
  CHECK_THROWS_WITH(save(f / "model", Gpt(c, rng), Vocabulary("abc")),
                    "save: a vocabulary of 3 characters is not that of a model of 5");
  write_safetensors(f / "other", {});
  CHECK_THROWS_WITH_AS(load(f / "other"), doctest::Contains("no checkpoint of Borealis"), std::runtime_error);
}

TEST_CASE("sampling: settings that make no sample are refused, the edges are not") {
  CHECK_THROWS(check(SamplingOptions{.max_new_tokens = -1}));
  CHECK_THROWS(check(SamplingOptions{.temperature = -0.1}));
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS(check(SamplingOptions{.temperature = bad}));
  CHECK_THROWS(check(SamplingOptions{.top_k = -1}));
  GptConfig c = GptConfig::gpt2();
  c.vocab = 3;
  Rng rng(1);
  CHECK_THROWS_WITH(sample(Gpt(c, rng), std::vector<int32_t>{}, {}, [](int32_t) {}),
                    "sample: there is no token to go on from; give one at least");
  CHECK_NOTHROW(check(SamplingOptions{.max_new_tokens = 0, .temperature = 0, .top_k = 0}));
}
