// What the command line makes of a run, what is refused, and how it travels in a checkpoint.
#include <limits>
#include <regex>
#include <sstream>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "demos/run/presets.h"
#include "demos/run/train_options.h"
#include "optim/spectral_methods.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

TrainOptions usual(const std::string& optimizer = "adamw") {
  TrainOptions o = preset_options("nano", "gpt2", optimizer);
  o.model.vocab = 65;
  return o;
}

template <class Change> bool accepts(Change change, const std::string& optimizer = "adamw") {
  TrainOptions o = usual(optimizer);
  change(o);
  try {
    check(o);
  } catch (const std::invalid_argument&) {
    return false;
  }
  return true;
}

TrainOptions parsed(std::vector<std::string> flags) {
  flags.insert(flags.begin(), "train_gpt");
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  return parse_train_options(static_cast<int>(argv.size()), argv.data()).train;
}

}  // namespace

TEST_CASE("train options: numbers are held to their ranges, ends included") {
  CHECK(accepts([](TrainOptions&) {}));
  CHECK(accepts([](TrainOptions&) {}, "aurora"));
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (double TrainOptions::*field :
       {&TrainOptions::learning_rate, &TrainOptions::matrix_lr, &TrainOptions::embed_lr, &TrainOptions::head_lr,
        &TrainOptions::vector_lr, &TrainOptions::weight_decay, &TrainOptions::grad_clip, &TrainOptions::min_lr}) {
    CHECK(accepts([&](TrainOptions& o) { o.*field = 0; }));
    for (const double bad : {-1e-9, infinity, std::numeric_limits<double>::quiet_NaN()})
      CHECK(!accepts([&](TrainOptions& o) { o.*field = bad; }));
  }
  for (double TrainOptions::*beta : {&TrainOptions::beta1, &TrainOptions::beta2}) {
    for (const double good : {0.0, 0.999}) CHECK(accepts([&](TrainOptions& o) { o.*beta = good; }));
    for (const double bad : {1.0, -0.1}) CHECK(!accepts([&](TrainOptions& o) { o.*beta = bad; }));
  }
  for (int64_t TrainOptions::*count :
       {&TrainOptions::batch_size, &TrainOptions::eval_interval, &TrainOptions::eval_iters, &TrainOptions::max_iters,
        &TrainOptions::warmup_iters, &TrainOptions::lr_decay_iters}) {
    const bool may_be_zero = count == &TrainOptions::max_iters || count == &TrainOptions::warmup_iters ||
                             count == &TrainOptions::lr_decay_iters;
    CHECK(accepts([&](TrainOptions& o) { o.*count = 0; }) == may_be_zero);
    CHECK(!accepts([&](TrainOptions& o) { o.*count = -1; }));
    CHECK(accepts([&](TrainOptions& o) { o.*count = 1; }));
    CHECK(accepts([&](TrainOptions& o) { o.*count = 1000000000; }));
    CHECK(!accepts([&](TrainOptions& o) { o.*count = 1000000001; }));
  }
  for (const int rounds : {0, 1, 100, 101})
    CHECK(accepts([&](TrainOptions& o) { o.stages.direction.pp_iterations = rounds; }) ==
          (rounds == 1 || rounds == 100));
}

TEST_CASE("train options: stages by unknown names are refused, also where AdamW leaves them idle") {
  for (const std::string stage : {"polar", "balance", "where"})
    for (const std::string optimizer : {"adamw", "aurora"})
      CHECK_THROWS_WITH(parsed({"--optimizer", optimizer, "--" + stage, "odd"}),
                        doctest::Contains((stage + ": there is no 'odd'; known are ").c_str()));
  CHECK(!accepts([](TrainOptions& o) { o.stages.direction.pp_beta = 0; }, "aurora"));
  CHECK(!accepts([](TrainOptions& o) { o.stages.mu = 1; }, "muon"));
  const auto decay = [](double lr, double weight_decay) {
    return accepts([&](TrainOptions& o) { o.matrix_lr = lr, o.weight_decay = weight_decay; }, "muon");
  };
  CHECK(accepts([](TrainOptions& o) { o.matrix_lr = 0.5, o.weight_decay = 2; }));  // AdamW has no such rate
  CHECK(decay(0.5, 1.9));
  CHECK(!decay(0.5, 2));
  CHECK(!decay(2, 0.5));
}

