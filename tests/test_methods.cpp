// Every row of spectral_methods() through the whole optimizer: what must hold for each of them.
#include <functional>
#include <map>

#include <doctest/doctest.h>

#include "optim/spectral.h"
#include "tests/compare.h"
#include "tests/near.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

// What U keeps to, on tall [48, 12] and on wide matrices [12, 48].
enum Property : unsigned {
  right_tall = 1,  // U(G Q) = U(G) Q for rotations Q
  right_wide = 2,
  left_tall = 4,  // U(R G) = R U(G)
  left_wide = 8,
  rows_tall = 16,  // U(diag(d) G) = U(G), d > 0
  rows_wide = 32,
  columns_tall = 64,  // U(G diag(d)) = U(G)
  columns_wide = 128,
  size = 256,  // U(G) is not U(2 G)
  right = right_tall | right_wide,
  left = left_tall | left_wide,
  rows = rows_tall | rows_wide,
  columns = columns_tall | columns_wide,
};

// One line per configuration: all that holds, and nothing else does; and how large the entries of
// its first update are, in root mean square, at a learning rate of 1. Per matrix [m, n] with the
// short side d, a polar factor's is √(d/(mn)): 1/√48 here, √max(1, m/n) times as much after the
// usual scale.
struct Line {
  const char* key;
  unsigned holds;
  double rms_tall, rms_wide;
};
const std::vector<Line> lines{
    {"aurora", right | left_wide | rows_tall, .289, .144},
    {"aurora_release", right | left_wide | rows_tall, .289, .144},
    {"aurora_release_2026_05", right_tall | left_wide | rows_tall | columns_wide, .289, .144},
    {"aurora_paper", right | left_wide, .289, .144},
    {"aurora_wide", right_tall | left | columns_wide, .289, .144},
    {"aurora_riemannian", right | left_wide, .289, .144},
    {"aurora_contra", left_wide, .289, .144},
    {"muon", right | left, .289, .144},
    {"muon_simple_quintic", right | left, .289, .144},
    {"muon_polar_express", right | left, .289, .144},
    {"muon_cans", right | left, .289, .144},
    {"turbo_muon", right_wide | left_tall, .289, .144},
    {"spectral_descent", right | left, .289, .144},
    {"moonlight", right | left, .2, .2},
    {"normuon", right, .289, .144},
    {"normuon_paper", right, .2, .2},
    {"normuon_longer", right_tall | left_wide, .289, .144},
    {"u_normuon", right | left_wide, .289, .144},
    {"u_normuon_stateful", right | left_wide, .289, .144},
    {"muoneq_r", right | rows, .2, .2},
    {"muoneq_c", left | columns, .2, .2},
    {"muoneq_rc", 0, .2, .2},
    {"contra_muon", left_wide, .289, .144},
    {"soft_muon", right | left, .289, .144},
    {"adamuon", rows | columns, .2, .2},
    {"rmnp", right | rows, .577, .144},
    {"sron", right | rows, 1, 1},
    {"sinkgd", rows, 1, 1},
    {"swan", rows, .05, .05},
    {"muonh", right | left, 1, 1},
    {"muon_plus", 0, .577, .0722},
    {"muon2", rows | columns, .289, .144},
    {"scale", left | columns, .144, .289},
    {"sgd", right | left | size, 5, 5},
};

// --- two steps of a single matrix --------------------------------------------------------------

using Change = std::function<Tensor(const Tensor&)>;
const Change as_it_is = [](const Tensor& T) { return T.clone(); };

// How large a gradient must be for every eps to be far below it. MuonEq-RC divides by lengths
// twice: the polar factor, which has an eps too, is given something the larger the smaller G is.
double gradient_size(const SpectralConfig& config) { return config.pre == Pre::rows_columns ? 1e-4 : 100; }

// SWAN's rows have mean 0, so (1, …, 1) is a null vector, which CANS-12 would make 6868 times
// larger if rounding did not spare it exactly.
double f32_bound(const SpectralConfig& config) { return config.pre == Pre::standardize ? 4e-4 : 2e-5; }

