#include "demos/progress.h"

#include <cstdio>

#include <unistd.h>

#include "engine/error.h"

namespace borealis {

JsonLog::JsonLog(const std::string& path, std::optional<int64_t> keep_until_step) : path_(path) {
  std::string kept;
  if (keep_until_step) {
    std::ifstream before(path);
    for (std::string line; std::getline(before, line);) {
      const auto object =
          nlohmann::json::parse(line, nullptr, false);  // a line cut short is dropped
      if (object.is_object() && !object.contains("final") &&
          object.value("step", INT64_MAX) <= *keep_until_step)
        kept += line + '\n';
    }
  }
  file_.open(path, std::ios::binary | std::ios::trunc);
  file_ << kept << std::flush;
  if (!file_) fail_runtime(path, ": cannot be written; choose another --out_dir");
}

void JsonLog::write(const nlohmann::json& object) {
  file_ << object.dump() << '\n' << std::flush;
  if (!file_) fail_runtime(path_, ": cannot be written any more (is the disk full?)");
}

void JsonLog::write(const StepReport& r) {
  nlohmann::json j = {{"step", r.step}, {"train_loss", r.train_loss},
                      {"lr", r.lr},     {"grad_norm", r.grad_norm},
                      {"ms", r.ms},     {"tokens_per_s", r.tokens_per_s}};
  if (r.val_loss) j["val_loss"] = *r.val_loss;
  if (!r.diagnosis.is_null()) j.update(r.diagnosis);
  write(j);
}

void ProgressLine::show(const StepReport& r) {
  const bool terminal = isatty(STDOUT_FILENO);
  const double done = static_cast<double>(r.step - first_step_);
  const double left =
      done > 0 ? clock_.seconds() / done * static_cast<double>(r.max_iters - r.step) : 0;
  if (terminal) std::printf("\r\033[K");
  std::printf("step %5lld/%lld  train %.4f", static_cast<long long>(r.step),
              static_cast<long long>(r.max_iters), r.train_loss);
  if (r.val_loss) std::printf("  val %.4f", *r.val_loss);
  std::printf("  %.1fk tok/s", r.tokens_per_s / 1000);
  if (done > 0) std::printf("  %s left", duration(left).c_str());
  open_ = terminal && !r.val_loss && r.picture.empty();
  if (!open_) std::printf("\n%s", r.picture.c_str());
  std::fflush(stdout);
}

void ProgressLine::finish() {
  if (open_) std::printf("\n");
  open_ = false;
}

std::string duration(double seconds) {
  const auto s = static_cast<long long>(seconds + 0.5);
  char text[32];
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%lld:%02lld", s / 60, s % 60);
  return text;
}

}  // namespace borealis
