// The only place where threads are started.
#pragma once

#include <algorithm>
#include <cstdint>

#include <omp.h>

namespace borealis {

// Runs f(begin, end) for the pieces [0, grain), [grain, 2 grain), … of [0, n).
//
// The cut depends on n and grain alone, and callers derive grain from shapes alone; which thread
// runs a piece changes nothing. A piece's result must not depend on other pieces: then 1, 2 or 8
// threads give the same bytes. Each thread takes one run of neighbouring pieces, so that the rows
// it wrote in one kernel are in its cache for the next. f must not throw, and must not call
// parallel_for (it would run serially, which is harmless).
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  const int64_t pieces = (n + grain - 1) / grain;
  if (pieces == 1) {
    f(int64_t{0}, n);
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < pieces; ++i) f(i * grain, std::min(n, (i + 1) * grain));
}

// Threads that parallel_for may use; 0 asks for one per core. When they are as many as the cores
// this process may run on, each is bound to a core of its own: left alone, the system at times
// keeps two that wait for each other on one core, and a step then takes fifty times as long. A
// smaller team stays free, so that it can avoid the cores others use.
void set_threads(int count);
int threads();

}  // namespace borealis