// W after two steps on two gradients, from W = 0, or from a W with a length where one is needed.
// `change` is made to both gradients, `turn` to W too.
Tensor after_two_steps(const SpectralConfig& config, const Shape& shape, DType dtype, const Change& change = as_it_is,
                       const Change& turn = as_it_is) {
  const Single one(shape, dtype, shape[0] > shape[1] ? Neurons::rows : Neurons::none);
  const Tensor start =
      config.decay == Decay::hyperball ? normal(shape, DType::f64, 3) : Tensor::zeros(shape, DType::f64);
  one.w().copy_from(turn(start));
  Spectral optimizer(one.arena, config);
  for (uint64_t t = 1; t <= 2; ++t) {
    set_gradients(one.list, t);
    const Tensor G = one.list[0].var.grad();
    G.copy_from(turn(change(affine(G.to(DType::f64), gradient_size(config), 0))));
    optimizer.step(0.25);
  }
  return one.w().clone();
}

Tensor negated(const Tensor& T) { return affine(T, -1, 0); }
// Positive factors between 1/e and e, one for each row.
Tensor uneven(const Tensor& T) {
  const Tensor d = Rng(9).uniform({T.size(0)}, -1, 1, DType::f64);
  return scale_rows(unary(UnaryOp::exp, d), T).tensor();
}
// [n, n] for the three sizes; made once each, since it is slow.
const Tensor& rotation(int64_t n) {
  static std::map<int64_t, Tensor> made;
  Tensor& R = made[n];
  if (!R) R = polar(normal({n, n}, DType::f64, 11), Polar::svd).tensor();
  return R;
}
Tensor rotated(const Tensor& T) { return (Matrix(rotation(T.size(0))) * T).tensor(); }
// Row i to place 5 i + 2 (mod their number: 48, 16 or 12).
Tensor shuffled(const Tensor& T) {
  const Tensor to = T.like();
  for (int64_t i = 0; i < T.size(0); ++i) to.rows((5 * i + 2) % T.size(0), 1).copy_from(T.rows(i, 1));
  return to;
}
Change on_columns(const Change& change) {
  return [change](const Tensor& T) { return packed(Matrix(change(packed(Matrix(T).t()))).t()); };
}

const Shape tall{48, 12}, wide{12, 48}, square{16, 16};

// The same without the eps of lengths, for exact equalities.
SpectralConfig without_eps(SpectralConfig config) {
  if (config.pre != Pre::second_moment) config.pre_eps = 0;
  return config;
}

template <class F> void for_each_method(F f) {
  for (const SpectralMethod& row : spectral_methods()) {
    CAPTURE(std::string(row.key));
    f(row);
  }
}

}  // namespace

TEST_CASE("methods: each row has its line here") {
  std::map<std::string, int> rows_of, lines_of;
  for (const SpectralMethod& row : spectral_methods()) ++rows_of[row.key];
  for (const Line& line : lines) ++lines_of[line.key];
  for (const auto& row : rows_of) {
    CAPTURE(row.first);
    CHECK(row.second == 1);
    CHECK(lines_of[row.first] == 1);  // a line in `lines` above
  }
  for (const auto& line : lines_of) {
    CAPTURE(line.first);
    CHECK(rows_of[line.first] == line.second);
  }
}

TEST_CASE("methods: rotations, row and column scales") {
  for (const Line& line : lines) {
    const SpectralConfig config = without_eps(parse_spectral(line.key).config);
    CAPTURE(std::string(line.key));
    for (const DType dtype : floats) {
      for (const Shape& shape : {tall, wide}) {
        CAPTURE(shape);
        const auto is = [&](const char* what, Property on_tall, Property on_wide, const Tensor& W,
                            const Tensor& expected) {
          CAPTURE(std::string(what));
          const bool listed = (line.holds & (shape == tall ? on_tall : on_wide)) != 0;
          const double error = relative_error(W, expected);
          if (dtype == DType::f64)
            CHECK((error < 1e-8) == listed);
          else if (listed)
            CHECK(error < f32_bound(config));
        };
        const auto W = [&](const Change& change, const Change& turn) {
          return after_two_steps(config, shape, dtype, change, turn);
        };
        const auto turned = [&](const Change& turn, const Tensor& T) { return turn(T.to(DType::f64)).to(dtype); };
        const Tensor base = W(as_it_is, as_it_is);
        is("left rotation", left_tall, left_wide, W(as_it_is, rotated), turned(rotated, base));
        is("right rotation", right_tall, right_wide, W(as_it_is, on_columns(rotated)),
           turned(on_columns(rotated), base));
        is("row scales", rows_tall, rows_wide, W(uneven, as_it_is), base);
        is("column scales", columns_tall, columns_wide, W(on_columns(uneven), as_it_is), base);
      }
    }
  }
}

