// Muon and Aurora as optimizers: the whole pipeline.
#include <limits>

#include <doctest/doctest.h>

#include "optim/spectral.h"
#include "tests/compare.h"
#include "tests/near.h"
#include "tests/small_model.h"

using namespace borealis;

namespace {

constexpr std::array floats{DType::f32, DType::f64};

// W after one step of lr 1 from W = 0 is −(scale·U): here its negative.
Tensor first_update(SpectralConfig config, const Shape& shape, DType dtype, Neurons neurons = Neurons::none) {
  const Single one(shape, dtype, neurons);
  one.w().fill(0);
  set_gradients(one.list, 1);
  Spectral(one.arena, std::move(config)).step(1);
  return affine(one.w(), -1, 0);
}

SpectralConfig aurora_where(Where where, Balance balance = Balance::leverage) {
  SpectralConfig config = released_aurora();
  config.where = where;
  config.direction.balance = balance;
  return config;
}

SpectralConfig plain(Polar method = Polar::cans12) {
  SpectralConfig config = muon();
  config.direction.polar = method;
  return config;
}

// Collects the reports of an optimizer's steps.
struct Watch {
  std::vector<UpdateReport> reports;
  explicit Watch(Spectral& optimizer) {
    optimizer.observe([this](const Update& update) {
      for (UpdateReport& r : report(update)) reports.push_back(std::move(r));
    });
  }
  Watch(const Watch&) = delete;
};

}  // namespace

TEST_CASE("spectral: momentum, scale and decay, number by number") {
  for (const bool nesterov : {true, false}) {
    const Single one({30, 10}, DType::f64);
    SpectralConfig config = plain(Polar::svd);
    config.mu = .9;
    config.nesterov = nesterov;
    config.weight_decay = .2;
    Spectral optimizer(one.arena, config);
    const Tensor W = one.w().clone(), M = Tensor::zeros({30, 10}, DType::f64);
    for (uint64_t t = 1; t <= 3; ++t) {
      set_gradients(one.list, t);
      optimizer.step(.05);
      const Tensor G = one.list[0].var.grad();
      axpby(M, .1, G, .9);
      const Tensor X = affine(M, nesterov ? .9 : 1, 0);
      if (nesterov) axpby(X, .1, G, 1);
      axpby(W, -.05 * std::sqrt(3.0), polar(X, Polar::svd).tensor(), 1 - .05 * .2);
      CHECK(relative_error(one.w(), W) < 1e-12);
    }
  }
}

TEST_CASE("spectral: Aurora is Muon where nothing is to balance, to the bit") {
  for (const DType dtype : floats) {
    for (const Balance balance : {Balance::published, Balance::leverage}) {
      for (const Shape shape : {Shape{24, 24}, Shape{12, 48}, Shape{1, 9}})
        CHECK(same_bytes(first_update(aurora_where(Where::tall, balance), shape, dtype),
                         first_update(plain(), shape, dtype)));
      for (const Shape shape : {Shape{24, 24}, Shape{48, 12}})
        CHECK(same_bytes(first_update(aurora_where(Where::wide, balance), shape, dtype),
                         first_update(plain(), shape, dtype)));
      for (const Where where : {Where::nonsquare, Where::up_gate})
        CHECK(same_bytes(first_update(aurora_where(where, balance), {24, 24}, dtype, Neurons::rows),
                         first_update(plain(), {24, 24}, dtype)));
    }
  }
}

TEST_CASE("spectral: `where` chooses what is balanced") {
  const auto update = [](Where where, const Shape& shape, Neurons neurons = Neurons::none) {
    return first_update(aurora_where(where), shape, DType::f64, neurons);
  };
  const Tensor tall = update(Where::tall, {48, 12});
  CHECK(row_cv(tall) < .3 * row_cv(first_update(plain(), {48, 12}, DType::f64)));
  CHECK(same_bytes(update(Where::nonsquare, {48, 12}), tall));
  CHECK(same_bytes(update(Where::up_gate, {48, 12}, Neurons::rows), tall));
  CHECK(same_bytes(update(Where::up_gate, {48, 12}), first_update(plain(), {48, 12}, DType::f64)));

  const Tensor wide = update(Where::wide, {12, 48});  // its columns come out even
  CHECK(row_cv(Matrix(wide).t()) < .3 * row_cv(Matrix(first_update(plain(), {12, 48}, DType::f64)).t()));
  CHECK(same_bytes(update(Where::nonsquare, {12, 48}), wide));
  CHECK(same_bytes(update(Where::up_gate, {12, 48}, Neurons::cols), first_update(plain(), {12, 48}, DType::f64)));
}

