// Tensor, Shape, Matrix, memory, random numbers, vector mathematics, engine calls.
#include <cmath>
#include <cstring>
#include <numbers>
#include <sstream>

#include <doctest/doctest.h>
#include <unistd.h>

#include "engine/backend.h"
#include "engine/fastmath.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "engine/parallel.h"
#include "engine/rng.h"
#include "tests/compare.h"
#include "tests/near.h"

using namespace borealis;
using doctest::Contains;

namespace {

Tensor counting(const Shape& shape) {
  const Tensor t(shape, DType::f64);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = static_cast<double>(i);
  return t;
}

std::vector<double> numbers(const Tensor& t) { return t.to_vector<double>(); }

// How many representable f32 numbers lie between y and the truth.
double ulps(float y, double truth) {
  if (std::isnan(truth)) return std::isnan(y) ? 0 : HUGE_VAL;
  const float nearest = static_cast<float>(truth);
  if (std::isinf(nearest) || std::isinf(y)) return y == nearest ? 0 : HUGE_VAL;
  const double spacing = std::ldexp(1.0, std::max(std::ilogb(nearest == 0 ? 1e-45f : nearest), -126) - 23);
  return std::abs(y - truth) / spacing;
}

// The largest error over numbers of all magnitudes and both signs.
template <class F, class G> double worst_ulps(F fast_form, G exact) {
  double worst = 0;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4099) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    worst = std::max(worst, ulps(fast_form(x), exact(static_cast<double>(x))));
  }
  return worst;
}

}  // namespace

TEST_CASE("tensors: printed with type, shape, first numbers and statistics") {
  const auto printed = [](const Tensor& t) {
    std::ostringstream text;
    text << t;
    return text.str();
  };
  CHECK(printed({}) == "no tensor");
  CHECK(printed(Tensor({0, 3})) == "f32[0, 3] {}");
  CHECK(printed(Tensor::full({}, 3)) == "f32[] {3}");
  CHECK(printed(Tensor::of<int32_t>({2}, {4, -1})) == "i32[2] {4, -1}, min -1, mean 1.5, max 4");
  CHECK(printed(counting({3, 4})) == "f64[3, 4] {0, 1, 2, 3, 4, 5, 6, 7, …}, min 0, mean 5.5, max 11");
  CHECK(printed(Tensor::of<float>({4}, {1, NAN, 3, -INFINITY})) ==
        "f32[4] {1, nan, 3, -inf}, min 1, mean 2, max 3, 2 not finite");
  CHECK(printed(Tensor::of<float>({2}, {INFINITY, INFINITY})) == "f32[2] {inf, inf}, 2 not finite");
}

TEST_CASE("shape: sizes, axes, texts") {
  const Shape s{2, 3, 5};
  CHECK(s.numel() == 30);
  CHECK(s[-1] == 5);
  CHECK(Shape{}.numel() == 1);
  CHECK_THROWS_WITH_AS(s[3], "shape: axis 3 does not exist in [2, 3, 5]", std::invalid_argument);
  CHECK_THROWS_WITH_AS((Shape{-1, 2}), Contains("is not a shape"), std::invalid_argument);
  CHECK_THROWS_WITH_AS((Shape{1 << 30, 1 << 30}), Contains("absurd"), std::invalid_argument);
  CHECK_THROWS_WITH_AS((Shape{1, 1, 1, 1, 1, 1, 1}), Contains("at most 6"), std::invalid_argument);
}

TEST_CASE("tensor: handles share, clones do not") {
  const Tensor t = counting({2, 3}), same = t, other = t.clone();
  t.data<double>()[0] = 7;
  CHECK(same.data<double>()[0] == 7);
  CHECK(other.data<double>()[0] == 0);
  CHECK(t.same_storage(t.reshape({6})));
  CHECK_FALSE(t.same_storage(other));
  CHECK_FALSE(t.sole_owner());
  CHECK(other.sole_owner());
}

