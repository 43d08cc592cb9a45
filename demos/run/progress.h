// What a run tells on the terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "demos/run/run_log.h"

namespace borealis {

// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// "step  120/2000  train 2.4512  val 2.4730  61k tok/s  0:25 left"; rewritten in place on a
// terminal until a line worth keeping (one with a validation or a picture) comes.
class ProgressLine {
 public:
  explicit ProgressLine(int64_t first_step) : first_step_(first_step) {}
  void show(const StepReport& r);
  // Ends a line that is still being rewritten.
  void finish();

 private:
  int64_t first_step_;
  Stopwatch clock_;
  bool open_ = false;
};

std::string duration(double seconds);  // "1:02:03" or "2:05"

}  // namespace borealis
