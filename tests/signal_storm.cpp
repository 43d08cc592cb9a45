// Matrix products and attention under a storm of signals: every byte must come out as in calm, and
// no kernel may run with its stack pointer off the stack, where the operating system writes a
// signal handler's frame. Usage: signal_storm [SIGNALS]
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include <pthread.h>

#include "autograd/ops.h"
#include "engine/cpu/gemm.h"
#include "engine/matrix.h"
#include "engine/parallel.h"
#include "engine/rng.h"

using namespace borealis;

namespace {

std::atomic<int64_t> received{0}, off_stack{0};
thread_local std::uintptr_t stack_begin = 0, stack_end = 0;

void find_stack() {
  pthread_attr_t attributes;
  void* begin = nullptr;
  size_t size = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &begin, &size);
  pthread_attr_destroy(&attributes);
  stack_begin = reinterpret_cast<std::uintptr_t>(begin);
  stack_end = stack_begin + size;
}

// The handler's own frame lies where the stack pointer was.
void on_signal(int) {
  const char here = 0;
  const auto at = reinterpret_cast<std::uintptr_t>(&here);
  if (at < stack_begin || at >= stack_end) ++off_stack;
  ++received;
}

// Signals for every thread that computes, as fast as they go out.
class Storm {
 public:
  explicit Storm(std::vector<pthread_t> targets) : targets_(std::move(targets)) {
    sender_ = std::thread([this] {
      while (!over_)
        for (const pthread_t target : targets_) pthread_kill(target, SIGUSR1);
    });
  }
  ~Storm() {
    over_ = true;
    sender_.join();
  }

 private:
  std::vector<pthread_t> targets_;
  std::atomic<bool> over_{false};
  std::thread sender_;
};

std::vector<pthread_t> team() {
  std::vector<pthread_t> all(static_cast<size_t>(threads()));
#pragma omp parallel
  {
    find_stack();
    all[static_cast<size_t>(omp_get_thread_num())] = pthread_self();
  }
  return all;
}

using Work = std::function<Tensor()>;

// C = alpha A B + beta C, kept transposed or not, in memory wider than the matrices.
Work product(DType dtype, int64_t m, int64_t n, int64_t k, bool trans_a, bool trans_b, double alpha, double beta) {
  Rng rng(static_cast<uint64_t>(m * 1'000'000 + n * 1000 + k));
  const auto stored = [&](int64_t rows, int64_t cols) {
    return Matrix::strided(rng.normal({rows, cols + 5}, 1, dtype), 0, rows, cols, cols + 5);
  };
  const Matrix A = trans_a ? stored(k, m).t() : stored(m, k);
  const Matrix B = trans_b ? stored(n, k).t() : stored(k, n);
  const Tensor before = rng.normal({m, n}, 1, dtype);
  return [=] {
    const Tensor C = before.clone();
    gemm(C, A, B, alpha, beta);
    return C;
  };
}

Work gram(DType dtype, int64_t n, int64_t k) {
  const Matrix A = Rng(7).normal({n, k}, 1, dtype);
  return [=] {
    const Tensor C({n, n}, dtype);
    gemm_symmetric(C, A, A.t());
    return C;
  };
}

// Forward and backward; the gradient is what is compared.
Work attention(DType dtype, int64_t T) {
  const Tensor qkv = Rng(8).normal({2, T, 3 * 34}, 1, dtype);
  return [=] {
    const Var x = Var::leaf(qkv, "qkv");
    sum(causal_attention(x, 2)).backward();
    return x.grad().clone();
  };
}

std::vector<Work> all_work() {
  std::vector<Work> work;
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const int64_t m : {1, 7, 97})
      for (const int64_t n : {1, 17, 65, 130})
        for (const int64_t k : {1, 33, 515})
          for (const int form : {0, 1, 2, 3})
            work.push_back(product(dtype, m, n, k, form & 1, form & 2, form % 3 ? 1 : 0.5,
                                   form == 1   ? 1
                                   : form == 2 ? -0.25
                                               : 0));
    work.push_back(gram(dtype, 130, 70));
    work.push_back(attention(dtype, 70));
  }
  return work;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t wanted = argc > 1 ? std::atoll(argv[1]) : 20'000;
  std::signal(SIGUSR1, on_signal);

  int64_t wrong = 0, runs = 0;
  for (const int team_size : {1, 2}) {
    set_threads(team_size);
    const std::vector<Work> work = all_work();
    std::vector<Tensor> calm;
    for (const Work& w : work) calm.push_back(w());

    const int64_t enough = received + wanted / 2;
    const Storm storm(team());
    while (received < enough)
      for (size_t i = 0; i < work.size(); ++i, ++runs) wrong += !same_bytes(work[i](), calm[i]);
  }
  std::printf(
      "%s: %lld signals during %lld products: %lld came out wrong, %lld signals met a stack "
      "pointer off the stack\n",
      gemm_provider(), static_cast<long long>(received), static_cast<long long>(runs), static_cast<long long>(wrong),
      static_cast<long long>(off_stack));
  return wrong || off_stack ? 1 : 0;
}
