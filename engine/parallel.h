// The only place where threads are started.
#pragma once

#include <cstdint>
#include <exception>
#include <type_traits>

#include <omp.h>

#include "error.h"

namespace borealis {

// The exception of the first piece that threw, carried out of a parallel region.
class PieceError {
 public:
  void keep(int64_t piece);  // the exception being handled
  void rethrow() const;      // if there is one

 private:
  std::exception_ptr error_;
  int64_t piece_ = 0;
};

// Runs f(begin, end) for the pieces [0, grain), [grain, 2 grain), … of [0, n).
//
// The cut depends on n and grain alone, and callers derive grain from shapes alone; which thread
// runs a piece changes nothing. A piece's result must not depend on other pieces: then 1, 2 or 8
// threads give the same bytes. Each thread takes one run of neighbouring pieces, so that the rows
// it wrote in one kernel are in its cache for the next.
//
// f may also be f(begin, end, worker): two pieces that run at once have different workers, all
// below threads(), so each worker can have a scratch of its own.
//
// What f throws reaches the caller: if several pieces throw, the exception of the first in order.
// Called from inside any parallel region, its own or the caller's, it runs serially.
//
// A child of fork() must not come here once its parent has: the threads stay with the parent, and
// the child would wait for them for ever. Fork first, or start a new program (exec).
template <class F> void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (grain < 1) fail("parallel_for: a piece of ", grain, " items never gets through ", n);
  if (n <= 0) return;
  const auto run = [&](int64_t begin, int worker) {
    const int64_t end = n - begin > grain ? begin + grain : n;
    if constexpr (std::is_invocable_v<F&, int64_t, int64_t, int>)
      f(begin, end, worker);
    else
      f(begin, end);
  };
  const int64_t pieces = (n - 1) / grain + 1;
  if (pieces == 1) return run(0, 0);
  PieceError error;
#pragma omp parallel for schedule(static) if (!omp_in_parallel())
  for (int64_t i = 0; i < pieces; ++i) {
    try {
      run(i * grain, omp_get_thread_num());
    } catch (...) {
      error.keep(i);
    }
  }
  error.rethrow();
}

// f(i) for i in [0, n), in pieces of `grain` neighbours.
template <class F> void parallel_items(int64_t n, int64_t grain, F f) {
  parallel_for(n, grain, [&f](int64_t begin, int64_t end) {
    const F g = f;  // a copy on the stack: stores cannot change what it captured
    for (int64_t i = begin; i < end; ++i) g(i);
  });
}

constexpr int most_threads = 1024;
// Threads that parallel_for may use; 0 asks for one per core. When they are as many as the cores
// this process may run on, each is bound to a core of its own: left alone, the system at times
// keeps two that wait for each other on one core, and a step then takes fifty times as long. A
// smaller team stays free, so that it can avoid the cores others use.
void set_threads(int count);
int threads();

}  // namespace borealis
