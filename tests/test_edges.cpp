// The ends of what ops and matrices take: the last good value is taken, the first bad one refused.
#include <cmath>
#include <functional>
#include <limits>

#include <doctest/doctest.h>
#include <sched.h>

#include "autograd/ops.h"
#include "engine/backend.h"
#include "engine/matrix.h"
#include "engine/parallel.h"
#include "optim/adamw.h"
#include "tests/compare.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

Var zeros(const Shape& shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); }

bool takes(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument&) {
    return false;
  }
  return true;
}

}  // namespace

TEST_CASE("edges: norms take eps = 0 and a last axis of one number") {
  const Tensor x = Tensor::of<double>({2, 2}, {1, 3, -2, 4});
  const Tensor centred = Tensor::of<double>({2, 2}, {-1, 1, -1, 1});
  CHECK(relative_error(layer_norm(x, {}, {}, 0).value(), centred) < 1e-15);
  CHECK(takes([&] { rms_norm(x, {}, 0); }));
  CHECK(takes([] { rms_norm(zeros({3, 1})); }));
  CHECK(!takes([] { rms_norm(zeros({3, 0})); }));
  CHECK(!takes([] { rms_norm(zeros({})); }));
  CHECK(!takes([&] { layer_norm(x, {}, {}, not_a_number); }));
  CHECK(!takes([&] { layer_norm(x, zeros({2})); }));  // another number type
  CHECK(!takes([&] { layer_norm(x, {}, zeros({2, 1}, DType::f64)); }));
}

TEST_CASE("edges: rotary positions and head sizes") {
  for (const auto& [size, good] : {std::pair{0, false}, {2, false}, {4, true}, {6, false}, {8, true}})
    CHECK(takes([size = size] { rotary_table(8, size); }) == good);
  CHECK(!takes([] { rotary_table(8, -4); }));
  const RotaryTable table = rotary_table(8, 4);
  const auto turns = [&](const Shape& shape, int64_t heads, int64_t offset) {
    return takes([&] { rotary(zeros(shape), heads, table, offset); });
  };
  CHECK(turns({1, 8, 4}, 1, 0));
  CHECK(turns({1, 5, 4}, 1, 3));
  CHECK(!turns({1, 5, 4}, 1, 4));
  CHECK(!turns({1, 5, 4}, 1, -1));
  CHECK(turns({5, 8}, 2, 0));
  CHECK(!turns({5, 8}, 1, 0));  // heads of 8, a table for 4
  CHECK(!turns({5, 8}, 0, 0));
  CHECK(!turns({5, 9}, 2, 0));
  CHECK(!turns({4}, 1, 0));
  CHECK(!takes([&] { rotary(zeros({5, 4}, DType::f64), 1, table); }));
}

TEST_CASE("edges: attention's heads, scale, dropout and shapes") {
  Rng rng(1);
  const auto attends = [&](int64_t heads, const AttentionOptions& o) {
    return takes([&] { causal_attention(zeros({2, 4, 12}), heads, o); });
  };
  for (const auto& [heads, good] : {std::pair{-1, false}, {0, false}, {1, true}, {3, false}, {4, true}, {8, false}})
    CHECK(attends(heads, {}) == good);
  for (const auto& [p, good] : {std::pair{0.0, true}, {0.9, true}, {1.0, false}, {-0.1, false}, {not_a_number, false}})
    CHECK(attends(1, {.dropout = p, .rng = &rng}) == good);
  CHECK(attends(1, {.dropout = 0, .rng = nullptr}));
  for (const auto& [scale, good] : {std::pair{0.0, true}, {2.0, true}, {-0.1, false}, {not_a_number, false}})
    CHECK(attends(1, {.scale = scale}) == good);
  CHECK(!takes([] { causal_attention(zeros({4, 12}), 1); }));
  CHECK(!takes([] { causal_attention(zeros({1, 2, 4, 12}), 1); }));

  const auto apart = [](const Var& q, const Var& k, const Var& v) {
    return takes([&] { causal_attention(q, k, v, 1); });
  };
  const Var x = zeros({2, 4, 8}), wide = zeros({2, 4, 8}, DType::f64);
  CHECK(apart(x, x, x));
  CHECK(apart(zeros({2, 3, 8}), x, x));
  CHECK(!apart(zeros({2, 5, 8}), x, x));
  CHECK(!apart(zeros({1, 4, 8}), x, x));
  CHECK(!apart(zeros({2, 4, 4}), x, x));
  CHECK(!apart(zeros({4, 8}), x, x));
  CHECK(!apart(x, zeros({4, 8}), zeros({4, 8})));
  CHECK(!apart(x, x, zeros({2, 3, 8})));
  CHECK(!apart(wide, x, x));
  CHECK(!apart(x, wide, x));
  CHECK(!apart(x, x, wide));
}

