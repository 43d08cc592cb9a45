#include "engine/parallel.h"

#include <algorithm>

#include "engine/machine.h"

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

void set_threads(int count) {
  if (count > most_threads) fail("threads: ", count, " are asked for, but at most ", most_threads, " can be");
  // The process's, asked once: binding the main thread narrows the answer.
  static const std::vector<int> all = own_cores();
  const int cores = std::max(1, static_cast<int>(all.size()));
  const int team = count > 0 ? count : cores;
  omp_set_num_threads(team);
#pragma omp parallel num_threads(team)
  bind_thread(team == cores && team > 1 ? std::vector{all[static_cast<size_t>(omp_get_thread_num())]} : all);
}

int threads() { return omp_get_max_threads(); }

}  // namespace borealis
