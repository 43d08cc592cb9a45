// Text as training data: characters to tokens and back, blocks, windows and the split.
#include <set>

#include <doctest/doctest.h>

#include "demos/run/checkpoint.h"
#include "demos/run/default_text.h"
#include "nn/text.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

std::vector<int32_t> row(const Tensor& t, int64_t i) {
  const int32_t* first = t.data<int32_t>() + i * t.size(1);
  return {first, first + t.size(1)};
}

TokenStream counting(int64_t size) {  // 0, 1, 2, …: a token is its place
  std::vector<int32_t> tokens(static_cast<size_t>(size));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i);
  return TokenStream(tokens);
}

std::string every_byte() {
  std::string all;
  for (int b = 255; b >= 0; --b) all += static_cast<char>(b);
  return all;
}

}  // namespace

TEST_CASE("text: a token is a character's place among those that occur") {
  const Vocabulary some("banana\n");
  CHECK(some.pieces() == std::vector<std::string>{"\n", "a", "b", "n"});
  CHECK(some.size() == 4);
  CHECK(some.encode("nab\n") == std::vector<int32_t>{3, 1, 2, 0});
  CHECK(some.encode("").empty());
  const Vocabulary wide("zß→𝄞é→");
  CHECK(wide.pieces() == std::vector<std::string>{"z", "ß", "é", "→", "𝄞"});
  CHECK(!wide.of_bytes());
  CHECK(wide.encode("𝄞zé") == std::vector<int32_t>{4, 0, 2});
  CHECK(wide.decode(4) == "𝄞");

  const auto unknown = [&](const std::string& text) {
    return "text: " + text + " does not occur in the text the model was trained on";
  };
  CHECK_THROWS_WITH(some.encode("ban~"), unknown("'~' at place 3").c_str());
  CHECK_THROWS_WITH(some.encode(" "), unknown("' ' at place 0").c_str());
  CHECK_THROWS_WITH(some.encode("a\x7f"), unknown("byte 127 at place 1").c_str());
  CHECK_THROWS_WITH(some.encode("\x1f"), unknown("byte 31 at place 0").c_str());
  CHECK_THROWS_WITH(some.encode("\xff"), unknown("byte 255 at place 0").c_str());
  CHECK_THROWS_WITH(some.encode("näb"), unknown("'ä' at place 1").c_str());
  CHECK_THROWS_WITH(wide.encode("z\xc3"), unknown("byte 195 at place 1").c_str());
}

TEST_CASE("text: bytes are the tokens of what is no valid UTF-8") {
  const Vocabulary all(every_byte());
  REQUIRE(all.size() == 256);
  CHECK(all.of_bytes());
  CHECK(all.unit() == std::string("bytes"));
  const std::vector<int32_t> tokens = all.encode(every_byte());
  for (size_t i = 0; i < 256; ++i) {
    CHECK(tokens[i] == 255 - static_cast<int32_t>(i));
    CHECK(all.decode(tokens[i]) == every_byte().substr(i, 1));
  }
  const Vocabulary latin("caf\xe9 é");
  CHECK(latin.of_bytes());
  CHECK(latin.encode("é").size() == 2);
  // A vocabulary made of its pieces is of the same kind.
  for (const Vocabulary& v : {all, latin, Vocabulary("ascii"), Vocabulary("zß→")}) {
    const Vocabulary again(v.pieces());
    CHECK(again.of_bytes() == v.of_bytes());
    CHECK(again.encode(v.decode(0)) == std::vector<int32_t>{0});
  }
}

TEST_CASE("text: where UTF-8 characters begin and how long they are") {
  const std::pair<std::string, size_t> cases[] = {
      {"a", 1},
      {"\x7f", 1},
      {"\xc2\x80", 2},
      {"\xdf\xbfx", 2},
      {"\xe0\xa0\x80", 3},
      {"\xed\x9f\xbf", 3},
      {"\xee\x80\x80", 3},
      {"\xef\xbf\xbf", 3},
      {"\xf0\x90\x80\x80", 4},
      {"\xf4\x8f\xbf\xbf", 4},
      {"", 0},
      {"\x80", 0},
      {"\xbf\x80", 0},
      {"\xc0\x80", 0},  // spelled too long
      {"\xc1\xbf", 0},
      {"\xe0\x9f\xbf", 0},
      {"\xf0\x8f\xbf\xbf", 0},
      {"\xed\xa0\x80", 0},  // a surrogate
      {"\xed\xbf\xbf", 0},
      {"\xf4\x90\x80\x80", 0},  // beyond the last
      {"\xf8\x88\x80\x80\x80", 0},
      {"\xff", 0},
      {"\xc3", 0},  // cut off
      {"\xe2\x86", 0},
      {"\xe2\x86z", 0},
      {"\xc3\xc3", 0},
  };
  for (const auto& one : cases) {
    const auto& [text, length] = one;
    CAPTURE(one.first);
    CHECK(character_length(text) == length);
  }
}