TEST_CASE("train options: all of them travel through a checkpoint's text") {
  for (const std::string style : {"gpt2", "modern"})
    for (const std::string optimizer : {"adamw", "aurora", "muon,pre=rows,decay=cautious"}) {
      TrainOptions o = preset_options("small", style, optimizer);
      o.model.vocab = 42;
      const nlohmann::json defaults = to_json(o);
      o.model.n_layer = 3, o.model.n_head = 5, o.model.n_embd = 35, o.model.block_size = 9;
      o.model.mlp = MlpKind::swiglu, o.model.mlp_expansion = 2.5;
      o.model.dropout = 0.125, o.model.bias = !o.model.bias;
      o.batch_size = 7, o.stages.where = Where::wide, o.stages.mu = 0.875;
      o.stages.direction = {Polar::cans12, Balance::published, 4, 0.75};
      o.learning_rate = 1e-17, o.matrix_lr = 0.1, o.weight_decay = 0.3;
      o.embed_lr = 0.01, o.head_lr = 0.02, o.vector_lr = 0.03;
      o.beta1 = 0.7, o.beta2 = 0.8, o.grad_clip = 0.5, o.min_lr = 1e-18;
      o.schedule = o.schedule == Schedule::cosine ? Schedule::linear : Schedule::cosine;
      o.max_iters = 11, o.warmup_iters = 12, o.lr_decay_iters = 13;
      o.eval_interval = 14, o.eval_iters = 15, o.seed = UINT64_MAX;
      const nlohmann::json j = to_json(o);
      CHECK(j.size() == (o.spectral() ? 36 : 35));  // each of them is another than before
      for (const auto& [key, value] : j.items()) {
        const bool same = key == "style" || key == "optimizer" || key == "vocab";
        const bool stages = key == "stages";
        const std::string& setting = key;  // clang 14 cannot capture `key`
        if (!stages) CHECK_MESSAGE((value == defaults[key]) == same, setting);
      }
      const TrainOptions back = train_options_from_json(nlohmann::json::parse(j.dump()));
      CHECK(to_json(back) == j);
      CHECK(back.model.norm == o.model.norm);
      CHECK(back.model.tied == o.model.tied);
      CHECK(back.model.position == o.model.position);
      CHECK(back.seed == UINT64_MAX);
      CHECK(back.spectral() == (optimizer != "adamw"));
      if (back.spectral()) {
        CHECK(all_stages(spectral_config(back)) == all_stages(spectral_config(o)));
        CHECK(spectral_config(back).direction.polar == Polar::cans12);
        CHECK(spectral_config(back).direction.balance == Balance::published);
        CHECK(spectral_config(back).where == Where::wide);
        CHECK(spectral_config(back).mu == 0.875);
        CHECK(spectral_config(back).weight_decay == 0.3);
        CHECK(spectral_config(back).direction.pp_beta == 0.75);
        CHECK(spectral_config(back).direction.pp_iterations == 4);
        CHECK(spectral_config(back).name == optimizer);
      }
    }
}

// Of several flags that mean nothing the first of these is told.
TEST_CASE("train options: every flag of a stage that the optimizer lacks is refused") {
  const struct {
    std::string optimizer;
    std::vector<std::string> flags;
    std::string why;
  } cases[] = {{"adamw",
                {"--polar", "--balance", "--where", "--pp_iterations", "--pp_beta", "--momentum", "--matrix_lr"},
                "--optimizer adamw steps all parameters alike"},
               {"sron", {"--momentum", "--where", "--pp_iterations", "--pp_beta"}, "sron has none"},
               {"muon", {"--where", "--pp_iterations", "--pp_beta"}, "muon balances no rows"},
               {"aurora_riemannian", {"--pp_iterations", "--pp_beta"}, "balance=riemannian has rounds of its own"}};
  for (const auto& [optimizer, flags, why] : cases) {
    std::vector<std::string> given{"--optimizer", optimizer};
    for (size_t i = flags.size(); i-- > 0;) {
      const std::string value = flags[i] == "--polar"     ? "cans12"
                                : flags[i] == "--balance" ? "published"
                                : flags[i] == "--where"   ? "tall"
                                                          : "1";
      given.insert(given.end(), {flags[i], value});
      const bool of_balance = optimizer == "sron" && flags[i] != "--momentum";
      CHECK_THROWS_WITH(parsed(given), ("train_gpt: " + flags[i] + " means nothing here, since " +
                                        (of_balance ? "sron balances no rows" : why))
                                           .c_str());
    }
  }
  for (const std::string setting : {"sron,nesterov=true", "sron,mu=0.5", "sron, nesterov=true"})
    CHECK_THROWS_WITH(parsed({"--optimizer", setting}),
                      doctest::Contains("since " + doctest::String(setting.c_str()) + " has none"));
  CHECK(parsed({"--optimizer", "muon", "--momentum", "0.5"}).stages.mu == 0.5);
  CHECK(parsed({"--optimizer", "aurora", "--pp_beta", "0.75", "--where", "wide"}).stages.direction.pp_beta == 0.75);
}