TEST_CASE("methods: sign, size and order") {
  for (const Line& line : lines) {
    const SpectralConfig config = without_eps(parse_spectral(line.key).config);
    CAPTURE(std::string(line.key));
    for (const DType dtype : floats) {
      const double bound = dtype == DType::f64 ? 1e-8 : f32_bound(config);
      for (const Shape& shape : {tall, wide, square}) {
        CAPTURE(shape);
        const auto W = [&](const Change& change, const Change& turn) {
          return after_two_steps(config, shape, dtype, change, turn);
        };
        const Tensor base = W(as_it_is, as_it_is);
        CHECK(same_bytes(affine(W(as_it_is, negated), -1, 0), base));
        const Tensor larger = W([](const Tensor& G) { return affine(G, 30, 0); }, as_it_is);
        if (line.holds & size)
          CHECK(relative_error(larger, affine(base, 30, 0)) < bound);
        else
          CHECK(relative_error(larger, base) < bound);
        CHECK(relative_error(W(as_it_is, shuffled), shuffled(base)) < bound);
        CHECK(relative_error(W(as_it_is, on_columns(shuffled)), on_columns(shuffled)(base)) < bound);
      }
    }
  }
}

// Within 20 %: after five quintic steps singular values are 0.68 … 1.14.
TEST_CASE("methods: how large updates are") {
  for (const Line& line : lines) {
    const SpectralConfig config = parse_spectral(line.key).config;
    CAPTURE(std::string(line.key));
    for (const Shape& shape : {tall, wide}) {
      CAPTURE(shape);
      const Single one(shape, DType::f64);
      if (config.decay != Decay::hyperball) one.w().fill(0);  // then no decay is in the update
      const Tensor before = one.w().clone();
      Spectral optimizer(one.arena, config);
      set_gradients(one.list, 1);
      const Tensor G = one.list[0].var.grad();
      G.copy_from(affine(G, gradient_size(config), 0));
      optimizer.step(1e-3);
      axpby(before, 1, one.w(), -1);
      const double rms = std::sqrt(dot(before, before) / static_cast<double>(before.numel())) / 1e-3;
      CHECK(rms == near(shape == tall ? line.rms_tall : line.rms_wide).epsilon(0.2));
    }
  }
}

// Where every gradient is the same, so is every U, and averaged row lengths are its own.
TEST_CASE("methods: averaging changes nothing where nothing changes") {
  const auto after = [](const char* key, int steps) {
    const Single one(tall, DType::f64);
    one.w().fill(0);
    SpectralConfig config = parse_spectral(key).config;
    config.weight_decay = 0;
    Spectral optimizer(one.arena, config);
    for (int t = 0; t < steps; ++t) {
      set_gradients(one.list, 1);
      optimizer.step(0.1);
    }
    return one.w().clone();
  };
  for (const int steps : {1, 2, 5}) {
    CHECK(relative_error(after("u_normuon_stateful", steps), after("u_normuon", steps)) < 1e-6);
    CHECK(relative_error(after("normuon", steps), after("normuon,beta2=0", steps)) < 1e-6);
    CHECK(relative_error(after("adamuon", steps), after("adamuon,beta2=0", steps)) < 1e-6);
  }
}

TEST_CASE("methods: f32 is f64 up to rounding") {
  for_each_method([](const SpectralMethod& row) {
    for (const Shape& shape : {tall, wide, square}) {
      CAPTURE(shape);
      CHECK(relative_error(after_two_steps(row.config, shape, DType::f32),
                           after_two_steps(row.config, shape, DType::f64)) < f32_bound(row.config));
    }
  });
}

TEST_CASE("methods: both momenta go the same way") {
  for_each_method([](const SpectralMethod& row) {
    if (row.config.momentum == Momentum::none || std::string(row.key) == "sgd") return;
    for (const Shape& shape : {tall, wide, square}) {
      CAPTURE(shape);
      SpectralConfig ema = without_eps(row.config), sum = ema;
      ema.momentum = Momentum::ema;
      sum.momentum = Momentum::sum;
      CHECK(relative_error(after_two_steps(ema, shape, DType::f64), after_two_steps(sum, shape, DType::f64)) < 1e-8);
    }
  });
}

