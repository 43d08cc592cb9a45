// Text as training data, byte by byte.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/rng.h"

namespace borealis {

// The bytes that occur in a text, in ascending order: a token is a byte's place among them.
class ByteVocabulary {
 public:
  explicit ByteVocabulary(const std::string& text);

  int64_t size() const { return static_cast<int64_t>(bytes_.size()); }
  const std::string& bytes() const { return bytes_; }
  // Fails naming the first byte that is not in the vocabulary.
  std::vector<int32_t> encode(std::string_view text) const;
  // Fails on a token outside [0, size()).
  char decode(int32_t token) const;

 private:
  std::string bytes_;
  std::array<int32_t, 256> token_of_{};  // −1: does not occur
};

struct TokenBatch {
  Tensor inputs, targets;  // i32 [B, T]; a target is the token after its input
};

// A run of tokens to draw blocks from.
class TokenStream {
 public:
  explicit TokenStream(std::vector<int32_t> tokens) : tokens_(std::move(tokens)) {}

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  // B blocks of T tokens at random places.
  TokenBatch random_batch(int64_t B, int64_t T, Rng& rng) const;
  // Consecutive, non-overlapping windows of T tokens, numbers first … first + B − 1.
  TokenBatch windows(int64_t first, int64_t B, int64_t T) const;
  int64_t window_count(int64_t T) const { return (size() - 1) / T; }

 private:
  std::vector<int32_t> tokens_;
  TokenBatch gather(const std::vector<int64_t>& starts, int64_t T) const;
};

// A text, its vocabulary, and its split by position: the first 90 % to train on, the rest to
// validate.
struct Corpus {
  ByteVocabulary vocabulary;
  TokenStream train, val;
  uint64_t fingerprint;  // of the text: a resumed run must see the same one

  // Fails when a part is shorter than one block of T tokens and its targets. `source` names the
  // text.
  Corpus(const std::string& text, int64_t T, const std::string& source);
};

// The bytes of a file, or of a pipe that ends, such as <(zcat FILE). Fails in one sentence on one
// that is missing, unreadable, empty, a folder or a device, and on a text that does not fit into an
// eighth of the memory (a pipe: 1 GiB at most), since its tokens take four bytes each.
std::string read_text(const std::string& path);

// The project's own source text: what there is to train on when no file is given.
std::string own_sources();

}  // namespace borealis
