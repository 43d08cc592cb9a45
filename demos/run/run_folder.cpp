#include "demos/run/run_folder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/error.h"
#include "engine/files.h"

namespace borealis {

namespace fs = std::filesystem;

namespace {

// What a run leaves, the checkpoint first: without it nothing goes on from half of the rest.
constexpr std::array files{"ckpt.safetensors", "before_divergence.ckpt.safetensors", "log.jsonl", "run.json"};
constexpr const char* next_about = "next.run.json";

// Also of a link that leads nowhere.
bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

}  // namespace

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void RunFolder::take() {
  if (lock_ >= 0) return;
  std::error_code trouble;
  fs::create_directories(path_, trouble);
  if (trouble) fail_runtime(path_, ": cannot be made (", trouble.message(), "); choose another --out_dir");

  const std::string lock = path_ + "/lock";
  const auto refuse = [&](const std::string& why) { fail_runtime(lock, ": ", why, "; choose another --out_dir"); };
  // Not waiting: a pipe may lie there.
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
  if (lock_ < 0) refuse("cannot be opened (" + std::string(std::strerror(errno)) + ")");
  struct stat about {};
  if (::fstat(lock_, &about) != 0 || !S_ISREG(about.st_mode)) refuse("is not a regular file");
  std::array<char, 32> holder{};
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) refuse("cannot be locked (" + std::string(std::strerror(errno)) + ")");
    const bool known = ::pread(lock_, holder.data(), holder.size() - 1, 0) > 0;
    fail_runtime("train_gpt: another run", known ? " (process " : "", holder.data(), known ? ")" : "",
                 " is writing into ", path_, "; wait for its end, or choose another --out_dir");
  }
  // Only told to others: a full disk is no reason to stop.
  const std::string own = std::to_string(::getpid());
  if (::ftruncate(lock_, 0) == 0) write_all(lock_, own.data(), own.size());

  for (const std::string file : files) remove_unfinished(*this / file);
  remove_unfinished(*this / next_about);
}

int RunFolder::set_earlier_aside(const nlohmann::json& about) {
  write_about(about, next_about);
  const auto any = [&](const std::string& prefix) {
    return std::any_of(files.begin(), files.end(), [&](const char* file) { return is_there(*this / (prefix + file)); });
  };
  int number = 0;
  if (any("")) {
    std::string prefix;
    do {
      prefix = "previous." + std::to_string(++number) + ".";
    } while (any(prefix));
    for (const std::string file : files) {
      const std::string old = *this / file, aside = *this / (prefix + file);
      if (is_there(old) && std::rename(old.c_str(), aside.c_str()) != 0)
        fail_runtime(old, ": cannot be set aside (", std::strerror(errno), ")");
    }
  }
  if (std::rename((*this / next_about).c_str(), (*this / "run.json").c_str()) != 0)
    fail_runtime(*this / "run.json", ": cannot be written (", std::strerror(errno), ")");
  return number;
}

std::string RunFolder::keep_checkpoint() const {
  const std::string path = *this / files[1];
  std::ifstream checkpoint(*this / files[0], std::ios::binary);
  write_file_atomically(path, [&](std::ostream& out) { out << checkpoint.rdbuf(); });
  return path;
}

void RunFolder::write_about(const nlohmann::json& about, const std::string& file) const {
  const std::string text = about.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  write_file_atomically(*this / file, [&](std::ostream& out) { out << text << '\n'; });
}

}  // namespace borealis
