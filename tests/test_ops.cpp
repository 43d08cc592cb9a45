// The op table at work: gradients, precision, devices, threads.
#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <unordered_set>

#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "engine/parallel.h"
#include "tests/compare.h"
#include "tests/near.h"
#include "tests/op_outcome.h"

using namespace borealis;

namespace {

void check_close(const OpOutcome& a, const OpOutcome& b, double bound) {
  const std::vector<Tensor> got = a.all(), expected = b.all();
  for (size_t i = 0; i < got.size(); ++i) {
    INFO((i == 0 ? std::string("output") : "gradient " + std::to_string(i - 1)));
    CHECK(relative_error(got[i], expected[i]) <= bound);
  }
}

std::string source(const std::string& path) {
  std::ifstream in(std::string(BOREALIS_SOURCE) + "/" + path);
  REQUIRE(in);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// How often each first group of the pattern occurs.
std::map<std::string, int> found(const std::string& text, const std::string& pattern) {
  std::map<std::string, int> out;
  const std::regex re(pattern);
  for (std::sregex_iterator i(text.begin(), text.end(), re), end; i != end; ++i) ++out[(*i)[1]];
  return out;
}

// The names of the ops recorded in the graph that made y.
std::set<std::string> recorded(const Var& y) {
  std::set<std::string> names;
  std::vector<const Node*> open{y.node()};
  std::unordered_set<const Node*> seen;
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    names.insert(node->op);
    for (const auto& input : node->inputs) open.push_back(input.get());
  }
  return names;
}

}  // namespace

TEST_CASE("op table: every op has a row") {
  const std::map<std::string, int> declared =
      found(source("autograd/ops.h"), R"((?:^|\n)(?:inline )?(?:Var|Normed) (operator[-+*/]|\w+)\()");
  REQUIRE(declared.size() > 30);

  std::map<std::string, int> rows;
  std::set<std::string> reached;
  for (const OpCase& row : op_cases()) {
    INFO(title(row));
    ++rows[row.op];
    CHECK(declared.count(row.op) == 1);
    std::vector<Var> leaves;
    for (const Tensor& x : make_inputs(row, DType::f32)) leaves.push_back(Var::leaf(x));
    reached.merge(recorded(row.f(leaves)));
  }
  for (const auto& op : declared) {
    INFO(op.first, " has ", op.second, " overloads and ", rows[op.first], " rows");
    CHECK(rows[op.first] >= op.second);
  }

  std::set<std::string> timed;
  for (const TimedCase& row : timed_cases()) CHECK(timed.insert(row.op + ' ' + row.what).second);
  for (const auto& op : declared) {
    INFO(op.first, " is timed by no row");
    CHECK(std::any_of(timed.begin(), timed.end(), [&](const auto& row) { return row.starts_with(op.first + ' '); }));
  }

  // Each name that the sources record, e.g. record("matmul", …) or unary_op<Exp>("exp", …).
  for (const char* family : {"pointwise", "matmul", "shape", "reduce", "norm", "embedding", "attention"})
    for (const auto& name :
         found(source(std::string("autograd/ops_") + family + ".cpp"), R"((?:record|_op(?:<\w+>)?)\(\s*"(\w+)\")")) {
      INFO(name.first, " of ops_", family, ".cpp is recorded by no row");
      CHECK(reached.count(name.first) == 1);
    }
}

TEST_CASE("op table: gradients agree with differences in f64") {
  for (const OpCase& row : op_cases()) {
    const GradcheckResult result = gradcheck(row.f, make_inputs(row, DType::f64));
    INFO(title(row), ": ", result.worst);
    CHECK(result.error <= 1e-6);
  }
}

TEST_CASE("op table: an input that alone wants a gradient gets the one it gets among all") {
  for (const OpCase& row : op_cases()) {
    if (row.inputs.size() < 2) continue;
    const OpOutcome together = run_op(row, DType::f64);
    const std::vector<Tensor> inputs = make_inputs(row, DType::f64);
    for (size_t i = 0; i < inputs.size(); ++i) {
      INFO(title(row), ", input ", i);
      std::vector<Var> alone;
      for (size_t k = 0; k < inputs.size(); ++k) alone.push_back(k == i ? Var::leaf(inputs[k]) : Var(inputs[k]));
      weighted(row.f(alone)).backward();
      CHECK(relative_error(alone[i].grad(), together.leaves[i].grad()) <= 1e-14);
    }
  }
}

TEST_CASE("op table: f32 agrees with f64") {
  for (const OpCase& row : op_cases()) {
    INFO(title(row));
    check_close(run_op(row, DType::f32), run_op(row, DType::f64), 2e-5);
  }
}