TEST_CASE("tensor: views and their limits") {
  const Tensor t = counting({4, 3});
  CHECK(numbers(t.rows(1, 2)) == std::vector<double>{3, 4, 5, 6, 7, 8});
  CHECK(numbers(t.flat_view(5, {2})) == std::vector<double>{5, 6});
  CHECK(t.rows(4, 0).numel() == 0);
  CHECK_THROWS_WITH_AS(t.rows(3, 2), Contains("outside the leading axis of [4, 3]"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(t.reshape({5, 2}), "reshape: [4, 3] has 12 numbers, but [5, 2] has 10", std::invalid_argument);
  CHECK_THROWS_WITH_AS(t.flat_view(11, {2}), Contains("does not fit"), std::invalid_argument);
  CHECK_THROWS_WITH_AS(t.item(), "item: [4, 3] is not a single number", std::invalid_argument);
  CHECK_THROWS_WITH_AS(t.data<float>(), "tensor: asked for f32, but [4, 3] holds f64", std::invalid_argument);
  CHECK_THROWS_WITH_AS(Tensor().data<float>(), "data: this tensor was never made", std::invalid_argument);
  CHECK_THROWS_WITH_AS(Tensor::of<float>({3}, {1, 2}), "tensor: [3] takes 3 values, got 2", std::invalid_argument);
}

TEST_CASE("tensor: rows outside are told from where to where") {
  CHECK_THROWS_WITH_AS(Tensor({4, 2}).rows(1, 5), "rows: 1 … 6 is outside the leading axis of [4, 2]",
                       std::invalid_argument);
}

TEST_CASE("tensor: types convert, empty tensors are fine") {
  const Tensor t = Tensor::of<float>({3}, {1.5f, -2, 1e30f});
  CHECK(numbers(t.to(DType::f64)) == std::vector<double>{1.5, -2, 1e30f});
  CHECK(Tensor::of<int32_t>({2}, {3, -4}).to(DType::f64).to_vector<double>() == std::vector<double>{3, -4});
  const Tensor none({0, 4});
  CHECK(none.clone().to(DType::f64).numel() == 0);
  none.fill(1);
  std::ostringstream out;
  out << counting({2, 5}) << ' ' << Tensor();
  CHECK(out.str() == "f64[2, 5] {0, 1, 2, 3, 4, 5, 6, 7, …}, min 0, mean 4.5, max 9 no tensor");
}

TEST_CASE("strided_copy: a transposed copy adds to a part of what was there, once") {
  for (const Shape& s : {Shape{5, 7}, Shape{33, 40}, Shape{130, 70}}) {
    const Tensor x = counting({s[0], s[1]}), y = Tensor::full({s[1], s[0]}, 8, x.dtype());
    backend(Device{}).strided_copy(y, x, {y.shape(), {s[0], 1}, {1, s[1]}}, 0.5);
    CHECK(y.to_vector<double>() == affine(permute(x, {1, 0}), 1, 4).to_vector<double>());
  }
}

TEST_CASE("pool: classes waste at most an eighth, blocks are aligned and used again") {
  Pool& p = pool(Device{});
  for (size_t bytes = 1; bytes < (1 << 20); bytes = bytes * 17 / 16 + 1) {
    const size_t before = p.live();
    void* data = p.take(bytes);
    const size_t size = p.live() - before;
    CHECK(size >= bytes);
    CHECK(size % 64 == 0);
    CHECK(size - bytes <= std::max<size_t>(bytes / 8, 63));
    CHECK(reinterpret_cast<uintptr_t>(data) % 64 == 0);
    p.give_back(data, bytes);
    CHECK(p.live() == before);

    const int64_t count = p.system_allocations();
    void* again = p.take(bytes);
    CHECK(again == data);
    CHECK(p.system_allocations() == count);
    p.give_back(again, bytes);
  }
}

TEST_CASE("pool: the system is asked no more once shapes repeat, trim gives all back") {
  Pool& p = pool(Device{});
  const auto step = [] {
    const Tensor a = Tensor::zeros({100, 70}), b = Tensor::zeros({33}, DType::f64);
    return (Matrix(a) * Matrix(a).t()).tensor();
  };
  step(), step();
  const int64_t count = p.system_allocations();
  for (int i = 0; i < 10; ++i) step();
  CHECK(p.system_allocations() == count);
  CHECK(p.peak() >= p.live());
  p.trim();
  CHECK(p.cached() == 0);
  step();
  CHECK(p.system_allocations() > count);
}

TEST_CASE("pool: the CPU's cap is the machine's memory") {
  const auto pages = static_cast<size_t>(sysconf(_SC_PHYS_PAGES));
  CHECK(pool(Device{}).cap() == pages * static_cast<size_t>(sysconf(_SC_PAGE_SIZE)));
}

TEST_CASE("pool: what is cached goes down by each block that is taken") {
  Pool& p = pool(Device{});
  p.trim();
  { const Tensor a({1000}), b({1000}); }
  const size_t both = p.cached();
  const Tensor a({1000});
  CHECK(p.cached() == both / 2);
  CHECK(both == 2 * 4096);
}

TEST_CASE("pool: the cap holds, and the cache goes before it is hit") {
  Pool& p = pool(Device{});
  p.trim();
  const size_t megabyte = 1 << 20, before = p.cap();
  p.set_cap(p.live() + 2 * megabyte);
  { const Tensor t({3, 1 << 17}); }
  CHECK(p.cached() > 0);
  { const Tensor t({2, 1 << 18}); }  // fits only without the cached block
  CHECK(p.live() + p.cached() <= p.live() + 2 * megabyte);
  CHECK_THROWS_WITH_AS(Tensor({3, 1 << 18}), Contains("under a cap of"), std::runtime_error);
  p.set_cap(0);
  CHECK(Tensor({3, 1 << 18}).numel() == 3 << 18);
  p.set_cap(before);
}

TEST_CASE("philox: the published known answers") {
  const auto check = [](uint32_t fill, const PhiloxBits& expected) {
    const PhiloxBits got = philox(fill, fill, fill, fill, fill, fill);
    CHECK(std::memcmp(got.word, expected.word, sizeof got.word) == 0);
  };
  check(0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  check(0xffffffff, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  const PhiloxBits pi = philox(0xa4093822, 0x299f31d0, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344);
  const PhiloxBits expected{{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  CHECK(std::memcmp(pi.word, expected.word, sizeof pi.word) == 0);
}

TEST_CASE("rng: streams differ, steps resume, moments are right") {
  Rng a(1), b(1);
  const Tensor first = a.normal({1000}, 1), second = a.normal({1000}, 1);
  CHECK(same_bytes(b.normal({1000}, 1), first));
  CHECK_FALSE(same_bytes(second, first));
  a.set_step(5);
  const Tensor at5 = a.uniform({10}, 0, 1);
  Rng late(1, 5);
  CHECK(same_bytes(late.uniform({10}, 0, 1), at5));
  CHECK_FALSE(same_bytes(Rng(2).normal({1000}, 1), first));

  // Box and Muller's formula, of the bits as they stand.
  Rng bits_of(7);
  const PhiloxBits bits = bits_of.next_stream().block(0);
  const double u = (bits.word[0] + 1.0) / 0x1p32, v = bits.word[1] / 0x1p32;
  CHECK(Rng(7).normal({1}, 3, DType::f64).item() ==
        near(3 * std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v)).epsilon(1e-14));

  const auto moments = [](const Tensor& t) {
    double sum = 0, squares = 0;
    for (const double x : numbers(t)) sum += x, squares += x * x;
    const double n = static_cast<double>(t.numel());
    return std::pair(sum / n, squares / n);
  };
  const auto [mean, variance] = moments(Rng(3).normal({100001}, 2, DType::f64));
  CHECK(std::abs(mean) < 0.03);
  CHECK(variance == near(4).epsilon(0.02));
  const auto [middle, spread] = moments(Rng(3).uniform({100000}, -1, 1, DType::f64));
  CHECK(std::abs(middle) < 0.01);
  CHECK(spread == near(1. / 3).epsilon(0.02));

  int counts[3] = {};
  for (int i = 0; i < 3000; ++i) ++counts[b.below(3)];
  for (const int c : counts) CHECK(std::abs(c - 1000) < 120);
  CHECK_THROWS_WITH_AS(b.below(0), Contains("at least 1"), std::invalid_argument);
}

TEST_CASE("fast mathematics: f32 within 2 ulp, special numbers as they should be") {
  const auto exp_exact = [](double x) { return x < -87.33654785 ? 0.0 : std::exp(x); };
  CHECK(worst_ulps([](float x) { return fast::exp(x); }, exp_exact) <= 2);
  CHECK(worst_ulps([](float x) { return fast::log(x); }, [](double x) { return std::log(x); }) <= 2);
  CHECK(worst_ulps([](float x) { return fast::tanh(x); }, [](double x) { return std::tanh(x); }) <= 2);
  CHECK(worst_ulps([](float x) { return fast::erf(x); }, [](double x) { return std::erf(x); }) <= 2);

  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(fast::exp(0.0f) == 1);
  CHECK(fast::exp(-infinity) == 0);
  CHECK(fast::exp(infinity) == infinity);
  CHECK(fast::log(0.0f) == -infinity);
  CHECK(fast::log(1.0f) == 0);
  CHECK(std::isnan(fast::log(-1.0f)));
  CHECK(fast::tanh(-infinity) == -1);
  CHECK(fast::erf(infinity) == 1);
}

TEST_CASE("sign: zeros and NaN stay as they are, the derivative is 0") {
  const Tensor x = Tensor::of<float>({5}, {-3, -0.0f, 0, std::nanf(""), HUGE_VALF}), y = unary(UnaryOp::sign, x);
  CHECK(numbers(y.rows(0, 3)) == std::vector<double>{-1, 0, 0});
  CHECK(std::signbit(y.data<float>()[1]));
  CHECK_FALSE(std::signbit(y.data<float>()[2]));
  CHECK(std::isnan(y.data<float>()[3]));
  CHECK(y.data<float>()[4] == 1);
  const Tensor dx = x.like();
  unary_grad(UnaryOp::sign, dx, x, Tensor::full({5}, 7), 0, 0);
  CHECK(numbers(dx) == std::vector<double>(5, 0));
}

TEST_CASE("broadcasting: NumPy's rule, and a text that names both shapes") {
  CHECK(broadcast_shape("add", {4, 1, 3}, {2, 1}) == Shape{4, 2, 3});
  CHECK(broadcast_shape("add", {}, {5}) == Shape{5});
  CHECK(broadcast_shape("add", {0, 3}, {1}) == Shape{0, 3});
  CHECK_THROWS_WITH_AS(broadcast_shape("add", {4, 6, 5}, {6, 4}),
                       Contains("add: [4, 6, 5] and [6, 4] do not broadcast"), std::invalid_argument);
  const Tensor y = binary("mul", BinaryOp::mul, counting({2, 1}), counting({3}));
  CHECK(numbers(y) == std::vector<double>{0, 0, 0, 0, 1, 2});
  CHECK(numbers(sum_to(counting({2, 3}), {3})) == std::vector<double>{3, 5, 7});
  CHECK(numbers(sum_to(counting({2, 3}), {2, 1})) == std::vector<double>{3, 12});
  CHECK_THROWS_WITH_AS(binary("add", BinaryOp::add, Tensor({2}), Tensor({2}, DType::f64)), Contains("do not mix"),
                       std::invalid_argument);
}

TEST_CASE("reductions: sums over any axes, and over nothing") {
  const Tensor t = counting({2, 3, 2});
  CHECK(numbers(sum(t, {})) == std::vector<double>{66});
  CHECK(numbers(sum(t, {1})) == std::vector<double>{6, 9, 24, 27});
  CHECK(numbers(sum(t, {0, 2})) == std::vector<double>{14, 22, 30});
  CHECK(numbers(sum(t, {-1}, 0.5)) == std::vector<double>{0.5, 2.5, 4.5, 6.5, 8.5, 10.5});
  CHECK(numbers(sum(Tensor({0, 2}, DType::f64), {0})) == std::vector<double>{0, 0});
}

TEST_CASE("reductions: long rows are added in parts, each row by itself") {
  const Tensor x({3, 100000});
  for (int64_t r = 0; r < 3; ++r) x.rows(r, 1).fill(static_cast<double>(r + 1));
  CHECK(numbers(sum(x, {1})) == std::vector<double>{1e5, 2e5, 3e5});
}

TEST_CASE("reductions: sum of squares, finiteness, maximum with NaN and ties") {
  Backend& cpu = backend(Device{});
  const Tensor x = Rng(1).normal({100003}, 1, DType::f64), y({1}, DType::f64);
  cpu.sum_squares(y, x);
  long double expected = 0;
  for (const double v : numbers(x)) expected += static_cast<long double>(v) * v;
  CHECK(y.item() == near(static_cast<double>(expected)).epsilon(1e-14));

  CHECK(cpu.all_finite(x));
  for (const double bad : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    const Tensor z = x.clone();
    z.data<double>()[100002] = bad;
    CHECK_FALSE(cpu.all_finite(z));
  }

  const Tensor m({1}, DType::f64), at({1}, DType::i32);
  cpu.max(m, at, Tensor::of<double>({4}, {1, 3, 3, 2}), 1, 4, 1);
  CHECK(m.item() == 3);
  CHECK(at.item() == 1);
  cpu.max(m, at, Tensor::of<double>({4}, {1, std::nan(""), 3, 2}), 1, 4, 1);
  CHECK(std::isnan(m.item()));
  CHECK(at.item() == 1);
}

TEST_CASE("permute: the order names each axis once") {
  CHECK(numbers(permute(counting({2, 3}), {1, 0})) == std::vector<double>{0, 3, 1, 4, 2, 5});
  CHECK_THROWS_WITH_AS(permute(counting({2, 3}), {0, 0}), Contains("must name each axis"), std::invalid_argument);
}