TEST_CASE("spectral: every neuron moves by the learning rate") {
  for (const Shape shape : {Shape{48, 12}, Shape{24, 24}, Shape{12, 48}}) {
    SpectralConfig config = released_aurora();
    config.direction.polar = Polar::svd;
    config.direction.pp_iterations = 30;
    for (const double square : row_sum_squares(first_update(config, shape, DType::f64)).to_vector<double>())
      CHECK(square == near(1).epsilon(1e-6));
  }
}

TEST_CASE("spectral: blocks and neighbours are matrices of their own") {
  for (const DType dtype : floats) {
    const ParamList list = small_model(dtype);
    const ParamArena arena(list);
    Spectral optimizer(arena, released_aurora());
    const std::vector<Tensor> before = values(list);
    set_gradients(list, 1);
    optimizer.step(.5);
    for (size_t i = 0; i < list.size(); ++i) {
      const Parameter& p = list[i];
      if (!is_hidden_matrix(p)) {
        CHECK(same_bytes(p.var.value(), before[i]));
        continue;
      }
      const int64_t rows = p.var.shape()[0] / p.blocks, cols = p.var.shape()[1];
      for (int64_t b = 0; b < p.blocks; ++b) {
        const Tensor G = affine(p.var.grad().rows(b * rows, rows), .05 + .95 * .05, 0);
        const Matrix U = rows > cols ? aurora_direction(G) : polar(G, Polar::cans12);
        const Tensor W = before[i].rows(b * rows, rows).clone();
        axpby(W, -.5 * std::sqrt(std::max(1.0, double(rows) / double(cols))), U.tensor(), 1 - .5 * .025);
        CHECK(relative_error(p.var.value().rows(b * rows, rows), W) < (dtype == DType::f64 ? 1e-10 : 2e-5));
      }
    }
  }
}

TEST_CASE("spectral: a momentum of zero moves nothing") {
  for (const SpectralConfig& config : {muon(), released_aurora(), aurora_where(Where::nonsquare)}) {
    const ParamList list = small_model();
    const ParamArena arena(list);
    Spectral optimizer(arena, config);
    const Watch watch(optimizer);
    const Tensor before = arena.values().clone();
    optimizer.step(0);
    CHECK(same_bytes(arena.values(), before));
    CHECK(watch.reports.size() == 12);
    for (const UpdateReport& r : watch.reports) {
      CHECK(r.row_norm_cv == 0);
      CHECK(r.polar_error == 1);
    }
  }
}

TEST_CASE("spectral: measures its updates when asked") {
  ParamList list = small_model(DType::f64);
  for (Parameter& p : list)
    if (p.name == "h.1.qkv") p.block_names = {"q", "k", "v"};
  const ParamArena arena(list);
  Spectral optimizer(arena, plain(Polar::quintic5));
  set_gradients(list, 1);
  optimizer.step(.1);

  const Watch watch(optimizer);
  const Tensor before = find(list, "h.0.up").var.value().clone();
  optimizer.step(.1);
  std::vector<std::string> names;
  for (const UpdateReport& r : watch.reports) names.push_back(r.name);
  CHECK(names == std::vector<std::string>{"h.0.out", "h.0.qkv[0]", "h.0.qkv[1]", "h.0.qkv[2]", "h.1.out", "q", "k", "v",
                                          "h.0.down", "h.1.down", "h.0.up", "h.1.up"});
  // U = (W (1 − lr·decay) − W')/(lr·scale)
  const Tensor U = find(list, "h.0.up").var.value().clone();
  axpby(U, (1 - .1 * .025) / .2, before, -1 / .2);
  const UpdateReport& up = watch.reports[10];
  CHECK(up.row_norm_cv == near(row_cv(U)).epsilon(1e-6));
  CHECK(up.polar_error == near(polar_error(U)).epsilon(1e-6));

  // Nobody watches any more.
  optimizer.observe({});
  optimizer.step(.1);
  CHECK(watch.reports.size() == 12);
}

