// parallel_for: exceptions, nesting, calls from the caller's own threads.
#include <atomic>
#include <stdexcept>
#include <string>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "engine/matrix.h"
#include "engine/parallel.h"
#include "tests/compare.h"
#include "tests/refusal.h"

using namespace borealis;

namespace {

// Attention with dropout, forward and backward: y and dqkv.
std::pair<Tensor, Tensor> attention(int64_t T, uint64_t seed) {
  Rng rng(seed);
  const Var qkv = Var::leaf(rng.normal({2, T, 48}, 1));
  const Var y = causal_attention(qkv, 4, {.dropout = 0.25, .rng = &rng});
  sum(square(y)).backward();
  return {y.value(), qkv.grad()};
}

// X L⁻ᵀ with a well-conditioned L.
Tensor solve(int64_t rows, uint64_t seed) {
  const Tensor X = Rng(seed).normal({rows, 24}, 1), L = Tensor::zeros({24, 24});
  add_to_diagonal(L, 2);
  backend(Device{}).solve_lower(Matrix(X).view(), Matrix(L).view());
  return X;
}

}  // namespace

TEST_CASE("parallel_for: every item once, in pieces, with workers below threads()") {
  const int before = threads();
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    for (const int64_t n : {0, 1, 7, 64, 1000})
      for (const int64_t grain : {int64_t{1}, int64_t{64}, std::numeric_limits<int64_t>::max()}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
        std::atomic<bool> fits = true;
        parallel_for(n, grain, [&](int64_t begin, int64_t end, int worker) {
          if (worker < 0 || worker >= threads() || begin % grain != 0) fits = false;
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        CHECK(fits);
        for (const auto& s : seen) CHECK(s == 1);
      }
  }
  set_threads(before);
  CHECK(refusal([] { parallel_for(3, 0, [](int64_t, int64_t) {}); }) ==
        "parallel_for: a piece of 0 items never gets through 3");
  CHECK(refusal([] { set_threads(1000000); }) == "threads: 1000000 are asked for, but at most 1024 can be");
}

TEST_CASE("parallel_for: the first exception in order reaches the caller") {
  const int before = threads();
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    std::atomic<int> ran = 0;
    const auto piece = [&](int64_t begin, int64_t) {
      ++ran;
      if (begin >= 30) throw std::out_of_range("piece " + std::to_string(begin / 10));
    };
    CHECK_THROWS_WITH_AS(parallel_for(100, 10, piece), "piece 3", std::out_of_range);
    CHECK(ran == 10);
    CHECK_THROWS_WITH_AS(parallel_for(31, 31, [](int64_t, int64_t) { fail("alone"); }), "alone", std::invalid_argument);
    parallel_for(30, 10, piece);  // and the threads are well
    CHECK(ran == 13);
  }
  set_threads(before);
}

TEST_CASE("parallel_for: of several exceptions that of the first piece is kept, in whatever order they come") {
  PieceError error;
  CHECK_NOTHROW(error.rethrow());
  for (const int piece : {5, 2, 3}) {
    try {
      throw piece;
    } catch (...) {
      error.keep(piece);
    }
  }
  CHECK_THROWS_AS(error.rethrow(), int);
  try {
    error.rethrow();
  } catch (int piece) {
    CHECK(piece == 2);
  }
}

TEST_CASE("parallel_for: nested, it runs serially") {
  const int before = threads(), levels = omp_get_max_active_levels();
  set_threads(3);
  omp_set_max_active_levels(2);  // even where OpenMP would start more threads
  std::atomic<int> inner = 0, wrong = 0;
  parallel_for(6, 1, [&](int64_t, int64_t) {
    const int me = omp_get_ancestor_thread_num(1);
    parallel_for(50, 1, [&](int64_t, int64_t, int worker) {
      ++inner;
      if (worker != 0 || omp_get_ancestor_thread_num(1) != me) ++wrong;
    });
  });
  CHECK(inner == 300);
  CHECK(wrong == 0);
  CHECK_THROWS_AS(
      parallel_for(6, 1, [](int64_t, int64_t) { parallel_for(4, 1, [](int64_t, int64_t) { fail("deep"); }); }),
      std::invalid_argument);
  omp_set_max_active_levels(levels);
  set_threads(before);
}

TEST_CASE("parallel_for: kernels with scratch inside the caller's own parallel region") {
  const int before = threads();
  for (const int64_t T : {5, 40}) {  // one piece, several pieces
    set_threads(1);                  // scratch for one worker: a second one would be outside
    std::vector<std::pair<Tensor, Tensor>> alone, together(4);
    std::vector<Tensor> solved_alone, solved(4);
    for (uint64_t i = 0; i < 4; ++i) {
      alone.push_back(attention(T, i));
      solved_alone.push_back(solve(T, i));
    }
#pragma omp parallel for num_threads(4) schedule(static, 1)
    for (uint64_t i = 0; i < 4; ++i) {
      together[i] = attention(T, i);
      solved[i] = solve(T, i);
    }
    for (size_t i = 0; i < 4; ++i) {
      CHECK(same_bytes(together[i].first, alone[i].first));
      CHECK(same_bytes(together[i].second, alone[i].second));
      CHECK(same_bytes(solved[i], solved_alone[i]));
    }
  }
  set_threads(before);
}