TEST_CASE("methods: what is not balanced is Muon, to the bit") {
  for_each_method([](const SpectralMethod& row) {
    SpectralConfig plain = row.config;
    plain.direction.balance = Balance::none;
    const Where where = row.config.where;
    for (const DType dtype : floats) {
      for (const Shape& shape : {tall, wide, square}) {
        CAPTURE(shape);
        const bool balanced = row.config.direction.balance != Balance::none && shape[0] != shape[1] &&
                              (where == Where::nonsquare || (where == Where::wide) == (shape[0] < shape[1]));
        const Tensor W = after_two_steps(row.config, shape, dtype), U = after_two_steps(plain, shape, dtype);
        CHECK(same_bytes(W, U) == !balanced);
        const auto cv = [&](const Tensor& T) { return row_cv(shape[0] > shape[1] ? Matrix(T) : Matrix(T).t()); };
        if (balanced) CHECK(cv(W) < 0.8 * cv(U));
      }
    }
  });
}

TEST_CASE("methods: zero moves nothing, and a zero row stays zero") {
  for_each_method([](const SpectralMethod& row) {
    for (const DType dtype : floats) {
      for (const Shape& shape : {tall, wide, square}) {
        CAPTURE(shape);
        const Tensor zero = Tensor::zeros(shape, dtype);
        const Change to_zero = [](const Tensor& T) { return affine(T, 0, 0); };
        const Tensor still = after_two_steps(row.config, shape, dtype, to_zero);
        if (row.config.decay == Decay::hyperball)
          CHECK(relative_error(still, normal(shape, DType::f64, 3)) < 1e-6);
        else
          CHECK(relative_error(still, zero) == 0);

        const Change without_rows = [](const Tensor& T) {
          const Tensor out = T.clone();
          out.rows(3, 2).fill(0);
          return out;
        };
        const Tensor W = after_two_steps(row.config, shape, dtype, as_it_is, without_rows);
        REQUIRE(all_finite(W));
        CHECK(relative_error(W.rows(3, 2), zero.rows(3, 2)) == 0);
        for (const double square_sum : row_sum_squares(W.rows(0, 3)).to_vector<double>()) CHECK(square_sum > 0);
      }
    }
  });
}

TEST_CASE("methods: a step goes downhill") {
  for_each_method([](const SpectralMethod& row) {
    for (const DType dtype : floats) {
      for (const Shape& shape : {tall, wide, square}) {
        CAPTURE(shape);
        const Tensor thin = (Matrix(normal({shape[0], 1}, dtype)) * normal({1, shape[1]}, dtype, 2))
                                .tensor();  // a singular value of ‖G‖_F, where some tables end
        for (const Tensor& G : {normal(shape, dtype), thin, affine(thin, 1e-3, 0)}) {
          const Single one(shape, dtype);
          const Tensor before = one.w().clone();
          SpectralConfig config = row.config;
          config.weight_decay = 0;
          Spectral optimizer(one.arena, config);
          set_gradients(one.list, 1);
          one.list[0].var.set_grad(G);
          optimizer.step(0.01);
          CHECK(dot(one.w(), G) < dot(before, G));
        }
      }
    }
  });
}

TEST_CASE("methods: the state is as large as the table says") {
  for_each_method([](const SpectralMethod& row) {
    for (const Shape& shape : {tall, wide, square}) {
      CAPTURE(shape);
      const Single one(shape, DType::f32);
      int64_t numbers = 0;
      const OptimizerState state = Spectral(one.arena, row.config).state();
      for (const auto& [key, tensor] : state.tensors) numbers += tensor.numel();
      CHECK(static_cast<double>(numbers) ==
            near(static_cast<double>(shape.numel()) * state_per_weight(row.config, shape[0], shape[1])).epsilon(1e-9));
    }
  });
}

// Least squares: the loss ½ Σ ‖W − target‖² of two layers' matrices, at the default learning rate,
// falling to 0 over 100 steps. The targets lie as far away as 100 small steps reach.
