// The settings of a spectral optimizer as text, and what is refused.
#include <limits>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "optim/spectral_methods.h"
#include "tests/near.h"

using namespace borealis;

namespace {

// Every setting that can be spelled out, as numbers.
std::vector<double> numbers(const SpectralConfig& c) {
  std::vector<double> all_of_them;
  for_each_stage(c, [&](const char*, auto field) { all_of_them.push_back(static_cast<double>(field)); });
  return all_of_them;
}

// Every stage off. What no momentum leaves without meaning is not in the text, so it is put here.
std::string nothing(bool nesterov) {
  return std::string("sgd,momentum=none,nesterov=") + (nesterov ? "true" : "false");
}

}  // namespace

TEST_CASE(
    "spectral settings: every row has a key and a name of its own, a source, and a rate of the "
    "usual size") {
  std::set<std::string> keys, names;
  for (const SpectralMethod& row : spectral_methods()) {
    CAPTURE(row.key);
    CHECK(keys.insert(row.key).second);
    CHECK(names.insert(row.config.name).second);
    CHECK(std::string(row.key).size() > 2);
    CHECK(row.config.name.size() > 2);
    CHECK(std::string(row.source).size() > 9);
  }
}

// Who names an optimizer, and who goes on from its checkpoint, depends on all of it, so none of it
// changes unseen.
TEST_CASE("spectral settings: every row's rate and stages, and what a row does not name") {
  const struct {
    std::string key;
    double lr;
    std::string stages;
  } rows[] = {
      {"aurora", 0.025,
       "momentum=ema,mu=0.9,nesterov=true,polar=polar_express6,balance=leverage,pp_iterations=2,pp_beta=0.5,scale="
       "original,weight_decay=0.025"},
      {"aurora_release", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=cans12,balance=published,pp_iterations=2,pp_beta=0.5,scale=original,"
       "weight_decay=0.025"},
      {"aurora_release_2026_05", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,balance=published,where=nonsquare,pp_iterations=2,pp_"
       "beta=0.5,scale=original,weight_decay=0.025"},
      {"aurora_paper", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=cans12,balance=paper,where=up_gate,pp_iterations=2,pp_beta=0.5,scale="
       "original,weight_decay=0.025"},
      {"aurora_wide", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,balance=leverage,where=wide,pp_iterations=3,pp_beta="
       "0.25,scale=original,weight_decay=0.025"},
      {"aurora_riemannian", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=cans12,balance=riemannian,pp_iterations=2,pp_beta=0.5,scale=original,"
       "weight_decay=0.025"},
      {"aurora_contra", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,balance=leverage,where=nonsquare,pp_iterations=2,pp_"
       "beta=0.5,contra=0.2,scale=original,decay=uw_floor"},
      {"muon", 0.02, "momentum=ema,mu=0.95,nesterov=true,polar=quintic5,scale=original,weight_decay=0.025"},
      {"muon_simple_quintic", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,scale=original,weight_decay=0.025"},
      {"muon_polar_express", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=polar_express8,scale=original,weight_decay=0.025"},
      {"muon_cans", 0.02, "momentum=ema,mu=0.95,nesterov=true,polar=cans12,scale=original,weight_decay=0.025"},
      {"turbo_muon", 0.02, "momentum=sum,mu=0.95,nesterov=true,polar=turbo4,scale=original,weight_decay=0.025"},
      {"spectral_descent", 0.05, "polar=simple_quintic12,scale=original,weight_decay=0.015"},
      {"moonlight", 0.01, "momentum=sum,mu=0.95,nesterov=true,polar=quintic5,scale=match_rms,weight_decay=0.1"},
      {"normuon", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=quintic5,post=row_moment,restore=update,scale=original,weight_decay=0."
       "025"},
      {"normuon_paper", 0.01,
       "momentum=ema,mu=0.95,polar=quintic5,post=row_moment,scale=update_rms,weight_decay=0.025"},
      {"normuon_longer", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,post=longer_moment,restore=update,scale=original,"
       "weight_decay=0.025"},
      {"u_normuon", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=quintic5,post=even_rows,scale=original,weight_decay=0.025"},
      {"u_normuon_stateful", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=quintic5,post=even_rows_moment,scale=original,weight_decay=0.025"},
      {"muoneq_r", 0.01,
       "momentum=sum,mu=0.95,nesterov=true,pre=rows,pre_eps=1e-08,polar=quintic5,scale=match_rms,weight_decay=0.1"},
      {"muoneq_c", 0.01,
       "momentum=sum,mu=0.95,nesterov=true,pre=columns,pre_eps=1e-08,polar=quintic5,scale=match_rms,weight_decay=0.1"},
      {"muoneq_rc", 0.02,
       "momentum=sum,mu=0.95,nesterov=true,pre=rows_columns,pre_eps=1e-08,polar=quintic5,scale=match_rms,weight_decay="
       "0.1"},
      {"contra_muon", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,contra=0.2,post=longer_moment,restore=update,scale="
       "original,decay=uw_floor"},
      {"soft_muon", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,polar=soft12,restore=polar,scale=original,weight_decay=0.025"},
      {"adamuon", 0.02,
       "momentum=ema,mu=0.95,nesterov=true,pre=sign,polar=quintic5,post=element_moment,post_eps=1e-08,scale=update_rms,"
       "weight_decay=0.01"},
      {"rmnp", 0.006, "momentum=sum,mu=0.95,nesterov=true,pre=rows,scale=original,weight_decay=0.025"},
      {"sron", 0.001, "pre=row_rms"},
      {"sinkgd", 0.001, "pre=sinkhorn"},
      {"swan", 0.1, "pre=standardize,polar=cans12,restore=input,alpha=0.05"},
      {"muonh", 0.05, "momentum=ema,mu=0.95,nesterov=true,polar=simple_quintic12,decay=hyperball"},
      {"muon_plus", 0.02, "momentum=ema,mu=0.95,polar=quintic5,post=columns_rows,scale=rms_rms"},
      {"muon2", 0.04,
       "momentum=ema,mu=0.95,nesterov=true,pre=second_moment,pre_eps=1e-10,polar=simple_quintic12,scale=original,"
       "weight_decay=0.0125"},
      {"scale", 0.02, "pre=columns"},
      {"sgd", 3, "momentum=ema,mu=0.95"}};
  CHECK(spectral_methods().size() == std::size(rows));
  for (const auto& row : rows) {
    CAPTURE(row.key);
    CHECK(parse_spectral(row.key).lr == row.lr);
    CHECK(stages(parse_spectral(row.key).config) == row.stages);
  }
  CHECK(all_stages(SpectralConfig{}) ==
        "momentum=ema,mu=0.95,nesterov=true,pre=none,pre_eps=0,polar=cans12,balance=leverage,where=tall,pp_iterations="
        "2,pp_beta=0.5,contra=0,"
        "post=none,beta2=0.95,post_eps=1e-10,restore=none,scale=original,alpha=1,decay=decoupled,weight_decay=0.025,"
        "floor=0.35");
}

TEST_CASE("spectral settings: contra costs eleven products with a vector") {
  for (const std::string row : {"muon", "aurora", "aurora_release", "aurora_riemannian"}) {
    const SpectralConfig without = parse_spectral(row).config, with = parse_spectral(row + ",contra=0.5").config;
    CHECK(spectral_flops(with, 40, 10) - spectral_flops(without, 40, 10) == near(22 * 40 * 10));
  }
}

TEST_CASE("spectral settings: as text, and back") {
  CHECK(stages(parse_spectral(nothing(true)).config) == "");
  for (const SpectralMethod& row : spectral_methods()) {
    CAPTURE(row.key);
    CAPTURE(stages(row.config));
    check(row.config);
    const bool idle = row.config.momentum == Momentum::none && row.config.nesterov;
    SpectralConfig back = parse_spectral(nothing(idle)).config;
    set_stages(back, stages(row.config));
    CHECK(numbers(back) == numbers(row.config));

    const SpectralMethod same = parse_spectral(row.key);
    CHECK(numbers(same.config) == numbers(row.config));
    CHECK(same.config.name == row.config.name);
    CHECK(same.lr == row.lr);
  }
  // The paper's form has a beta of 0, which is as good as none; a single round is a round.
  CHECK(stages(parse_spectral("aurora_paper,pp_beta=0").config).find("pp_beta") == std::string::npos);
  CHECK(stages(parse_spectral("aurora,pp_iterations=1").config).find("pp_iterations=1") != std::string::npos);
  // Each setting alone, with a value that no row and no default has.
  const std::string all_settings =
      "momentum=sum,mu=0.875,nesterov=true,pre=rows_columns,pre_eps=0.125,polar=you5,"
      "balance=published,where=nonsquare,pp_iterations=7,pp_beta=0.625,contra=0.375,"
      "post=even_rows_moment,beta2=0.75,post_eps=0.25,restore=input,scale=spectral,alpha=1.5,"
      "decay=cautious,weight_decay=0.0625,floor=0.5";
  const SpectralConfig c = parse_spectral("muon, " + all_settings).config;
  CHECK(stages(c) == all_settings);
  const SpectralConfig expected{
      .momentum = Momentum::sum,
      .mu = 0.875,
      .nesterov = true,
      .pre = Pre::rows_columns,
      .pre_eps = 0.125,
      .direction = {.polar = Polar::you5, .balance = Balance::published, .pp_iterations = 7, .pp_beta = 0.625},
      .where = Where::nonsquare,
      .contra = 0.375,
      .post = Post::even_rows_moment,
      .beta2 = 0.75,
      .post_eps = 0.25,
      .restore = Restore::input,
      .scale = Scale::spectral,
      .alpha = 1.5,
      .decay = Decay::cautious,
      .weight_decay = 0.0625,
      .floor = 0.5};
  CHECK(numbers(c) == numbers(expected));
  CHECK(parse_spectral("aurora").config.direction.pp_iterations == 2);  // the table is untouched
}

TEST_CASE("spectral settings: text that says nothing sensible") {
  const auto says = [](const std::string& text, const std::string& message) {
    CHECK_THROWS_WITH_AS(parse_spectral(text), message.c_str(), std::invalid_argument);
  };
  says("adam", "optimizer: there is no 'adam'; train_gpt --list_optimizers shows all");
  says("", "optimizer: there is no ''; train_gpt --list_optimizers shows all");
  says("adamw,beta2=0.9", "optimizer: adamw has no stages to change, as in 'adamw,beta2=0.9'");
  says("muon,rows", "optimizer: 'rows' is not stage=value, as in pre=rows");
  says("muon,,pre=rows", "optimizer: '' is not stage=value, as in pre=rows");
  says("muon,speed=2",
       "optimizer: there is no stage 'speed'; known are momentum, mu, nesterov, pre, pre_eps, "
       "polar, balance, "
       "where, pp_iterations, pp_beta, contra, post, beta2, post_eps, restore, scale, alpha, "
       "decay, weight_decay, floor");
  says("muon,pre=rows,mu=0.9,pre=columns", "optimizer: pre is set twice in 'muon,pre=rows,mu=0.9,pre=columns'");
  says("muon,pre=row",
       "pre: there is no 'row'; known are none, rows, columns, rows_columns, row_rms, standardize, "
       "sign, second_moment, sinkhorn");
  says("muon,decay=", "decay: there is no ''; known are decoupled, cautious, hyperball, uw_floor");
  says("muon,nesterov=yes", "nesterov: 'yes' is neither true nor false");
  says("muon,mu=fast", "mu: 'fast' is not a number");
  says("muon,mu=0.9x", "mu: '0.9x' is not a number");
  says("muon,mu=", "mu: '' is not a number");
  says("muon,pp_iterations=2.5", "pp_iterations: '2.5' is not a whole number");
}

TEST_CASE("spectral settings: stages that contradict each other") {
  const auto says = [](const std::string& text, const std::string& message) {
    CHECK_THROWS_WITH_AS(check(parse_spectral(text).config), message.c_str(), std::invalid_argument);
  };
  says("aurora,polar=identity",
       "Aurora: balance=leverage evens out the rows of a polar factor, but polar=identity is none; "
       "use another polar or balance=none");
  says("aurora_paper,polar=soft12",
       "Aurora (paper): balance=paper evens out the rows of a polar factor, but polar=soft12 is "
       "none; use another polar or balance=none");
  says("aurora,polar=turbo4",
       "Aurora: balance=leverage foresees the exact polar factor's rows, but polar=turbo4 has "
       "others; use balance=published");
  CHECK_NOTHROW(check(parse_spectral("aurora,polar=turbo4,balance=published").config));
  says("muon,decay=uw_floor", "Muon: decay=uw_floor replaces the decay, but weight_decay is 0.025; set it to 0");
  says("muon,decay=hyperball", "Muon: decay=hyperball replaces the decay, but weight_decay is 0.025; set it to 0");
  CHECK_NOTHROW(check(parse_spectral("muon,decay=uw_floor,weight_decay=0").config));
  says("muon,decay=hyperball,weight_decay=0",
       "Muon: decay=hyperball sets the update's length itself, so scale=original and alpha=1 "
       "would be lost; use scale=none and alpha=1");
  says("muonh,alpha=5",
       "MuonH: decay=hyperball sets the update's length itself, so scale=none and alpha=5 would be "
       "lost; use scale=none and alpha=1");
  says("sgd,contra=0.3",
       "SGD: contra takes a part of X away from its polar factor, but polar=identity has none and "
       "could end up with -X; use contra=0");
  CHECK_NOTHROW(check(parse_spectral("muon,decay=hyperball,weight_decay=0,scale=none").config));
  says("normuon,scale=update_rms",
       "NorMuon: scale=update_rms and restore=update both set the update's length; leave one of "
       "them out");
  says("muon,mu=1", "Muon: mu is 1, but must lie between 0 and 1");
  says("aurora_riemannian,polar=quintic5",
       "Riemannian Aurora: balance=riemannian needs orthonormal columns, which polar=quintic5 "
       "leaves some way off; use cans12, polar_express8, simple_quintic12 or svd");
  for (const std::string exact : {"svd", "cans12", "polar_express8", "simple_quintic12"})
    CHECK_NOTHROW(check(parse_spectral("aurora_riemannian,polar=" + exact).config));
}

TEST_CASE("spectral settings: a checkpoint's text brings everything back") {
  for (const SpectralMethod& row : spectral_methods()) {
    SpectralConfig c = parse_spectral("muon_plus,contra=0.5").config;
    set_stages(c, all_stages(row.config));
    CHECK(numbers(c) == numbers(row.config));
  }
}

TEST_CASE("spectral settings: numbers out of range") {
  const auto says = [](auto change, const std::string& message) {
    SpectralConfig c = muon();
    change(c);
    CHECK_THROWS_WITH_AS(check(c), message.c_str(), std::invalid_argument);
  };
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr double inf = std::numeric_limits<double>::infinity();
  using C = SpectralConfig;
  says([](C& c) { c.mu = 0; }, "Muon: mu is 0, but must lie between 0 and 1");
  says([](C& c) { c.mu = nan; }, "Muon: mu is nan, but must lie between 0 and 1");
  says([](C& c) { c.direction.pp_iterations = 101; }, "Muon: pp_iterations is 101, but must lie from 1 to 100");
  says([](C& c) { c.direction.pp_beta = inf; }, "Muon: pp_beta is inf, but must be a number above 0");
  says(
      [](C& c) {
        c.direction.balance = Balance::paper;
        c.direction.pp_beta = 1;
      },
      "Muon: pp_beta is 1, but the paper's form takes 0 <= pp_beta < 1");
  says([](C& c) { c.weight_decay = -1; }, "Muon: the weight decay is -1, but it must be a number of at least 0");
  says([](C& c) { c.pre_eps = -1; }, "Muon: pre_eps is -1, but it must be a number of at least 0");
  says([](C& c) { c.post_eps = nan; }, "Muon: post_eps is nan, but it must be a number of at least 0");
  says([](C& c) { c.floor = inf; }, "Muon: floor is inf, but it must be a number of at least 0");
  says([](C& c) { c.contra = 1; }, "Muon: contra is 1, but it must lie in [0, 1)");
  says([](C& c) { c.beta2 = 1; }, "Muon: beta2 is 1, but it must lie in [0, 1)");
  says([](C& c) { c.alpha = 0; }, "Muon: alpha is 0, but must be a number above 0");

  SpectralConfig c = muon();  // the ends that are allowed
  c.direction = {.balance = Balance::paper, .pp_beta = 0};
  c.beta2 = c.contra = c.weight_decay = c.floor = c.pre_eps = c.post_eps = 0;
  for (const int rounds : {1, 100}) {
    c.direction.pp_iterations = rounds;
    CHECK_NOTHROW(check(c));
  }
  c.direction.pp_iterations = 0;
  CHECK_THROWS(check(c));
}