TEST_CASE("op table: gradients add up, and a new generation reads no old numbers") {
  for (const OpCase& row : op_cases()) {
    INFO(title(row));
    const OpOutcome now = run_op(row, DType::f64);
    std::vector<Tensor> first;
    for (const Var& x : now.leaves) {
      first.push_back(x.grad().clone());
      x.grad().fill(std::numeric_limits<double>::quiet_NaN());
      x.zero_grad();
    }
    weighted(row.f(now.leaves)).backward();
    for (size_t i = 0; i < first.size(); ++i) CHECK(same_bytes(now.leaves[i].grad(), first[i]));

    weighted(row.f(now.leaves)).backward();
    for (size_t i = 0; i < first.size(); ++i)
      CHECK(relative_error(now.leaves[i].grad(), affine(first[i], 2, 0)) <= 1e-13);
  }
}

TEST_CASE("op table: the same bytes for any number of threads") {
  const int before = threads();
  for (const OpCase& row : op_cases()) {
    INFO(title(row));
    if (std::none_of(row.inputs.begin(), row.inputs.end(), [](const OpInput& x) { return x.shape.numel() > 2000; }))
      continue;  // one piece of work anyhow
    set_threads(1);
    const std::vector<Tensor> alone = run_op(row, DType::f32).all();
    for (const int count : {2, 3, 8}) {
      set_threads(count);
      const std::vector<Tensor> together = run_op(row, DType::f32).all();
      for (size_t i = 0; i < alone.size(); ++i) CHECK(same_bytes(together[i], alone[i]));
    }
  }
  set_threads(before);
}

TEST_CASE("op table: every further device agrees with the CPU") {
  if (available_devices().size() == 1) MESSAGE("skipped: no further device in this build or machine");
  for (const Device device : available_devices()) {
    if (device == Device{}) continue;
    for (const OpCase& row : op_cases()) {
      INFO(title(row), " on cuda:", device.index);
      check_close(run_op(row, DType::f32, device), run_op(row, DType::f32), 2e-5);
      if (BOREALIS_CHECKED) check_close(run_op(row, DType::f64, device), run_op(row, DType::f64), 1e-12);
    }
  }
}

// Ops let the last query see every key; a backend may be asked for less, and also for a part of what was there.
TEST_CASE("attention: keys that no query sees give nothing and get no gradient") {
  Rng rng(5);
  const int64_t Tq = 3, Tk = 9, H = 2, dim = 4;
  const auto make = [&](int64_t T) { return rng.normal({2, T, H * dim}, 1, DType::f64); };
  const auto view = [&](const Tensor& t) { return heads(t, 0, H, dim); };
  const Tensor q = make(Tq), k = make(Tk), v = make(Tk), dy = make(Tq);
  for (const int64_t offset : {int64_t{0}, int64_t{2}, Tk - Tq}) {
    const AttentionArgs args{.scale = 0.5, .offset = offset};
    const auto all = [&](bool composed) {
      Backend& on = backend(Device{});
      const Tensor y = q.like(), lse({2, H, Tq}, DType::f64), dq = q.clone(), dk = k.clone(), dv = v.clone();
      if (composed) {
        on.Backend::attention(view(y), lse, view(q), view(k), view(v), args);
        on.Backend::attention_grad(view(dq), view(dk), view(dv), 0.5, view(q), view(k), view(v), view(y), view(dy), lse,
                                   args);
      } else {
        on.attention(view(y), lse, view(q), view(k), view(v), args);
        on.attention_grad(view(dq), view(dk), view(dv), 0.5, view(q), view(k), view(v), view(y), view(dy), lse, args);
      }
      return std::vector{y, lse, dq, dk, dv};
    };
    const std::vector<Tensor> fused = all(false), composed = all(true);
    for (size_t i = 0; i < fused.size(); ++i) {
      CAPTURE(offset);
      CAPTURE(i);
      CHECK(relative_error(fused[i], composed[i]) <= 1e-13);
    }
  }
}

TEST_CASE("embedding: half of what was there, and each row's gradients") {
  for (const double beta : {0.5, -0.5}) {
    const Tensor table = Tensor::of<double>({3, 1}, {8, 16, 32}), dy = Tensor::of<double>({4, 1}, {1, 2, 3, 4});
    backend(Device{}).embedding_grad(table, Tensor::of<int32_t>({4}, {2, 0, 2, 0}), dy, 1, beta);
    CHECK(table.to_vector<double>() == std::vector<double>{8 * beta + 6, 16 * beta, 32 * beta + 4});
  }
}

TEST_CASE("attention: packed and separate inputs agree") {
  Rng rng(5);
  const int64_t B = 2, T = 9, C = 12;
  const Var qkv = Var::leaf(rng.normal({B, T, 3 * C}, 1, DType::f64));
  const Var packed = causal_attention(qkv, 3);
  weighted(packed).backward();
  const Tensor g = qkv.grad().clone();
  qkv.zero_grad();
  const Var apart = causal_attention(slice(qkv, 2, 0, C), slice(qkv, 2, C, C), slice(qkv, 2, 2 * C, C), 3);
  weighted(apart).backward();
  CHECK(relative_error(packed.value(), apart.value()) <= 1e-14);
  CHECK(relative_error(qkv.grad(), g) <= 1e-14);
}

