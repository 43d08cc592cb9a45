// A tensor that this machine could not hold, of which only the ends are touched. (Not where each byte has a shadow.)
#include "tests/stand_in/device.h"
#include "tests/stand_in/kernels.h"

using namespace borealis;
using stand_in::controls;

TEST_CASE("stand-in: the ends of a tensor of more than 2^31 numbers") {
  constexpr long long n = (1LL << 31) + 77;
  TestDevice on;
  auto* y = on.room<float>(n);
  REQUIRE(cudaMemsetAsync(y, 0, 4, on.stream) == cudaSuccess);
  REQUIRE(cudaMemsetAsync(y + n - 1, 0, 4, on.stream) == cudaSuccess);
  controls.ends = 2;
  REQUIRE(kernels::plain_long(y, n, on.stream) == cudaSuccess);
  controls.ends = 0;
  CHECK(on.get(y, 1)[0] == 1);
  CHECK(on.get(y + n - 1, 1)[0] == 1);
}
