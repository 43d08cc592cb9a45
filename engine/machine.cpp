#include "engine/machine.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#ifdef __linux__
#include <linux/magic.h>
#include <sched.h>
#include <sys/vfs.h>
#endif

namespace borealis {

#ifdef __linux__

std::vector<int> own_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &set)) cores.push_back(core);
  return cores;
}

void bind_thread(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

bool is_anonymous_pipe(const std::string& path) {
  std::error_code ignored;
  struct statfs system {};
  return std::filesystem::is_fifo(path, ignored) && ::statfs(path.c_str(), &system) == 0 &&
         system.f_type == PIPEFS_MAGIC;
}

#else

std::vector<int> own_cores() {
  std::vector<int> cores(std::max(1u, std::thread::hardware_concurrency()));
  for (size_t i = 0; i < cores.size(); ++i) cores[i] = static_cast<int>(i);
  return cores;
}

void bind_thread(const std::vector<int>&) {}

std::string processor_name() { return "unknown"; }

bool is_anonymous_pipe(const std::string& path) {
  std::error_code ignored;
  return path.rfind("/dev/fd/", 0) == 0 && std::filesystem::is_fifo(path, ignored);
}

#endif

}  // namespace borealis
