#include "nn/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/math.h"

namespace borealis {

void check(const SamplingOptions& o) {
  if (o.max_new_tokens < 0) fail("sample: max_new_tokens ", o.max_new_tokens, " must not be negative");
  if (!(o.temperature >= 0 && std::isfinite(o.temperature)))
    fail("sample: temperature ", o.temperature, " must be a number that is not negative");
  if (o.top_k < 0) fail("sample: top_k ", o.top_k, " must not be negative");
}

int32_t draw(const std::vector<float>& logits, const SamplingOptions& o, Rng& rng) {
  if (logits.empty()) fail("sample: there are no logits to draw from");
  for (const float z : logits)
    if (!std::isfinite(z))
      fail_runtime(
          "sample: the model's logits hold NaN or infinity, so its weights are damaged or "
          "far too large");
  const auto logit = [&](int32_t token) { return double{logits[static_cast<size_t>(token)]}; };
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  if (o.temperature == 0) return order[0];
  const size_t k = o.top_k > 0 ? std::min(order.size(), static_cast<size_t>(o.top_k)) : order.size();
  std::vector<double> cumulative(k);
  double total = 0;
  for (size_t i = 0; i < k; ++i) {
    total += std::exp((logit(order[i]) - logit(order[0])) / o.temperature);
    cumulative[i] = total;
  }
  const double u = rng.uniform({1}, 0, total, DType::f64).item();
  const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), u) - cumulative.begin();
  return order[std::min(static_cast<size_t>(at), k - 1)];
}

void sample(const Gpt& model, std::vector<int32_t> tokens, const SamplingOptions& o,
            const std::function<void(int32_t)>& emit) {
  check(o);
  if (tokens.empty()) fail("sample: there is no token to go on from; give one at least");
  // The others are drawn from the vocabulary.
  check_ids("sample", "the tokens", Tensor::of({static_cast<int64_t>(tokens.size())}, tokens), model.config.vocab);
  const NoGrad off;
  Rng rng(o.seed);
  for (int64_t i = 0; i < o.max_new_tokens; ++i) {
    const auto T = std::min(model.config.block_size, static_cast<int64_t>(tokens.size()));
    const Tensor ids = Tensor::of({1, T}, std::vector<int32_t>(tokens.end() - T, tokens.end()));
    const Tensor logits = model(ids.to(model.device())).value();  // [1, T, V]
    const Tensor last = logits.reshape({T, model.config.vocab}).rows(T - 1, 1);
    tokens.push_back(draw(last.to_vector<float>(), o, rng));
    emit(tokens.back());
  }
}

std::string first_text(const std::string& start, const Vocabulary& vocabulary) {
  if (!start.empty()) return start;
  const std::vector<std::string>& pieces = vocabulary.pieces();
  if (pieces.empty()) fail("sample: an empty vocabulary holds nothing to start with");
  return std::find(pieces.begin(), pieces.end(), "\n") != pieces.end() ? "\n" : pieces[0];
}

std::string sample(const Gpt& model, const Vocabulary& vocabulary, const std::string& start, const SamplingOptions& o) {
  std::string text = first_text(start, vocabulary);
  sample(model, vocabulary.encode(text), o, [&](int32_t token) { text += vocabulary.decode(token); });
  return text;
}

}  // namespace borealis
