// What a run tells while it runs: a line on the terminal, an object a step in log.jsonl.
#pragma once

#include <chrono>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace borealis {

// Seconds since it was made.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

struct StepReport {
  int64_t step = 0, max_iters = 0;
  double train_loss = 0;
  std::optional<double> val_loss;
  double lr = 0, grad_norm = 0, ms = 0, tokens_per_s = 0;
  // With --diagnose (demos/diagnosis.h): members for the log's object, lines below the progress.
  nlohmann::json diagnosis;
  std::string picture;
};

// Appends to OUT_DIR/log.jsonl, each object written out at once.
class JsonLog {
 public:
  // A fresh run starts a new file; a resumed one keeps the objects up to `keep_until_step`.
  JsonLog(const std::string& path, std::optional<int64_t> keep_until_step);
  void write(const nlohmann::json& object);
  void write(const StepReport& r);

 private:
  std::string path_;
  std::ofstream file_;
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
