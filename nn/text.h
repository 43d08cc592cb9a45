// Text as training data: characters to tokens, tokens to batches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../engine/rng.h"

namespace borealis {

// The pieces that occur in a text, in ascending order: a token is a piece's place among them. A
// piece is a character (a UTF-8 code point); of a text that is no valid UTF-8, a byte.
class Vocabulary {
 public:
  Vocabulary() = default;
  explicit Vocabulary(std::string_view text);
  explicit Vocabulary(std::vector<std::string> pieces);  // as pieces() gives them

  int64_t size() const { return static_cast<int64_t>(pieces_.size()); }
  const std::vector<std::string>& pieces() const { return pieces_; }
  // Whether pieces are bytes: some byte is no character by itself. With none, both are the same.
  bool of_bytes() const { return of_bytes_; }
  const char* unit() const { return of_bytes_ ? "bytes" : "characters"; }

  // Fails naming the first piece that is not in the vocabulary.
  std::vector<int32_t> encode(std::string_view text) const;
  // Fails on a token outside [0, size()).
  const std::string& decode(int32_t token) const;

 private:
  std::vector<std::string> pieces_;
  bool of_bytes_ = false;
};

// How many bytes the UTF-8 character has that a text begins with; 0 where none does.
size_t character_length(std::string_view text);

struct TokenBatch {
  Tensor inputs, targets;  // i32 [B, T]; a target is the token after its input
};

// A run of tokens to draw blocks from.
class TokenStream {
 public:
  explicit TokenStream(std::vector<int32_t> tokens = {}) : tokens_(std::move(tokens)) {}

  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
  // B blocks of T tokens at random places, on `device`.
  TokenBatch random_batch(int64_t B, int64_t T, Rng& rng, Device device = {}) const;
  // Consecutive, non-overlapping windows of T tokens, numbers first … first + B − 1.
  TokenBatch windows(int64_t first, int64_t B, int64_t T, Device device = {}) const;
  int64_t window_count(int64_t T) const { return (size() - 1) / T; }

 private:
  std::vector<int32_t> tokens_;
  TokenBatch gather(const std::vector<int64_t>& starts, int64_t T, Device device) const;
};

// A text, its vocabulary, and its split by position: the first 90 % to train on, the rest to
// validate.
struct Corpus {
  Vocabulary vocabulary;
  TokenStream train, val;

  // Fails when a part is shorter than one block of T tokens and its targets. `source` names the
  // text. The vocabulary is the text's own, or that of a model which is to go on.
  Corpus(const std::string& text, int64_t T, const std::string& source, std::optional<Vocabulary> vocabulary = {});
};

// The bytes of a file, or of a pipe that ends, such as <(zcat FILE). Fails in one sentence on one
// that is missing, unreadable, empty, a folder or a device, and on a text that does not fit into an
// eighth of the memory (a pipe: 1 GiB at most), since its tokens take four bytes each.
std::string read_text(const std::string& path);

}  // namespace borealis