TEST_CASE("attention: the last queries over all keys are the tail of the whole") {
  Rng rng(5);
  const Tensor q = rng.normal({2, 7, 8}, 1, DType::f64), k = rng.normal({2, 7, 8}, 1, DType::f64),
               v = rng.normal({2, 7, 8}, 1, DType::f64);
  const Var whole = slice(causal_attention(Var(q), Var(k), Var(v), 2), 1, 4, 3);
  const Var tail = causal_attention(slice(Var(q), 1, 4, 3), Var(k), Var(v), 2);
  CHECK(relative_error(tail.value(), whole.value()) <= 1e-14);
}

TEST_CASE("rows of one number: softmax is 1, log-softmax 0, with no gradient") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Rng rng(1);
    const Var x = Var::leaf(rng.normal({3, 1}, 1, dtype));
    CHECK(softmax(x).value().to_vector<double>() == std::vector<double>{1, 1, 1});
    CHECK(log_softmax(x).value().to_vector<double>() == std::vector<double>{0, 0, 0});
    weighted(softmax(x)).backward();
    CHECK(x.grad().to_vector<double>() == std::vector<double>{0, 0, 0});
  }
}

TEST_CASE("cross entropy: rows that do not count have no gradient, and none left gives none") {
  const Var z = Var::leaf(Tensor::of<double>({2, 3}, {1, 2, 3, 4, 5, 6}));
  cross_entropy(z, Tensor::of<int32_t>({2}, {-1, 1})).backward();
  const std::vector<double> g = z.grad().to_vector<double>();
  CHECK(g[0] == 0);
  CHECK(g[1] == 0);
  CHECK(g[2] == 0);
  CHECK(g[4] == near(std::exp(5.) / (std::exp(4.) + std::exp(5.) + std::exp(6.)) - 1));

  const Var none = Var::leaf(Tensor::of<double>({2, 3}, {1, 2, 3, 4, 5, 6}));
  const Var loss = cross_entropy(none, Tensor::of<int32_t>({2}, {-1, -1}));
  CHECK(loss.item() == 0);
  loss.backward();
  CHECK(none.grad().to_vector<double>() == std::vector<double>(6, 0.0));
}

TEST_CASE("softmax and log-softmax: numbers far apart give no NaN") {
  const Var x(Tensor::of<float>({3}, {-1e30f, 0, 1e30f}));
  CHECK(softmax(x).value().to_vector<double>() == std::vector<double>{0, 0, 1});
  CHECK(logsumexp(x).item() == near(1e30));
}

TEST_CASE("dropout: a generator that follows a step's record draws what one set to that step does") {
  for (const Device device : available_devices()) {
    const Tensor record = Tensor::of<double>({3}, {0, 0, 1}).to(device);
    const Var x = Var::leaf(Rng(2).normal({2, 5, 12}, 1).to(device));
    for (const double step : {0, 1, 7}) {
      record.rows(1, 1).fill(step);
      std::vector<OpOutcome> outcomes;
      for (const bool follows : {true, false}) {
        Rng rng(3, follows ? 0 : static_cast<uint32_t>(step));
        if (follows) rng.follow(record);
        x.zero_grad();
        const Var packed = causal_attention(x, 2, {.dropout = 0.5, .rng = &rng}),
                  apart = causal_attention(packed, packed, packed, 2, {.dropout = 0.5, .rng = &rng}),
                  y = dropout(apart, 0.5, rng);
        weighted(y).backward();
        outcomes.push_back({y.value(), {Var(x.grad().clone())}});
      }
      for (size_t i = 0; i < 2; ++i) {
        const auto got = i == 0 ? outcomes[0].y : outcomes[0].leaves[0].value(),
                   expected = i == 0 ? outcomes[1].y : outcomes[1].leaves[0].value();
        CHECK(got.to_vector<float>() == expected.to_vector<float>());
      }
    }
  }
  if (available_devices().size() == 1) return;
  Rng rng(1);
  rng.follow(Tensor::zeros({3}, DType::f64, available_devices()[1]));
  CHECK_THROWS_WITH(dropout(Tensor::zeros({2}), 0.5, rng),
                    "dropout: its numbers are on cpu, but the record that its generator follows is on cuda:0");
}

TEST_CASE("dropout: p of the numbers go, the rest grows, the mean stays") {
  Rng rng(9);
  const Var y = dropout(Var(Tensor::full({100000}, 1)), 0.2, rng);
  int64_t zeros = 0;
  for (const double v : y.value().to_vector<double>()) {
    zeros += v == 0;
    CHECK((v == 0 || v == near(1.25)));
  }
  CHECK(static_cast<double>(zeros) == near(20000).epsilon(0.03));
}
