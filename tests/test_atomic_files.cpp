// Files written whole or not at all, whoever else writes, whatever lies in the way.
#include <csignal>
#include <filesystem>
#include <thread>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "engine/files.h"
#include "tests/programs.h"

using namespace borealis;
using doctest::Contains;
namespace fs = std::filesystem;

namespace {

auto text(const std::string& content) {
  return [content](std::ostream& out) { out << content; };
}

int64_t files_in(const Folder& f) { return std::distance(fs::directory_iterator(f.path), fs::directory_iterator()); }

}  // namespace

TEST_CASE("write_file_atomically: of several writers at once one wins whole") {
  const Folder f;
  const std::string path = f / "file";
  const auto write_many = [&](char c) {
    // Larger than any buffer, and in pieces.
    for (int i = 0; i < 20; ++i)
      write_file_atomically(path, [&](std::ostream& out) {
        for (int k = 0; k < 100; ++k) out << std::string(static_cast<size_t>(k * 37), c) << c;
      });
  };
  std::thread a(write_many, 'a'), b(write_many, 'b');
  a.join();
  b.join();
  const std::string content = read(path);
  CHECK(content.size() == 100 + 37 * 99 * 100 / 2);
  CHECK(content.find_first_not_of(content[0]) == std::string::npos);
  CHECK(files_in(f) == 1);
}

TEST_CASE("write_file_atomically: links and pipes in the way are left alone") {
  const Folder f;
  write(f / "target", "before");
  fs::create_symlink(f / "target", f / "link");
  fs::create_symlink(f / "nowhere", f / "dangling");
  REQUIRE(::mkfifo((f / "pipe").c_str(), 0600) == 0);
  for (const std::string link : {"link", "dangling"})
    CHECK_THROWS_WITH_AS(write_file_atomically(f / link, text("x")),
                         Contains("is a symbolic link; give the path it leads to"), std::runtime_error);
  CHECK_THROWS_WITH_AS(write_file_atomically(f / "pipe", text("x")), Contains("is not a regular file"),
                       std::runtime_error);
  CHECK(read(f / "target") == "before");
  CHECK(files_in(f) == 4);
  // Nor does anything hide under the name that earlier versions wrote to first.
  fs::create_symlink(f / "target", f / "file.tmp");
  write_file_atomically(f / "file", text("after"));
  CHECK(read(f / "file") == "after");
  CHECK(read(f / "target") == "before");
}

TEST_CASE("write_file_atomically: a full disk leaves what was there, and no litter") {
  const Folder f;
  write(f / "file", "before");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 50000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  for (const size_t size : {size_t{50001}, size_t{200000}})
    CHECK_THROWS_WITH_AS(write_file_atomically(f / "file", text(std::string(size, 'x'))),
                         Contains("file' cannot be written: File too large"), std::runtime_error);
  const auto careless = [](std::ostream& out) {
    out << std::string(200000, 'x');
    errno = ENOENT;  // long after the disk was found full
  };
  CHECK_THROWS_WITH(write_file_atomically(f / "file", careless), Contains("File too large"));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(read(f / "file") == "before");
  CHECK(files_in(f) == 1);
}

TEST_CASE("write_file_atomically: more single characters than the buffer holds") {
  const Folder f;
  std::string all;
  for (int i = 0; i < 40000; ++i) all += static_cast<char>('a' + i % 26);
  write_file_atomically(f / "file", [&](std::ostream& out) {
    for (const char c : all) out.put(c);
  });
  CHECK(read(f / "file") == all);
}

TEST_CASE("remove_unfinished: takes away what killed writers left, and nothing else") {
  const Folder f;
  for (const char* name :
       {"file", "file.12-0.tmp", "file.7-31.tmp", "file.mine.tmp", "file.tmp", "other.12-0.tmp", "file.12-0.tmp.kept"})
    write(f / name, "");
  remove_unfinished(f / "file");
  CHECK(files_in(f) == 5);
  CHECK(!fs::exists(f / "file.12-0.tmp"));
  CHECK(!fs::exists(f / "file.7-31.tmp"));
}