TEST_CASE("train options: what is not given follows what is") {
  const TrainOptions usual_run = parsed({});
  CHECK(usual_run.optimizer == "adamw");
  CHECK(usual_run.max_iters == 2000);
  CHECK(usual_run.lr_decay_iters == 2000);
  const TrainOptions o = parsed({"--learning_rate", "0.5", "--max-iters", "77"});
  CHECK(o.embed_lr == 0.5);
  CHECK(o.head_lr == 0.5);
  CHECK(o.vector_lr == 0.5);
  CHECK(o.min_lr == 0.05);
  CHECK(o.max_iters == 77);
  CHECK(o.lr_decay_iters == 77);
  const TrainOptions given = parsed({"--learning_rate", "0.5", "--embed_lr", "0.25", "--vector_lr", "0.125", "--min_lr",
                                     "0", "--lr_decay_iters", "9"});
  CHECK(given.embed_lr == 0.25);
  CHECK(given.vector_lr == 0.125);
  CHECK(given.head_lr == 0.5);
  CHECK(given.min_lr == 0);
  CHECK(given.lr_decay_iters == 9);
  CHECK(parsed({"--schedule", "linear", "--learning_rate", "0.5"}).min_lr == 0);
  // Of a flag given twice the last counts; enums are read by name.
  const TrainOptions twice = parsed({"--n_layer", "2", "--n_layer", "3", "--mlp", "swiglu", "--style", "modern"});
  CHECK(twice.model.n_layer == 3);
  CHECK(twice.model.mlp == MlpKind::swiglu);
  CHECK(twice.model.style == Style::modern);
  // The track's rates stand apart from the learning rate, and stay.
  CHECK(parsed({"--preset", "track3-nano", "--learning_rate", "0.5"}).embed_lr == 0.3);
}

TEST_CASE("train options: --help names every flag with its default and says what it is") {
  const Outcome o = run("train_gpt --help");
  CHECK(o.status == 0);
  CHECK(o.says("Trains a compact GPT on a text, from text to a sample."));
  // A flag stands at the beginning of a line; what it is follows there or on the next line.
  const std::regex option("  (-\\S+(?: (?:TEXT|INT|UINT|FLOAT|BOOLEAN)\\S*)?) *(.*)");
  std::string flags;
  std::istringstream lines(o.text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (!std::regex_match(line, found, option)) continue;
    std::string what = found[2];
    if (what.empty()) std::getline(lines, what);
    flags += found[1].str() + '\n';
    CHECK_MESSAGE(what.size() >= 5, line);
  }
  CHECK(flags == R"(-h,--help
--style TEXT=gpt2
--n_layer,--n-layer INT=4
--n_head,--n-head INT=4
--n_embd,--n-embd INT=128
--block_size,--block-size INT=64
--mlp TEXT=gelu
--mlp_expansion,--mlp-expansion FLOAT=4
--dropout FLOAT=0
--bias BOOLEAN=0
--batch_size,--batch-size INT=12
--optimizer TEXT=adamw
--polar TEXT=polar_express6
--balance TEXT=leverage
--where TEXT=tall
--pp_iterations,--pp-iterations INT=2
--pp_beta,--pp-beta FLOAT=0.5
--momentum FLOAT=0.95
--learning_rate,--learning-rate FLOAT=0.001
--matrix_lr,--matrix-lr FLOAT=0.02
--embed_lr,--embed-lr FLOAT=0.001
--head_lr,--head-lr FLOAT=0.001
--vector_lr,--vector-lr FLOAT=0.001
--weight_decay,--weight-decay FLOAT=0.1
--beta1 FLOAT=0.9
--beta2 FLOAT=0.99
--grad_clip,--grad-clip FLOAT=1
--schedule TEXT=cosine
--max_iters,--max-iters INT=2000
--warmup_iters,--warmup-iters INT=100
--lr_decay_iters,--lr-decay-iters INT=2000
--min_lr,--min-lr FLOAT=0.0001
--eval_interval,--eval-interval INT=250
--eval_iters,--eval-iters INT=20
--seed UINT=1337
--version
--preset TEXT=nano
--data TEXT
--out_dir,--out-dir TEXT=out
--init_from,--init-from TEXT:{scratch,resume}=scratch
--log_interval,--log-interval INT=10
--diagnose INT=0
--device TEXT=cpu
--threads INT=0
--list_optimizers,--list-optimizers
--compare TEXT
--anomaly
)");
}

