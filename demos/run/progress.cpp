#include "demos/run/progress.h"

#include <cstdio>

#include <unistd.h>

#include "demos/run/interrupt.h"

namespace borealis {

void ProgressLine::show(const StepReport& r) {
  const bool terminal = isatty(STDOUT_FILENO);
  const double done = static_cast<double>(r.step - first_step_);
  const double left = done > 0 ? clock_.seconds() / done * static_cast<double>(r.max_iters - r.step) : 0;
  if (terminal) std::printf("\r\033[K");
  std::printf("step %5lld/%lld  train %.4f", static_cast<long long>(r.step), static_cast<long long>(r.max_iters),
              r.train_loss);
  if (r.val_loss) std::printf("  val %.4f", *r.val_loss);
  std::printf("  %.1fk tok/s", r.tokens_per_s / 1000);
  if (done > 0) std::printf("  %s left", duration(left).c_str());
  open_ = terminal && !r.val_loss && r.picture.empty();
  if (!open_) std::printf("\n%s", r.picture.c_str());
  send_output();
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