// Two blocks each of a tall and of a wide matrix; figures by their definitions, one matrix at a time.
TEST_CASE("report: leverage, alignment and effective rank of each block, tall and wide") {
  for (const Shape& shape : {Shape{2, 12, 5}, Shape{2, 5, 12}})
    for (const Polar method : {Polar::svd, Polar::soft12}) {
      const Var w = Var::leaf(Tensor::zeros({2 * shape[1], shape[2]}, DType::f64));
      Update update{.places = {{.param = {.name = "w", .var = w, .blocks = 2}}},
                    .X = Rng(1).normal(shape, 1, DType::f64),
                    .before = Rng(2).normal(shape, 1, DType::f64),
                    .after = Tensor::zeros(shape, DType::f64)};
      update.U = update.step = polar(update.X, method).tensor();
      // W of rank 1 in block 0, and with three equal singular values in block 1.
      update.after.data<double>()[0] = 7;
      for (int64_t i = 0; i < 3; ++i) update.after.data<double>()[shape[1] * shape[2] + i * (shape[2] + 1)] = 2;
      const std::vector<UpdateReport> reports = report(update);
      REQUIRE(reports.size() == 2);
      CHECK(reports[0].effective_rank == near(1).epsilon(1e-9));
      CHECK(reports[1].effective_rank == near(3).epsilon(1e-9));
      for (int64_t b = 0; b < 2; ++b) {
        const UpdateReport& r = reports[static_cast<size_t>(b)];
        CAPTURE(b);
        const Matrix U = update.U.rows(b, 1), tall = shape[1] < shape[2] ? U.t() : U;
        const std::vector<double> squares = row_sum_squares(tall).to_vector<double>();
        REQUIRE(r.leverage.size() == 12);
        double sum = 0;
        for (const double square : squares) sum += square;
        for (size_t i = 0; i < 12; ++i) CHECK(r.leverage[i] == near(squares[i] / sum * 12).epsilon(1e-9));
        if (method == Polar::svd) {
          CHECK(r.alignment == near(1).epsilon(1e-5));
          CHECK(r.polar_error < 1e-12);
        } else {
          CHECK(r.alignment < 0.98);
          CHECK(r.polar_error > 0.05);
        }
      }
      CHECK(std::abs(reports[0].leverage[0] - reports[1].leverage[0]) > 1e-3);
    }
}

TEST_CASE("spectral: the reported update is as long as what moves, whatever sets its scale") {
  for (const std::string settings : {"muon,weight_decay=0", "muon,weight_decay=0,scale=none,decay=hyperball",
                                     "muon,weight_decay=0,scale=match_rms,alpha=0.5"}) {
    CAPTURE(settings);
    Single one({40, 10}, DType::f64);
    Spectral optimizer(one.arena, parse_spectral(settings).config);
    const Watch watch(optimizer);
    set_gradients(one.list, 1);
    const Tensor before = one.w().clone(), moved = one.w().clone();
    optimizer.step(1e-4);
    axpby(moved, 1, one.w(), -1);
    const double ratio = std::sqrt(frobenius_squares(moved).item() / frobenius_squares(before).item());
    REQUIRE(watch.reports.size() == 1);
    // hyperball takes back what lay along W: of 400 numbers at random, 0.2 % of the length.
    CHECK(watch.reports[0].update_to_weight == near(ratio).epsilon(settings.ends_with("hyperball") ? 5e-3 : 1e-6));
  }
}

TEST_CASE("spectral: bad settings") {
  const ParamArena arena(small_model());
  const auto broken = [&](auto change) {
    SpectralConfig config = released_aurora();
    change(config);
    Spectral(arena, config);
  };
  CHECK_THROWS_WITH(broken([](SpectralConfig& c) { c.mu = 1; }), "Aurora: mu is 1, but must lie between 0 and 1");
  CHECK_THROWS_WITH(broken([](SpectralConfig& c) { c.direction.pp_iterations = 0; }),
                    "Aurora: pp_iterations is 0, but must lie from 1 to 100");
  CHECK_THROWS_WITH(broken([](SpectralConfig& c) { c.direction.pp_beta = 0; }),
                    "Aurora: pp_beta is 0, but must be a number above 0");
  CHECK_THROWS_WITH(broken([](SpectralConfig& c) { c.weight_decay = std::numeric_limits<double>::quiet_NaN(); }),
                    "Aurora: the weight decay is nan, but it must be a number of at least 0");
  Spectral optimizer(arena, muon());
  CHECK_THROWS_WITH(optimizer.step(-1), "Muon: the learning rate is -1, but it must be a number of at least 0");

  const ParamArena vectors({parameter("block0.norm1", {384}, Role::vector, DType::f32)});
  CHECK_THROWS_WITH(Spectral(vectors, released_aurora(), is_any),
                    "Aurora: block0.norm1 is [384], but Aurora steps matrices only");
  CHECK_THROWS_WITH(Spectral(vectors, released_aurora()), "Aurora: there is no hidden matrix among the parameters");
}
