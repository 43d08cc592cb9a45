#include "demos/run/text.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <new>

#include <linux/magic.h>
#include <sys/vfs.h>

#include "engine/error.h"
#include "engine/storage.h"

namespace borealis {

namespace fs = std::filesystem;

ByteVocabulary::ByteVocabulary(const std::string& text) {
  std::array<bool, 256> occurs{};
  for (const char c : text) occurs[static_cast<unsigned char>(c)] = true;
  for (size_t b = 0; b < 256; ++b) {
    token_of_[b] = occurs[b] ? static_cast<int32_t>(bytes_.size()) : -1;
    if (occurs[b]) bytes_.push_back(static_cast<char>(b));
  }
}

char ByteVocabulary::decode(int32_t token) const {
  if (token < 0 || token >= size())
    fail("text: token ", token, " is outside the vocabulary of ", size(), " bytes");
  return bytes_[static_cast<size_t>(token)];
}

std::vector<int32_t> ByteVocabulary::encode(std::string_view text) const {
  std::vector<int32_t> tokens;
  tokens.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (token_of_[byte] < 0)
      fail("text: byte ", int{byte},
           byte >= 32 && byte < 127 ? std::string(" ('") + text[i] + "')" : "", " at place ", i,
           " does not occur in the text the model was trained on");
    tokens.push_back(token_of_[byte]);
  }
  return tokens;
}

TokenBatch TokenStream::gather(const std::vector<int64_t>& starts, int64_t T) const {
  const auto B = static_cast<int64_t>(starts.size());
  TokenBatch batch{Tensor({B, T}, DType::i32), Tensor({B, T}, DType::i32)};
  for (int64_t b = 0; b < B; ++b) {
    const int32_t* block = tokens_.data() + starts[static_cast<size_t>(b)];
    std::copy_n(block, T, batch.inputs.data<int32_t>() + b * T);
    std::copy_n(block + 1, T, batch.targets.data<int32_t>() + b * T);
  }
  return batch;
}

TokenBatch TokenStream::random_batch(int64_t B, int64_t T, Rng& rng) const {
  std::vector<int64_t> starts;
  for (int64_t b = 0; b < B; ++b) starts.push_back(rng.below(size() - T));
  return gather(starts, T);
}

TokenBatch TokenStream::windows(int64_t first, int64_t B, int64_t T) const {
  std::vector<int64_t> starts;
  for (int64_t b = 0; b < B; ++b) starts.push_back((first + b) * T);
  return gather(starts, T);
}

namespace {

// FNV-1a, 64 bits.
uint64_t fingerprint_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

size_t train_size(const std::string& text) {
  return text.size() * 9 / 10;
}

const std::string& long_enough(const std::string& text, int64_t T, const std::string& source) {
  const size_t shorter = std::min(train_size(text), text.size() - train_size(text));
  if (shorter < static_cast<size_t>(T) + 1)
    fail(source, ": ", text.size(), " bytes are too few: the last tenth must hold a block of ", T,
         " and one more; use a longer text or a smaller --block_size");
  return text;
}

[[noreturn]] void too_large(const std::string& source) {
  fail_runtime(source, ": does not fit into the memory there is; give a part of it");
}

}  // namespace

Corpus::Corpus(const std::string& text, int64_t T, const std::string& source) try
    : vocabulary(long_enough(text, T, source)),
      train(vocabulary.encode(std::string_view(text).substr(0, train_size(text)))),
      val(vocabulary.encode(std::string_view(text).substr(train_size(text)))),
      fingerprint(fingerprint_of(text)) {
} catch (const std::bad_alloc&) {
  too_large(source);
}

namespace {

// A pipe without a name, as <(command) makes: one with a name may wait for its writer for ever.
bool is_anonymous_pipe(const std::string& path) {
  std::error_code ignored;
  struct statfs system {};
  return fs::is_fifo(path, ignored) && ::statfs(path.c_str(), &system) == 0 &&
         system.f_type == PIPEFS_MAGIC;
}

std::string mebibytes(uint64_t bytes) {
  return std::to_string(bytes >> 20) + " MiB";
}

}  // namespace

std::string read_text(const std::string& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::is_directory(status)) fail_runtime(path, ": is a folder; --data takes a text file");
  if (!fs::exists(status)) fail_runtime(path, ": cannot be opened; check the path given to --data");
  const bool pipe = is_anonymous_pipe(path);
  if (!pipe && !fs::is_regular_file(status))
    fail_runtime(path, ": is a device, a socket or a named pipe; --data takes a text file");

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
  if (!file) fail_runtime(path, ": cannot be opened; check the path given to --data");
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
  if (text.empty()) fail_runtime(path, ": is empty; --data takes a text file");
  return text;
}

std::string own_sources() {
  const fs::path root = BOREALIS_SOURCE_DIR;
  std::vector<fs::path> files;
  for (const char* folder : {"engine", "autograd", "nn", "optim", "cuda", "tests", "demos"}) {
    std::error_code missing;
    for (const auto& entry : fs::recursive_directory_iterator(root / folder, missing)) {
      const std::string kind = entry.path().extension();
      if (kind == ".h" || kind == ".cpp" || kind == ".cu" || kind == ".cuh" || kind == ".md")
        files.push_back(entry.path());
    }
  }
  if (files.empty())
    fail_runtime(root.string(), ": holds no sources any more; give a text with --data FILE");
  std::sort(files.begin(), files.end());
  std::string text;
  for (const fs::path& file : files) text += read_text(file.string());
  return text;
}

}  // namespace borealis
