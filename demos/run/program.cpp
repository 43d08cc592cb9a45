#include "demos/run/program.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include "engine/safetensors.h"

namespace borealis {

namespace {

// A file opened later, be it by a library, must not get the number of a standard stream that was
// closed, and with it what is meant for that stream. The wrong way round, so that using it is still
// an error.
void occupy_standard_streams() {
  for (const int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    // The lowest free number, which open gives, is this one.
    if (::fcntl(file, F_GETFD) < 0 && ::open("/dev/null", file == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
}

// Before main, so in every program that uses this file.
[[maybe_unused]] const bool occupied = (occupy_standard_streams(), true);

}  // namespace

int run_program(const char* name, int (*body)(int, char**), int argc, char** argv) {
  int status = 1;
  try {
    status = body(argc, argv);
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::istringstream lines(e.what());
    for (std::string line; std::getline(lines, line);)
      std::fprintf(stderr, "%s\n", printable(line, line.size()).c_str());
  }
  return status_with_output(name, status);
}

int status_with_output(const char* name, int status) {
  errno = 0;
  const bool arrived = std::fflush(stdout) == 0 && !std::ferror(stdout);
  if (arrived || status != 0) return status;
  std::fprintf(stderr, "%s: not all of its output could be written%s%s\n", name, errno ? ": " : "",
               errno ? std::strerror(errno) : "");
  return 1;
}

}  // namespace borealis
