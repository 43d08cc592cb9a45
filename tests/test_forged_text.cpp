// Texts that are none, and where a sample begins.
#include <limits>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "nn/sampling.h"
#include "tests/programs.h"

using namespace borealis;
using doctest::Contains;

TEST_CASE("texts: what is no file of text, or too much of one, is one sentence") {
  const Folder f;
  const auto refused = [](const std::string& path, const char* expected) {
    INFO(path);
    CHECK_THROWS_WITH_AS(read_text(path), Contains(expected), std::runtime_error);
  };
  refused("/dev/zero", "is a device, a socket or a named pipe");
  refused("/dev/null", "is a device, a socket or a named pipe");
  refused(f.path.string(), "is a folder");
  refused(f / "missing", "cannot be opened");
  REQUIRE(::mkfifo((f / "fifo").c_str(), 0600) == 0);
  refused(f / "fifo", "is a device, a socket or a named pipe");

  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (f / "socket").copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  refused(f / "socket", "is a device, a socket or a named pipe");
  ::close(socket);

  write(f / "huge", "x");
  std::filesystem::resize_file(f / "huge", uint64_t{1} << 42);  // a hole: takes no disk
  refused(f / "huge", "has 4194304 MiB, more than the ");
}

TEST_CASE("texts: a pipe is read to its end, in one sentence if there is no room for it") {
  const Folder f;
  write(f / "text", some_text());
  const auto pipe = [&](const std::string& command, const std::string& bounds = "") {
    return shell(bounds + "exec bash -c '" + BOREALIS_PROGRAMS +
                 "/train_gpt --n_layer 1 --n_embd 16 --block_size 8 --batch_size 2 --max_iters 1 "
                 "--eval_iters 1 --threads 1 --data <(" +
                 command + ") --out_dir " + (f / "out") + "'");
  };
  const Outcome good = pipe("cat " + (f / "text"));
  INFO(good.text);
  CHECK(good.status == 0);
#ifndef __SANITIZE_ADDRESS__  // which needs more addresses than that itself
  const Outcome endless = pipe("cat /dev/zero", "ulimit -v 300000; ");
  INFO(endless.text);
  CHECK(endless.status == 1);
  CHECK(endless.says("does not fit into the memory there is; give a part of it"));
#endif
}

TEST_CASE("sampling: begins with a line break, or else with the vocabulary's first piece") {
  CHECK(first_text("", Vocabulary("b\na")) == "\n");
  CHECK(first_text("", Vocabulary("cab")) == "a");
  CHECK(first_text("", Vocabulary("→é")) == "é");
  CHECK(first_text("ba", Vocabulary("cab")) == "ba");
  CHECK_THROWS_WITH(first_text("", Vocabulary("")), "sample: an empty vocabulary holds nothing to start with");
}

TEST_CASE("sampling: a token outside the vocabulary, or logits that are no numbers, are refused") {
  const Vocabulary vocabulary("abc");
  CHECK(vocabulary.decode(2) == "c");
  for (const int32_t token : {-1, 3})
    CHECK_THROWS_WITH_AS(vocabulary.decode(token), Contains("is outside the vocabulary of 3 characters"),
                         std::invalid_argument);
  Rng rng(1);
  CHECK_THROWS_WITH_AS(draw({}, {}, rng), Contains("no logits"), std::invalid_argument);
  for (const float z : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    CHECK_THROWS_WITH_AS(draw({1, z}, {}, rng), Contains("NaN or infinity"), std::runtime_error);
  CHECK(draw({1, 3, 2}, {.temperature = 0}, rng) == 1);
  CHECK(draw({-3e38f, 3e38f}, {.temperature = 1e-300}, rng) == 1);
}

TEST_CASE("sample_gpt: a text without a line break trains and samples") {
  const Folder f;
  std::string text;
  for (int i = 0; i < 400; ++i) text += "ab" + std::to_string(i * i % 97);
  write(f / "text", text);
  REQUIRE(run("train_gpt --n_layer 1 --n_head 2 --n_embd 16 --block_size 8 --batch_size 4 "
              "--max_iters 1 --eval_iters 1 --data " +
              (f / "text") + " --out_dir " + (f / "out"))
              .status == 0);
  const Outcome o = run("sample_gpt --max_new_tokens 4 --checkpoint " + (f / "out/ckpt.safetensors"));
  INFO(o.text);
  CHECK(o.status == 0);
  CHECK(o.text.size() == 1 + 4 + 1);
  CHECK(o.text[0] == '0');
}
