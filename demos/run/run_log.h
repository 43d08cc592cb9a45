// OUT_DIR/log.jsonl: an object for every logged step. Lines are only ever appended, or the file is
// replaced whole: killed at any moment, it keeps what it had.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace borealis {

struct StepReport {
  int64_t step = 0, max_iters = 0;
  double train_loss = 0;
  std::optional<double> val_loss;
  double lr = 0, grad_norm = 0, ms = 0, tokens_per_s = 0;
  // With --diagnose (demos/run/diagnosis.h): members for the log's object, lines below the
  // progress.
  nlohmann::json diagnosis;
  std::string picture;
};

// What a log tells of a run up to the step of its checkpoint.
struct LogSoFar {
  std::string text;            // its lines; not those of later steps, nor one cut short
  double train_loss = NAN;     // of the last line
  std::optional<double> loss;  // the same, but of validation if that line has one
  bool unvalidated = false;    // the last line is of that step and has none
  bool finished = false;       // all was done and told at that step
  bool changed = false;        // the file holds other text than this
};
LogSoFar read_log(const std::string& path, int64_t step);
// Gives the last line its validation loss, which an interruption had kept from it.
void complete(LogSoFar& log, double val_loss);

class RunLog {
 public:
  // Goes on behind `before.text`.
  RunLog(const std::string& path, const LogSoFar& before);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  // One line, in one piece.
  void write(const nlohmann::json& object);
  void write(const StepReport& r);

 private:
  std::string path_;
  int file_ = -1;
};

}  // namespace borealis
