// What is seen of kernels that were compiled to be watched.
#include "tests/stand_in/device.h"
#include "tests/stand_in/kernels.h"

using namespace borealis;
using kernels::Fences;
using kernels::Wrong;
using stand_in::controls;
using stand_in::Traffic;

namespace {

// What a call's one kernel did to memory.
template <class Call> Traffic traffic_of(Call call) {
  stand_in::traffic.clear();
  REQUIRE(call() == cudaSuccess);
  REQUIRE(stand_in::traffic.size() == 1);
  return stand_in::traffic.begin()->second;
}

// The sentence under each of five seeds has `part`, for which it must have one.
template <class Call> void check_always(const std::string& part, Call call) {
  for (controls.seed = 1; controls.seed <= 5; ++controls.seed) {
    const std::string fault = fault_of(call);
    INFO(fault);
    CHECK(has(fault, part));
  }
  controls.seed = 1;
}

}  // namespace

TEST_CASE("stand-in: a race is a race under each seed") {
  TestDevice on;
  constexpr int rows = 16, cols = 300;
  const float* x = on.put(numbers(rows * cols));
  float* y = on.room<float>(rows * cols);
  check_always("(shared memory)",  // a race, or a number that is not there yet

               [&] { return kernels::row_sum(y, x, rows, cols, on.stream, false); });
  check_always("row_sum_kernel<true, false>: a race: ",
               [&] { return kernels::row_sum(y, x, rows, cols, on.stream, true, false); });
  check_always("(shared memory)", [&] { return kernels::transpose(y, x, rows, cols, on.stream, false); });

  float* z = on.put(std::vector<float>(64));
  const auto wrong = [&](Wrong what) { return [&, what] { return kernels::wrong(what, z, 64, on.stream); }; };
  check_always("a race: a write by thread 0 of block ", wrong(Wrong::blocks_race));
  check_always("a race: a write by thread 1 of block 0 and a read by thread ", wrong(Wrong::readers_race));
  check_always("a race: ", wrong(Wrong::warps_race));
  check_always("(shared memory)", wrong(Wrong::warp_race));
  check_always("a race: ", wrong(Wrong::shuffle_as_barrier));
  check_always("a race: ", wrong(Wrong::rewrite_race));
  REQUIRE(wrong(Wrong::nothing)() == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(on.stream) == cudaSuccess);
}

TEST_CASE("stand-in: the last block may read what the others wrote only between fences") {
  constexpr int n = 5000, blocks = 7;
  TestDevice on;
  const float* x = on.put(numbers(n));
  auto *sum = on.room<float>(1), *partial = on.room<float>(blocks);
  const auto add = [&](Fences fences) {
    return [&, fences] {
      return kernels::ticket_sum(sum, partial, on.put(std::vector<unsigned>{0}), x, n, blocks, on.stream, fences);
    };
  };
  check_always("", add(Fences::both));
  CHECK(fault_of(add(Fences::both)).empty());
  check_always("a race: a read by thread 0 of block ", add(Fences::no_release));
  check_always("a race: a read by thread 0 of block ", add(Fences::no_acquire));
  check_always("a race: ", add(Fences::written_late));
  check_always("a race: ", add(Fences::read_early));
}

TEST_CASE("stand-in: memory that nothing has written, that is misaligned, out of bounds or the host's") {
  TestDevice on;
  float* fresh = on.room<float>(64);
  float* y = on.put(std::vector<float>(64));
  const auto fault = [&](Wrong what, float* at, int n) {
    return fault_of([&] { return kernels::wrong(what, at, n, on.stream); });
  };
  CHECK(has(fault(Wrong::unwritten_shared, y, 64), "that nothing has written (shared memory)"));
  CHECK(has(fault(Wrong::unwritten_global, fresh, 64), "a read by thread "));
  CHECK(has(fault(Wrong::unwritten_global, fresh, 64), "of memory that nothing has written"));
  CHECK(has(fault(Wrong::past_end, y, 64), "a write by thread "));
  CHECK(has(fault(Wrong::past_end, y, 64), "of memory where no tensor is"));
  CHECK(has(fault(Wrong::far_past_end, y, 64), "of memory where no tensor is"));
  CHECK(has(fault(Wrong::past_shared, y, 64), "a write past the end of shared memory"));
  CHECK(has(fault_of([&] { return kernels::scale(fresh, y + 1, 2, 15, on.stream); }),
            "scale_kernel: a misaligned access of 16 bytes; addr2line -e PROGRAM 0x"));

  std::vector<float> host(1);
  const float* address = host.data();
  REQUIRE(cudaMemcpyAsync(y, &address, sizeof address, cudaMemcpyHostToDevice, on.stream) == cudaSuccess);
  CHECK(has(fault(Wrong::host_memory, y, 64), "a read of the host's memory"));

  // A copy of nothing is nothing, whatever wrote the rest.
  float* copy = on.put(std::vector<float>(64));
  REQUIRE(cudaMemcpyAsync(copy, fresh, 4, cudaMemcpyDeviceToDevice, on.stream) == cudaSuccess);
  CHECK(has(fault(Wrong::unwritten_global, copy, 64), "of memory that nothing has written"));
}

TEST_CASE("stand-in: bytes, sectors and bank conflicts of kernels") {
  constexpr int m = 96, n = 160, bytes = m * n * 4;
  TestDevice on;
  const float* x = on.put(numbers(m * n));
  float* y = on.room<float>(m * n);

  const Traffic scaled = traffic_of([&] { return kernels::scale(y, x, 2, m * n / 4, on.stream); });
  CHECK(scaled.launches == 1);
  CHECK(scaled.read == bytes);
  CHECK(scaled.written == bytes);
  CHECK(scaled.read_sectors == bytes / 32);
  CHECK(scaled.written_sectors == bytes / 32);
  CHECK(scaled.widest_read == 16);
  CHECK(scaled.widest_write == 16);

  const Traffic gathered = traffic_of([&] { return kernels::gather(y, x, m * n, on.stream); });
  CHECK(gathered.read_sectors == m * n);  // each lane its own
  CHECK(gathered.written_sectors == bytes / 32);

  // 15 tiles of 32 reads of a column: 31 further turns each where rows are 32 numbers long.
  const Traffic even = traffic_of([&] { return kernels::transpose(y, x, m, n, on.stream, true, false); });
  CHECK(even.conflicts == 14880);
  const Traffic odd = traffic_of([&] { return kernels::transpose(y, x, m, n, on.stream); });
  CHECK(odd.conflicts == 0);
  CHECK(odd.read_sectors == bytes / 32);
  CHECK(odd.written_sectors == bytes / 32);

  // 16 bytes of each lane come in four turns as they must; 4 bytes of every 16 in four where one would do.
  const Traffic vectors = traffic_of([&] { return kernels::shared_vectors(y, on.stream); });
  CHECK(vectors.conflicts == 3);
  CHECK(on.get(y, 32)[6] == 7);

  // One lane's store of a sum is a sector of its own.
  const Traffic summed = traffic_of([&] { return kernels::row_sum(y, x, m, n, on.stream); });
  CHECK(summed.read == bytes);
  CHECK(summed.written == m * 4);
  CHECK(summed.written_sectors == m);
}