TEST_CASE("edges: probabilities, caps and divisors") {
  Rng rng(1);
  for (const auto& [p, good] :
       {std::pair{0.0, true}, {0.99, true}, {1.0, false}, {-0.01, false}, {not_a_number, false}})
    CHECK(takes([&, p = p] { dropout(zeros({3}), p, rng); }) == good);
  CHECK(takes([] { soft_cap(zeros({3}), 1e-3); }));
  CHECK(!takes([] { soft_cap(zeros({3}), -1); }));
  CHECK(!takes([] { soft_cap(zeros({3}), not_a_number); }));
  CHECK(takes([] { zeros({3}) / -1.0; }));
}

TEST_CASE("edges: slices, joins and reductions") {
  const auto cuts = [](int axis, int64_t first, int64_t count) {
    return takes([&] { slice(zeros({2, 3}), axis, first, count); });
  };
  CHECK(cuts(1, 0, 3));
  CHECK(cuts(1, 3, 0));
  CHECK(cuts(-1, 2, 1));
  CHECK(!cuts(1, -1, 1));
  CHECK(!cuts(1, 0, -1));
  CHECK(!cuts(1, 1, 3));
  CHECK(!cuts(2, 0, 1));
  CHECK(!cuts(-3, 0, 1));
  CHECK(takes([] { concat({zeros({2, 3})}, 1); }));
  CHECK(takes([] { concat({zeros({2, 3}), zeros({2, 0}), zeros({2, 4})}, -1); }));
  CHECK(!takes([] { concat({zeros({2, 3}), zeros({2, 3, 1})}, 0); }));
  CHECK(!takes([] { concat({zeros({2, 3}), zeros({2, 3}, DType::f64)}, 0); }));
  CHECK(!takes([] { max(zeros({2, 0}), 1); }));
  CHECK(takes([] { max(zeros({0, 2}), 1); }));
  CHECK(!takes([] { mean(zeros({3, 0}), {0}); }));
}

TEST_CASE("edges: keys that a row does not see have no share in logsumexp, and no gradient") {
  const RowsArgs rows{.rows = 2, .cols = 3, .causal_rows = 2, .causal_offset = 0};
  const Tensor x = Tensor::of<double>({2, 3}, {1, 50, 60, 2, 2, 70}), dy = Tensor::full({2}, 1, DType::f64);
  const Tensor y({2}, DType::f64), dx = x.like();
  backend(x.device()).logsumexp(y, x, rows);
  CHECK(relative_error(y, Tensor::of<double>({2}, {1, 2 + std::log(2.0)})) < 1e-15);
  backend(x.device()).logsumexp_grad(dx, x, y, dy, rows, 0);
  CHECK(relative_error(dx, Tensor::of<double>({2, 3}, {1, 0, 0, 0.5, 0.5, 0})) < 1e-15);
}

TEST_CASE("edges: devices as text") {
  CHECK(parse_device("cpu") == Device{});
  CHECK(parse_device("cuda") == Device{Device::Kind::cuda, 0});
  CHECK(parse_device("cuda:0") == Device{Device::Kind::cuda, 0});
  CHECK(parse_device("cuda:17") == Device{Device::Kind::cuda, 17});
  for (const char* text : {"", "abc", "cpu:0", "cuda:", "cuda:x", "cuda:1x", "cuda:100", "cudb", "xcuda:1"})
    CHECK_THROWS_WITH(parse_device(text), doctest::Contains("is not a device; use cpu"));
}

TEST_CASE("edges: as many threads as are asked for, one per core at 0") {
  const int before = threads();
  set_threads(3);
  CHECK(threads() == 3);
  set_threads(0);
  cpu_set_t set;
  REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
  CHECK(threads() >= CPU_COUNT(&set));  // a bound main thread sees fewer cores than the process has
  set_threads(before);
}

