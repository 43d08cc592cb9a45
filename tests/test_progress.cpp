// The lines that a run prints, into a file and on a terminal.
#include <cstdlib>

#include <fcntl.h>

#include "demos/run/progress.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

// What `body` prints when standard output is this open file, which is closed then.
template <class Body> void print_into(int file, Body&& body) {
  REQUIRE(file >= 0);
  std::fflush(stdout);
  const int before = ::dup(STDOUT_FILENO);
  ::dup2(file, STDOUT_FILENO);
  ::close(file);
  body();
  std::fflush(stdout);
  ::dup2(before, STDOUT_FILENO);
  ::close(before);
}

StepReport report(int64_t step) {
  StepReport r;
  r.step = step;
  r.max_iters = 2000;
  r.train_loss = 2.45123;
  r.tokens_per_s = 61234;
  return r;
}

StepReport validated(int64_t step) {
  StepReport r = report(step);
  r.val_loss = 1.5;
  return r;
}

}  // namespace

TEST_CASE("progress: a line for each report where no terminal is") {
  const Folder f;
  print_into(::open((f / "out").c_str(), O_WRONLY | O_CREAT, 0666), [] {
    ProgressLine progress(120);
    progress.show(report(120));  // no step is done, so no time is known
    StepReport last = validated(2000);
    last.picture = "picture\n";
    progress.show(last);
    progress.finish();
  });
  CHECK(read(f / "out") ==
        "step   120/2000  train 2.4512  61.2k tok/s\n"
        "step  2000/2000  train 2.4512  val 1.5000  61.2k tok/s  0:00 left\npicture\n");
}

TEST_CASE("progress: the time left is that of a step times the steps left") {
  const Folder f;
  print_into(::open((f / "out").c_str(), O_WRONLY | O_CREAT, 0666), [] {
    ProgressLine progress(100);
    sleep_for(0.05);
    StepReport r = report(102);
    r.max_iters = 102 + 144'000;  // 0.025 s each make an hour
    progress.show(r);
  });
  const std::string line = read(f / "out");
  INFO(line);
  long hours = 0, minutes = 0;
  REQUIRE(std::sscanf(line.c_str(), "step   102/144102  train 2.4512  61.2k tok/s  %ld:%ld:", &hours, &minutes) == 2);
  CHECK(60 * hours + minutes >= 60);
  CHECK(60 * hours + minutes < 60 * 40);  // a busy machine sleeps longer
}

TEST_CASE("progress: a terminal's line is written over until one is worth keeping") {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) {
    MESSAGE("skipped: no pseudo-terminal");
    return;
  }
  print_into(::open(::ptsname(terminal), O_RDWR | O_NOCTTY), [&] {
    ProgressLine progress(1);
    progress.show(report(1));
    progress.show(validated(1));
    progress.finish();  // nothing is open
    progress.show(report(1));
    progress.finish();
    progress.finish();
    StepReport pictured = report(1);
    pictured.picture = "picture\n";
    progress.show(pictured);
    progress.finish();
  });
  std::string shown;
  char part[4096];
  for (ssize_t n; (n = ::read(terminal, part, sizeof part)) > 0;) shown.append(part, static_cast<size_t>(n));
  ::close(terminal);
  std::erase(shown, '\r');  // a terminal puts one before each line break
  const std::string over = "\033[K", line = "step     1/2000  train 2.4512  ";
  CHECK(shown == over + line + "61.2k tok/s" + over + line + "val 1.5000  61.2k tok/s\n" + over + line +
                     "61.2k tok/s\n" + over + line + "61.2k tok/s\npicture\n");
}