TEST_CASE("text: windows lie side by side, and a target is the token after its input") {
  const TokenStream data = counting(13);
  CHECK(data.size() == 13);
  CHECK(data.window_count(4) == 3);
  CHECK(data.window_count(6) == 2);
  CHECK(data.window_count(12) == 1);
  CHECK(data.window_count(13) == 0);
  const TokenBatch b = data.windows(1, 2, 4);
  CHECK(b.inputs.shape() == Shape{2, 4});
  CHECK(row(b.inputs, 0) == std::vector<int32_t>{4, 5, 6, 7});
  CHECK(row(b.inputs, 1) == std::vector<int32_t>{8, 9, 10, 11});
  CHECK(row(b.targets, 0) == std::vector<int32_t>{5, 6, 7, 8});
  CHECK(row(b.targets, 1) == std::vector<int32_t>{9, 10, 11, 12});
}

TEST_CASE("text: random blocks come from every place they fit, the first and the last too") {
  const TokenStream data = counting(9);
  Rng rng(4);
  std::set<int32_t> starts;
  for (int i = 0; i < 100; ++i) {
    const TokenBatch b = data.random_batch(3, 5, rng);
    REQUIRE(b.inputs.shape() == Shape{3, 5});
    for (int64_t r = 0; r < 3; ++r) {
      const std::vector<int32_t> in = row(b.inputs, r), next = row(b.targets, r);
      starts.insert(in[0]);
      for (size_t t = 0; t < 5; ++t) {
        CHECK(in[t] == in[0] + static_cast<int32_t>(t));
        CHECK(next[t] == in[t] + 1);
      }
    }
  }
  CHECK(starts == std::set<int32_t>{0, 1, 2, 3});
}

TEST_CASE("text: nine tenths to train on, the rest to validate") {
  std::string text;
  for (int i = 0; i < 105; ++i) text += static_cast<char>('a' + i % 7);
  const Corpus corpus(text, 10, "it");
  CHECK(corpus.train.size() == 94);
  CHECK(corpus.val.size() == 11);
  CHECK(corpus.vocabulary.size() == 7);
  CHECK(row(corpus.val.windows(0, 1, 10).inputs, 0) == corpus.vocabulary.encode(text.substr(94, 10)));
  CHECK(row(corpus.train.windows(0, 1, 10).inputs, 0) == corpus.vocabulary.encode(text.substr(0, 10)));
  CHECK_THROWS_WITH(Corpus(text, 11, "it"),
                    "it: 105 characters are too few: the last tenth must hold a block of 11 and "
                    "one more; use a longer text or a smaller block_size");
  // Characters count, not bytes; unless a model that counts bytes is to go on.
  std::string wide = "ß";
  for (int i = 0; i < 104; ++i) wide += "→";
  CHECK(Corpus(wide, 10, "it").train.size() == 94);
  CHECK(Corpus(wide, 10, "it").val.size() == 11);
  const Vocabulary bytes(std::vector<std::string>{"\x86", "\x92", "\x9f", "\xc3", "\xe2"});
  CHECK(Corpus(wide, 10, "it", bytes).train.size() == 314 * 9 / 10);
  CHECK_THROWS_WITH(Corpus(wide, 40, "it", bytes), doctest::Contains("314 bytes are too few"));
  // A text of one byte has no first nine tenths at all.
  CHECK_THROWS(Corpus("a", 1, "it"));
}

TEST_CASE("text: its fingerprint is FNV-1a of all its bytes") {
  std::string text = "any text, and bytes that are negative as char: \xff\x80";
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  CHECK(fingerprint_of(text) == hash);
}

TEST_CASE("text: a file is read byte by byte") {
  const Folder f;
  const std::string bytes = every_byte() + "\r\n" + every_byte();
  write(f / "bytes", bytes);
  CHECK(read_text(f / "bytes") == bytes);
  CHECK_THROWS_AS(read_text(f / "missing"), std::runtime_error);
  write(f / "empty", "");
  CHECK_THROWS_AS(read_text(f / "empty"), std::runtime_error);
  CHECK_THROWS_AS(read_text(f.path.string()), std::runtime_error);
}

TEST_CASE("text: without a file, the project's prose: words of READMEs and comments, no code") {
  const std::string own = default_text();
  CHECK(own == default_text());
  CHECK(own.size() > 120'000);
  CHECK(!Vocabulary(own).of_bytes());
  for (const char* code : {"#include", "// ", "```", "};", "std::", "\n|"}) {
    size_t times = 0;
    for (size_t at = 0; (at = own.find(code, at)) != std::string::npos; ++at) ++times;
    CAPTURE(code);
    CHECK(times <= 40);  // comments that speak of code
  }
  size_t end = 0;  // in the order of their paths
  for (const char* words :
       {"Contributing\n", "A small, self-contained tensor", "autograd: values that remember how they were made",
        "engine: memory and arithmetic", "Text as training data: characters to tokens"}) {
    const size_t at = own.find(words, end);
    REQUIRE_MESSAGE(at != std::string::npos, words);
    end = at + 1;
  }
}
