#include "engine/parallel.h"

#include <algorithm>
#include <vector>

#include <sched.h>

namespace borealis {

void PieceError::keep(int64_t piece) {
#pragma omp critical(borealis_piece_error)
  if (!error_ || piece < piece_) {
    error_ = std::current_exception();
    piece_ = piece;
  }
}

void PieceError::rethrow() const {
  if (error_) std::rethrow_exception(error_);
}

namespace {

// The cores the process was given, asked once: binding the main thread narrows the answer.
const std::vector<int>& own_cores() {
  static const std::vector<int> cores = [] {
    std::vector<int> list;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
      for (int core = 0; core < CPU_SETSIZE; ++core)
        if (CPU_ISSET(core, &set)) list.push_back(core);
    return list;
  }();
  return cores;
}

// Binds the calling thread to one of the process's cores, or to all of them with core = -1.
void bind(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int c : own_cores())
    if (core < 0 || c == own_cores()[static_cast<size_t>(core)]) CPU_SET(c, &set);
  sched_setaffinity(0, sizeof set, &set);  // a refusal costs speed only
}

}  // namespace

void set_threads(int count) {
  if (count > most_threads)
    fail("threads: ", count, " are asked for, but at most ", most_threads, " can be");
  const int cores = std::max(1, static_cast<int>(own_cores().size()));
  const int team = count > 0 ? count : cores;
  omp_set_num_threads(team);
#pragma omp parallel num_threads(team)
  bind(team == cores && team > 1 ? omp_get_thread_num() : -1);
}

int threads() {
  return omp_get_max_threads();
}

}  // namespace borealis
