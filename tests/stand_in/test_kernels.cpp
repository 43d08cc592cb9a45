// Right kernels come out right, whatever the order of their blocks and threads.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/stand_in/device.h"
#include "tests/stand_in/kernels.h"

using namespace borealis;
using stand_in::controls;

namespace {

std::vector<float> row_sums(const std::vector<float>& x, int rows, int cols) {
  std::vector<float> y(static_cast<size_t>(rows));
  for (int i = 0; i < rows * cols; ++i) y[static_cast<size_t>(i / cols)] += x[static_cast<size_t>(i)];
  return y;
}

std::vector<float> transposed(const std::vector<float>& x, int m, int n) {
  std::vector<float> y(x.size());
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) y[static_cast<size_t>(j * m + i)] = x[static_cast<size_t>(i * n + j)];
  return y;
}

}  // namespace

TEST_CASE("stand-in: sums of rows by blocks and by warps, and a transposed matrix, under five seeds") {
  constexpr int rows = 19, cols = 333;
  const std::vector<float> x = numbers(rows * cols);
  for (controls.seed = 1; controls.seed <= 5; ++controls.seed) {
    TestDevice on;
    const float* dx = on.put(x);
    auto *by_block = on.room<float>(rows), *by_warp = on.room<float>(rows), *turned = on.room<float>(x.size());
    REQUIRE(kernels::row_sum(by_block, dx, rows, cols, on.stream) == cudaSuccess);
    REQUIRE(kernels::warp_row_sum(by_warp, dx, rows, cols, on.stream) == cudaSuccess);
    REQUIRE(kernels::transpose(turned, dx, rows, cols, on.stream) == cudaSuccess);
    CHECK(on.get(by_block, rows) == row_sums(x, rows, cols));
    CHECK(on.get(by_warp, rows) == row_sums(x, rows, cols));
    CHECK(on.get(turned, x.size()) == transposed(x, rows, cols));
  }
  controls.seed = 1;
}

TEST_CASE("stand-in: one launch that adds up its blocks' sums, atomic counts, vectors and a gather") {
  constexpr int n = 5000, blocks = 7, bins = 11;
  const std::vector<float> x = numbers(n);
  std::vector<int> ids(n), expected_counts(bins);
  for (int i = 0; i < n; ++i) {
    ids[static_cast<size_t>(i)] = i * i % bins;
    ++expected_counts[static_cast<size_t>(i * i % bins)];
  }
  TestDevice on;
  const float* dx = on.put(x);
  auto *sum = on.room<float>(1), *partial = on.room<float>(blocks), *y = on.room<float>(n), *z = on.room<float>(n);
  auto* ticket = on.put(std::vector<unsigned>{0});
  for (int again = 0; again < 2; ++again) {
    REQUIRE(kernels::ticket_sum(sum, partial, ticket, dx, n, blocks, on.stream) == cudaSuccess);
    CHECK(on.get(sum, 1) == row_sums(x, 1, n));
  }
  auto* counts = on.room<int>(bins);
  REQUIRE(cudaMemsetAsync(counts, 0, bins * sizeof(int), on.stream) == cudaSuccess);
  REQUIRE(kernels::histogram(counts, on.put(ids), n, bins, on.stream) == cudaSuccess);
  CHECK(on.get(counts, bins) == expected_counts);
  REQUIRE(kernels::scale(y, dx, 2, n / 4, on.stream) == cudaSuccess);
  REQUIRE(kernels::gather(z, dx, n, on.stream) == cudaSuccess);
  CHECK(on.get(y, n)[4999] == 2 * x[4999]);
  CHECK(on.get(z, n)[700] == x[600]);
  REQUIRE(kernels::constants(y, on.stream) == cudaSuccess);
  CHECK(on.get(y, 32)[30] == 5);
}

TEST_CASE("stand-in: each lane's votes and shuffles") {
  TestDevice on;
  auto* y = on.room<unsigned>(9 * 32);
  REQUIRE(kernels::warp_words(y, on.stream) == cudaSuccess);
  const std::vector<unsigned> words = on.get(y, 9 * 32);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto word = [&](unsigned row) { return words[row * 32 + lane]; };
    CHECK(word(0) == 0xAAAAAAAAu);
    CHECK(word(1) == 1);
    CHECK(word(2) == 0);
    CHECK(word(3) == 5);
    CHECK(word(4) == lane / 8 * 8 + 3);
    CHECK(word(5) == (lane < 2 ? lane : lane - 2));
    CHECK(word(6) == (lane % 16 < 14 ? lane + 2 : lane));
    CHECK(word(7) == (lane % 2 != 0 ? lane ^ 2 : 0x55u));
    CHECK(word(8) == 11);
  }
}

TEST_CASE("stand-in: bf16 is rounded to the nearest, ties to even") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto of_bits = [](uint32_t bits) {
    float x = 0;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  };
  const std::vector<float> x = {
      1, of_bits(0x3F808000), of_bits(0x3F818000), of_bits(0x3F808001), of_bits(0x7F7FFFFF), -infinity, std::nanf("")};
  const std::vector<unsigned short> expected = {0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x7F80, 0xFF80, 0x7FFF};
  TestDevice on;
  auto* y = on.room<__nv_bfloat16>(x.size());
  REQUIRE(kernels::to_bf16(y, on.put(x), static_cast<int>(x.size()), on.stream) == cudaSuccess);
  const std::vector<__nv_bfloat16> bits = on.get(y, x.size());
  for (size_t i = 0; i < x.size(); ++i) CHECK(__bfloat16_as_ushort(bits[i]) == expected[i]);
  CHECK(__bfloat162float(bits[2]) == of_bits(0x3F820000));
}

TEST_CASE("stand-in: a missing barrier shows as a wrong sum under some seed") {
  constexpr int rows = 8, cols = 700;
  const std::vector<float> x = numbers(rows * cols);
  for (const bool first : {false, true}) {
    int wrong = 0;
    for (controls.seed = 1; controls.seed <= 5; ++controls.seed) {
      TestDevice on;
      auto* y = on.room<float>(rows);
      std::vector<float> sums;
      const std::string fault = fault_of([&] {  // only where it is watched
        const cudaError_t code = kernels::row_sum(y, on.put(x), rows, cols, on.stream, first, !first);
        sums = on.get(y, rows);
        return code;
      });
      wrong += !fault.empty() || sums != row_sums(x, rows, cols);
    }
    CHECK(wrong >= 2);
  }
  controls.seed = 1;
}

TEST_CASE("stand-in: of a large grid only the ends run, if so asked") {
  TestDevice on;
  const std::vector<float> x(32 * 100);
  float* y = on.put(x);
  controls.ends = 3;
  REQUIRE(kernels::plain(y, 32 * 100, 100, 32, 0, on.stream) == cudaSuccess);
  controls.ends = 0;
  const std::vector<float> after = on.get(y, x.size());
  for (size_t block = 0; block < 100; ++block) CHECK(after[block * 32 + 5] == (block < 3 || block >= 97 ? 1 : 0));
}