TEST_CASE("edges: products") {
  const auto multiplies = [](const Shape& a, const Shape& b) { return takes([&] { matmul(zeros(a), zeros(b)); }); };
  CHECK(multiplies({2, 3}, {3, 1}));
  CHECK(multiplies({5, 2, 3}, {5, 3, 1}));
  CHECK(!multiplies({5, 2, 3}, {1, 3, 1}));
  CHECK(!multiplies({5, 2, 3}, {3, 1}));
  CHECK(!multiplies({3}, {3, 1}));
  CHECK(!multiplies({1, 1, 2, 3}, {1, 1, 3, 1}));
  const Tensor f32 = Tensor::zeros({3, 3}), f64 = Tensor::zeros({3, 3}, DType::f64);
  const auto product = [](const Tensor& c, const Tensor& a, const Tensor& b) {
    return takes([&] { gemm(Matrix(c), Matrix(a), Matrix(b), 1, 0); });
  };
  const Tensor tall = Tensor::zeros({4, 3}), other = Tensor::zeros({3, 3});
  CHECK(product(other, f32, f32));
  CHECK(product(tall, Tensor::zeros({4, 5}), Tensor::zeros({5, 3})));
  CHECK(!product(tall, f32, f32));
  CHECK(!product(tall.reshape({3, 4}), f32, f32));
  CHECK(!product(other, f64, f32));
  CHECK(!product(other, f32, f64));
  CHECK(product(f64, f32, f32));  // a wider result
  CHECK(!product(f32, f64, f64));
  CHECK(takes([&] { gemm_symmetric(Matrix(other), Matrix(f32), Matrix(f32).t(), 1, 0); }));
  CHECK(!takes([&] { gemm_symmetric(Matrix(tall), Matrix(tall), Matrix(f32), 1, 0); }));
}

TEST_CASE("edges: a product of one matrix and a batch is a batch") {
  const Tensor one = normal({2, 3}, DType::f64, 1), many = normal({4, 3, 5}, DType::f64, 2);
  const Matrix left = Matrix(one) * Matrix(many);
  const Matrix right = Matrix(many).t() * Matrix(one).t();
  REQUIRE(left.batch().total() == 4);
  REQUIRE(right.batch().total() == 4);
  for (int64_t i = 0; i < 4; ++i) {
    const Tensor alone = (Matrix(one) * Matrix(many.rows(i, 1).reshape({3, 5}))).tensor();
    CHECK(relative_error(packed(left.at(i)).reshape({2, 5}), alone) < 1e-14);
    CHECK(relative_error(packed(right.at(i).t()).reshape({2, 5}), alone) < 1e-14);
  }
}

TEST_CASE("edges: ids of a long text meet every row of a small table once") {
  // So many that the rows are shared out among threads, an odd number of them a piece.
  const int64_t count = 20000, rows = 41, cols = 32;
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::vector<double> expected(static_cast<size_t>(rows * cols));
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<int32_t>(i * i % static_cast<size_t>(rows));
    for (int64_t c = 0; c < cols; ++c) ++expected[static_cast<size_t>(ids[i] * cols + c)];
  }
  const Var table = Var::leaf(Tensor::zeros({rows, cols}, DType::f64));
  sum(embedding(table, Tensor::of({count}, ids))).backward();
  CHECK(table.grad().to_vector<double>() == expected);
}

TEST_CASE("edges: an order of too many axes is none; a host's bytes go to the CPU and back") {
  CHECK(takes([] { permute(zeros({2, 3}), {1, 0}); }));
  CHECK(!takes([] { permute(zeros({2, 3}), {0, 1, 1}); }));
  CHECK(!takes([] { permute(zeros({2, 3}), {0}); }));
  CHECK(!takes([] { permute(zeros({2, 3}), {}); }));

  const std::vector<double> host{1, 2, 3};
  std::vector<double> back(3);
  const Tensor t = Tensor::zeros({3}, DType::f64);
  backend(Device{}).upload(t.raw(), host.data(), 3 * sizeof(double));
  CHECK(t.to_vector<double>() == host);
  backend(Device{}).download(back.data(), t.raw(), 3 * sizeof(double));
  CHECK(back == host);
}

TEST_CASE("edges: AdamW's numbers and the learning rate") {
  const ParamArena arena(small_model());
  const auto makes = [&](const AdamWOptions& o) { return takes([&] { AdamW(arena, o); }); };
  for (const auto& [beta, good] :
       {std::pair{0.0, true}, {0.999, true}, {1.0, false}, {-0.1, false}, {not_a_number, false}}) {
    CHECK(makes({.beta1 = beta}) == good);
    CHECK(makes({.beta2 = beta}) == good);
  }
  CHECK(makes({.eps = 1e-30}));
  CHECK(!makes({.eps = 0}));
  CHECK(makes({.weight_decay = 0}));
  for (const double bad : {-1e-9, infinity, not_a_number}) CHECK(!makes({.weight_decay = bad}));
  CHECK(takes([] { check_rate("it", 0); }));
  for (const double bad : {-1e-9, infinity, not_a_number}) CHECK(!takes([&] { check_rate("it", bad); }));

  AdamW adamw(arena, {});
  OptimizerState state = adamw.state();
  state.step = 0;
  CHECK(takes([&] { adamw.load_state(state); }));
  state.step = -1;
  CHECK(!takes([&] { adamw.load_state(state); }));
}
