// To run a program as a person does, in a folder that goes away.
#pragma once

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace borealis {

// A folder that is gone when the test is over.
struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("borealis_programs_" + std::to_string(::getpid()));
  Folder() {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

struct Outcome {
  int status;
  std::string text;  // standard output and standard error together

  int lines() const { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }
  bool says(const std::string& part) const { return text.find(part) != std::string::npos; }
};

inline Outcome shell(const std::string& command) {
  FILE* pipe = ::popen(("{ " + command + "; } 2>&1").c_str(), "r");
  REQUIRE(pipe);
  Outcome o{0, ""};
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) o.text.append(buffer, n);
  const int status = ::pclose(pipe);
  o.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return o;
}

// "train_gpt --flag …"
inline Outcome run(const std::string& program_and_flags) {
  return shell(std::string(BOREALIS_PROGRAMS) + "/" + program_and_flags);
}

// A program that is running, to be sent signals. What it prints goes to `output`.
class Running {
 public:
  Running(const std::string& program_and_flags, const std::string& output) {
    const std::string command = "exec " BOREALIS_PROGRAMS "/" + program_and_flags + " >'" + output + "' 2>&1";
    // No signal may meet the test's own handlers in the child.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_ = ::fork();
    if (pid_ == 0) {
      for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
      sigprocmask(SIG_SETMASK, &before, nullptr);
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    sigprocmask(SIG_SETMASK, &before, nullptr);
    left_behind_ = "/dev/shm/__KMP_REGISTERED_LIB_" + std::to_string(pid_) + '_' + std::to_string(::getuid());
  }
  ~Running() {
    if (pid_ == 0) return;
    send(SIGKILL);
    wait();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  int pid() const { return pid_; }
  void send(int signal) const { ::kill(pid_, signal); }
  bool ended() { return pid_ == 0 || (::waitpid(pid_, &status_, WNOHANG) == pid_ && (pid_ = 0, true)); }
  // As a shell counts it: 128 + n when signal n ended it.
  int wait() {
    if (pid_ != 0) ::waitpid(pid_, &status_, 0);
    pid_ = 0;
    std::filesystem::remove(left_behind_);
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }
  // By a signal that it did not take.
  bool was_killed() const { return WIFSIGNALED(status_); }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
  // By clang's OpenMP library, in a process that was stopped while it began: empty, and then the end
  // (a bus error) of the next program that is given the same number.
  std::string left_behind_;
};

inline void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// Until it is so, a minute at most.
template <class Condition> void wait_until(Condition&& condition) {
  for (int i = 0; i < 6000 && !condition(); ++i) sleep_for(0.01);
  REQUIRE(condition());
}

inline void write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<nlohmann::json> log_of(const std::string& folder) {
  std::vector<nlohmann::json> objects;
  std::ifstream file(folder + "/log.jsonl");
  for (std::string line; std::getline(file, line);) objects.push_back(nlohmann::json::parse(line));
  return objects;
}

// What of a log does not depend on the clock.
inline std::vector<nlohmann::json> told(const std::string& folder) {
  std::vector<nlohmann::json> all = log_of(folder);
  for (nlohmann::json& object : all)
    for (const char* key : {"ms", "tokens_per_s", "seconds"}) object.erase(key);
  return all;
}

// Wrong input: status 1, one or two lines with the expected text, and nothing made.
inline void refuses(const std::string& command, const std::string& expected, const std::string& untouched) {
  INFO(command);
  const Outcome o = run(command);
  INFO(o.text);
  CHECK(o.status == 1);
  CHECK(o.says(expected));
  CHECK(o.lines() <= 2);
  CHECK(!std::filesystem::exists(untouched));
}

// A model that trains in a blink.
inline const std::string tiny_model =
    " --n_layer 1 --n_head 2 --n_embd 16 --block_size 8 --batch_size 4 --eval_interval 5"
    " --eval_iters 2 --log_interval 1";

// A text whose bytes depend on each other a little.
inline std::string some_text() {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "line " + std::to_string(i * i % 97) + " of many lines\n";
  return text;
}

}  // namespace borealis
