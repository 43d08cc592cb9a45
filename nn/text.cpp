#include "nn/text.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <new>
#include <set>

#include "engine/error.h"
#include "engine/machine.h"
#include "engine/storage.h"

namespace borealis {

namespace fs = std::filesystem;

size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const uint32_t first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first < 0xC0 || first >= 0xF8) return 0;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  uint32_t code = first & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t smallest[] = {0x80, 0x800, 0x10000};  // below: spelled too long
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  return code < smallest[length - 2] || code > 0x10FFFF || surrogate ? 0 : length;
}

namespace {

// Calls f(piece, its place) for all pieces of a text. Where no character begins, a byte is one.
template <class F> void for_each_piece(std::string_view text, bool bytes, F&& f) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = bytes ? 1 : std::max<size_t>(1, character_length(text.substr(at)));
    f(text.substr(at, length), at);
    at += length;
  }
}

bool is_lone_byte(std::string_view piece) { return piece.size() == 1 && character_length(piece) == 0; }

}  // namespace

Vocabulary::Vocabulary(std::string_view text) {
  for_each_piece(text, false, [&](auto piece, size_t) { of_bytes_ |= is_lone_byte(piece); });
  // Nearly all pieces are single bytes, and those come before all longer ones.
  std::array<bool, 256> bytes{};
  std::set<std::string_view> longer;
  for_each_piece(text, of_bytes_, [&](std::string_view piece, size_t) {
    if (piece.size() == 1)
      bytes[static_cast<unsigned char>(piece[0])] = true;
    else
      longer.insert(piece);
  });
  for (size_t byte = 0; byte < bytes.size(); ++byte)
    if (bytes[byte]) pieces_.emplace_back(1, static_cast<char>(byte));
  pieces_.insert(pieces_.end(), longer.begin(), longer.end());
}

Vocabulary::Vocabulary(std::vector<std::string> pieces)
    : pieces_(std::move(pieces)), of_bytes_(std::any_of(pieces_.begin(), pieces_.end(), is_lone_byte)) {}

const std::string& Vocabulary::decode(int32_t token) const {
  if (token < 0 || token >= size()) fail("text: token ", token, " is outside the vocabulary of ", size(), ' ', unit());
  return pieces_[static_cast<size_t>(token)];
}

std::vector<int32_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  const auto find = [&](std::string_view piece) {  // its token, or −1
    const auto found = std::lower_bound(pieces_.begin(), pieces_.end(), piece);
    return found != pieces_.end() && *found == piece ? static_cast<int32_t>(found - pieces_.begin()) : -1;
  };
  std::array<int32_t, 256> token_of;  // of single bytes
  for (size_t byte = 0; byte < token_of.size(); ++byte) token_of[byte] = find(std::string(1, static_cast<char>(byte)));
  for_each_piece(text, of_bytes_, [&](std::string_view piece, size_t at) {
    const auto byte = static_cast<unsigned char>(piece[0]);
    const int32_t token = piece.size() == 1 ? token_of[byte] : find(piece);
    if (token < 0) {
      constexpr const char* missing = " does not occur in the text the model was trained on";
      if (byte < 32 || byte == 127 || is_lone_byte(piece)) fail("text: byte ", int{byte}, " at place ", at, missing);
      fail("text: '", piece, "' at place ", at, missing);
    }
    tokens.push_back(token);
  });
  return tokens;
}

TokenBatch TokenStream::gather(const std::vector<int64_t>& starts, int64_t T, Device device) const {
  const auto B = static_cast<int64_t>(starts.size());
  const TokenBatch batch{Tensor({B, T}, DType::i32), Tensor({B, T}, DType::i32)};
  for (int64_t b = 0; b < B; ++b) {
    const int32_t* block = tokens_.data() + starts[static_cast<size_t>(b)];
    std::copy_n(block, T, batch.inputs.data<int32_t>() + b * T);
    std::copy_n(block + 1, T, batch.targets.data<int32_t>() + b * T);
  }
  return {batch.inputs.to(device), batch.targets.to(device)};
}

TokenBatch TokenStream::random_batch(int64_t B, int64_t T, Rng& rng, Device device) const {
  std::vector<int64_t> starts;
  for (int64_t b = 0; b < B; ++b) starts.push_back(rng.below(size() - T));
  return gather(starts, T, device);
}

TokenBatch TokenStream::windows(int64_t first, int64_t B, int64_t T, Device device) const {
  std::vector<int64_t> starts;
  for (int64_t b = 0; b < B; ++b) starts.push_back((first + b) * T);
  return gather(starts, T, device);
}

namespace {

[[noreturn]] void too_large(const std::string& source) {
  fail_runtime(source, ": does not fit into the memory there is; give a part of it");
}

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

}  // namespace

Corpus::Corpus(const std::string& text, int64_t T, const std::string& source, std::optional<Vocabulary> of) try
    : vocabulary(of ? *std::move(of) : Vocabulary(text)) {
  std::vector<int32_t> tokens = vocabulary.encode(text);
  const size_t cut = tokens.size() * 9 / 10;
  if (static_cast<int64_t>(std::min(cut, tokens.size() - cut)) < T + 1)
    fail(source, ": ", tokens.size(), ' ', vocabulary.unit(), " are too few: the last tenth must hold a block of ", T,
         " and one more; use a longer text or a smaller block_size");
  val = TokenStream({tokens.begin() + static_cast<std::ptrdiff_t>(cut), tokens.end()});
  tokens.resize(cut);
  train = TokenStream(std::move(tokens));
} catch (const std::bad_alloc&) {
  too_large(source);
}

std::string read_text(const std::string& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::is_directory(status)) fail_runtime(path, ": is a folder; give a text file");
  if (!fs::exists(status)) fail_runtime(path, ": cannot be opened; check the path");
  const bool pipe = is_anonymous_pipe(path);
  if (!pipe && !fs::is_regular_file(status))
    fail_runtime(path, ": is a device, a socket or a named pipe; give a text file");

  const uint64_t memory = pool(Device{}).cap();
  uint64_t most = memory ? memory / 8 : uint64_t{1} << 40;
  if (pipe) most = std::min(most, uint64_t{1} << 30);
  const auto too_long = [&](const std::string& size) {
    fail_runtime(path, ": has ", size, "more than the ", mebibytes(most), " that a text ",
                 pipe ? "from a pipe" : "on this machine", " may have; give a part of it");
  };
  std::error_code trouble;
  const uint64_t size = pipe ? 0 : fs::file_size(path, trouble);
  if (trouble) fail_runtime(path, ": cannot be read");
  if (size > most) too_long(mebibytes(size) + ", ");

  std::ifstream file(path, std::ios::binary);
  if (!file) fail_runtime(path, ": cannot be opened; check the path");
  std::string text;
  try {
    text.reserve(size);
    std::vector<char> block(1 << 20);
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
      text.append(block.data(), static_cast<size_t>(file.gcount()));
      if (text.size() > most) too_long("");
    }
  } catch (const std::bad_alloc&) {
    too_large(path);
  }
  if (file.bad()) fail_runtime(path, ": cannot be read");
  if (text.empty()) fail_runtime(path, ": is empty; give a text file");
  return text;
}

}  // namespace borealis
