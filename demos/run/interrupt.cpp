#include "demos/run/interrupt.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <thread>

#include <unistd.h>

namespace borealis {

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<int> asked{0};
std::atomic<bool> deferred{false};
bool pipe_asks = false;

// The first one stays.
void ask(int signal) {
  int none = 0;
  asked.compare_exchange_strong(none, signal);
}

bool ignored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

[[noreturn]] void wait_for_signals(sigset_t set) {
  std::optional<Clock::time_point> first;
  for (;;) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    const auto now = Clock::now();
    if (!deferred || now - first.value_or(now) > std::chrono::milliseconds(500)) ::_exit(128 + signal);
    if (!first) first = now;
    ask(signal);
  }
}

}  // namespace

void take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    if (!ignored(signal)) sigaddset(&set, signal);
  pipe_asks = !ignored(SIGPIPE);
  // Of these two the failed write itself tells.
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread(wait_for_signals, set).detach();
}

void defer_signals() { deferred = true; }

int interruption() { return asked; }

void send_output() {
  if (std::fflush(stdout) != 0 && errno == EPIPE && pipe_asks) ask(SIGPIPE);
}

}  // namespace borealis