TEST_CASE("train options: presets and their optimizers' companions") {
  const TrainOptions nano = preset_options("nano");
  CHECK(nano.model.style == Style::gpt2);
  CHECK(!nano.model.bias);
  CHECK(nano.model.n_layer == 4);
  CHECK(nano.model.n_head == 4);
  CHECK(nano.model.n_embd == 128);
  CHECK(nano.model.block_size == 64);
  CHECK(nano.batch_size == 12);
  CHECK(nano.schedule == Schedule::cosine);
  CHECK(nano.min_lr == nano.learning_rate / 10);
  CHECK(nano.warmup_iters == 100);
  CHECK(nano.weight_decay == 0.1);
  const TrainOptions small = preset_options("small");
  CHECK(small.model.n_layer == 6);
  CHECK(small.model.n_head == 6);
  CHECK(small.model.n_embd == 384);
  CHECK(small.model.block_size == 256);
  CHECK(small.model.dropout == 0.2);
  CHECK(small.batch_size == 16);
  CHECK(small.max_iters == 5000);
  CHECK(small.lr_decay_iters == 5000);
  const TrainOptions large = preset_options("gpt2-124m");
  CHECK(large.model.n_layer == 12);
  CHECK(large.model.n_head == 12);
  CHECK(large.model.n_embd == 768);
  CHECK(large.model.block_size == 1024);
  CHECK(large.batch_size == 12);
  CHECK(large.max_iters == 600000);
  CHECK(large.learning_rate == 6e-4);
  CHECK(large.embed_lr == 6e-4);
  CHECK(large.beta2 == 0.95);
  CHECK(large.warmup_iters == 2000);

  const TrainOptions aurora_run = preset_options("nano", "modern", "aurora");
  CHECK(aurora_run.model.bias);
  CHECK(aurora_run.schedule == Schedule::linear);
  CHECK(aurora_run.min_lr == 0);
  CHECK(aurora_run.learning_rate == 0.015);
  CHECK(aurora_run.vector_lr == 0.015);
  CHECK(aurora_run.beta1 == 0.8);
  CHECK(aurora_run.beta2 == 0.95);
  CHECK(aurora_run.warmup_iters == 0);

  const TrainOptions track = preset_options("track3-nano");
  CHECK(track.model.style == Style::modern);
  CHECK(track.optimizer == "aurora_contra");
  CHECK(track.embed_lr == 0.3);
  CHECK(track.head_lr == 1.0 / 320);
  CHECK(track.vector_lr == 0.01);
  CHECK(track.warmup_iters == 0);
  const TrainOptions track_adamw = preset_options("track3-nano", "", "adamw");
  CHECK(track_adamw.learning_rate == 0.003);
  CHECK(track_adamw.weight_decay == 0);
  CHECK(track_adamw.schedule == Schedule::linear);
  CHECK(track_adamw.min_lr == 0);
  CHECK_THROWS(preset_options("track3-nano", "gpt2"));
  CHECK_THROWS(preset_options("huge"));
}
