#include "demos/run/train_options.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <type_traits>

#include <nlohmann/json.hpp>

#include "demos/run/checkpoint.h"
#include "demos/run/flags.h"
#include "demos/run/presets.h"
#include "engine/error.h"
#include "nn/checkpoint.h"
#include "optim/spectral_methods.h"

namespace borealis {

namespace {

// --- the one list of settings ----------------------------------------------------------------
// Flags, checkpoint and defaults all walk it: a new setting is a line here and a field in the
// header.

template <class Options, class F> void for_each_setting(Options& o, F&& f) {
  auto& m = o.model;
  f("style", m.style, "gpt2 (comparable with nanoGPT) or modern (RMSNorm, rotary, ReLU²)");
  f("n_layer", m.n_layer, "blocks");
  f("n_head", m.n_head, "attention heads of a block");
  f("n_embd", m.n_embd, "channels");
  f("block_size", m.block_size, "tokens the model sees at once");
  f("mlp", m.mlp, "gelu, gelu_tanh, relu_squared or swiglu");
  f("mlp_expansion", m.mlp_expansion, "hidden units of the MLP per channel");
  f("dropout", m.dropout, "probability of dropping an activation");
  f("bias", m.bias, "true or false: biases in linear layers and LayerNorm");

  f("batch_size", o.batch_size, "blocks of text in a step");
  f("optimizer", o.optimizer,
    "adamw, or one for hidden matrices with AdamW for the rest: aurora, muon, … (see "
    "--list_optimizers), also with stages changed: muon,pre=rows,decay=cautious");
  f("polar", o.stages.direction.polar, "its polar factor: polar_express6, cans12, quintic5, …, svd");
  f("balance", o.stages.direction.balance, "Aurora's: leverage (one polar call) or published (K of them), paper, …");
  f("where", o.stages.where, "the matrices that Aurora balances: tall, nonsquare, wide or up_gate");
  f("pp_iterations", o.stages.direction.pp_iterations, "Aurora's K, balance rounds");
  f("pp_beta", o.stages.direction.pp_beta, "Aurora's β");
  f("momentum", o.stages.mu, "of the hidden matrices' optimizer");
  f("learning_rate", o.learning_rate, "AdamW's");
  f("matrix_lr", o.matrix_lr, "of the hidden matrices' optimizer");
  f("embed_lr", o.embed_lr, "AdamW's for the embedding (--learning_rate)");
  f("head_lr", o.head_lr, "AdamW's for an untied head (--learning_rate)");
  f("vector_lr", o.vector_lr, "AdamW's for gains and biases (--learning_rate)");
  f("weight_decay", o.weight_decay, "decoupled, on matrices");
  f("beta1", o.beta1, "AdamW's");
  f("beta2", o.beta2, "AdamW's");
  f("grad_clip", o.grad_clip, "largest global norm of the gradient; 0: no limit");
  f("schedule", o.schedule, "cosine, or linear (constant, then falling over the last 70 %)");
  f("max_iters", o.max_iters, "steps");
  f("warmup_iters", o.warmup_iters, "steps of linear warm-up");
  f("lr_decay_iters", o.lr_decay_iters, "step of the lowest learning rate (--max_iters)");
  f("min_lr", o.min_lr, "AdamW's lowest learning rate (cosine: a tenth of --learning_rate)");
  f("eval_interval", o.eval_interval, "steps between validations and checkpoints");
  f("eval_iters", o.eval_iters, "random batches of a validation");
  f("seed", o.seed, "of weights, batches, dropout and samples");
}

// --- the command line ------------------------------------------------------------------------

// "--n_layer" is also "--n-layer".
std::string both(std::string flag) {
  flag = "--" + flag;
  std::string dashed = flag;
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  return dashed == flag ? flag : flag + "," + dashed;
}

// The flags that decide the defaults of the others.
struct Basis {
  std::string preset = "nano", style, optimizer, init_from = "scratch";  // empty: the preset's
  std::string out_dir = RunOptions{}.out_dir;

  bool resume() const { return init_from == "resume"; }
};

// Of a fresh run: the preset's, and its optimizer's. Of a resumed one: those it was started with.
TrainOptions defaults(const Basis& b, const std::function<void(const std::string&)>& lock) {
  if (!b.resume()) return preset_options(b.preset, b.style, b.optimizer);
  const std::string path = b.out_dir + "/ckpt.safetensors";
  std::error_code ignored;
  const auto there = std::filesystem::symlink_status(path, ignored);
  if (!std::filesystem::exists(there))
    fail("train_gpt: there is no ", path, " to go on from; start without --init_from resume");
  if (!std::filesystem::is_regular_file(there))  // no checkpoint could take its place
    fail("train_gpt: ", path, " is not a regular file; put the checkpoint itself there");
  if (lock) lock(b.out_dir);
  return read_checkpoint(path).options;
}

Basis read_basis(int argc, char** argv) {
  CLI::App first{"", "train_gpt"};
  first.set_help_flag();
  first.allow_extras();
  first.option_defaults()->take_last();
  Basis basis;
  first.add_option("--preset", basis.preset);
  first.add_option("--style", basis.style);
  first.add_option("--optimizer", basis.optimizer);
  first.add_option(both("init_from"), basis.init_from);
  first.add_option(both("out_dir"), basis.out_dir);
  parse_flags(first, argc, argv);
  return basis;
}

void add_settings(CLI::App& app, TrainOptions& o) {
  for_each_setting(o, [&](const char* flag, auto& field, const char* help) {
    using Field = std::remove_reference_t<decltype(field)>;
    if constexpr (std::is_enum_v<Field>) {
      app.add_option_function<std::string>(
             both(flag),
             [&field](const std::string& text) { field = parse<std::remove_cvref_t<decltype(field)>>(text); }, help)
          ->default_str(name(field));
    } else {
      app.add_option(both(flag), field, help)->capture_default_str();
    }
  });
}

void add_run(CLI::App& app, Basis& basis, RunOptions& r) {
  const auto add = [&](const char* flag, auto& field, const char* help) {
    return app.add_option(both(flag), field, help)->capture_default_str()->group("Run");
  };
  add("preset", basis.preset,
      "nano (nanoGPT's CPU recipe), small, gpt2-124m or track3-nano (the optimizer track's model "
      "and rates, at nano's size)");
  add("data", r.data, "a text file (default: this project's prose)");
  add("out_dir", r.out_dir, "folder for log.jsonl, ckpt.safetensors and run.json");
  add("init_from", basis.init_from, "scratch, or resume: go on from the checkpoint in --out_dir")
      ->check(CLI::IsMember({"scratch", "resume"}));
  add("log_interval", r.log_interval, "steps between lines of the log");
  add("diagnose", r.diagnose,
      "every N steps, show and log how far each neuron moves, which are dead, and what each "
      "matrix's update was like; 0: never");
  add("device", r.device, "cpu, cuda or cuda:N");
  add("threads", r.threads, "0: one per core");
  app.add_flag_callback(
         both("list_optimizers"),
         [] {
           std::cout << optimizer_table();
           std::exit(status_with_output("train_gpt"));
         },
         "print all optimizers: state (numbers per weight), flops (of a 4n×n matrix's update, in "
         "n³), rate (the default --matrix_lr), stages, source")
      ->group("Run");
  add("compare", r.compare,
      "cpu,cuda or f32,f64: train nothing, but take one step on two devices or in two number types, "
      "and show where they differ most, op by op");
  app.add_flag("--anomaly", r.anomaly, "stop at the first op with a non-finite result (slow)")->group("Run");
}

// A resumed run may change how it goes on, but neither the model nor what the optimizer remembers.
void refuse_another_run(const CLI::App& app, const Basis& basis, const TrainOptions& before, const TrainOptions& now) {
  const std::string the_run = "the run in " + basis.out_dir;
  if (app.count("--preset"))
    fail("train_gpt: ", the_run,
         " goes on with the settings it was started with; leave --preset out, or start a new run");
  if (!basis.optimizer.empty() && basis.optimizer != before.optimizer)
    fail("train_gpt: ", the_run, " goes on with the optimizer it was started with, ", before.optimizer,
         "; leave --optimizer out, or start a new run");
  const nlohmann::json was = to_json(before), is = to_json(now);
  const auto text = [](const nlohmann::json& j) {
    std::ostringstream out;
    j.is_string() ? out << j.get<std::string>() : j.is_number() ? out << j.get<double>() : out << j;
    return out.str();
  };
  for (const char* flag : {"style", "n_layer", "n_head", "n_embd", "block_size", "mlp", "mlp_expansion", "bias"})
    if (is[flag] != was[flag])
      fail("train_gpt: --", flag, ' ', text(is[flag]), " contradicts ", the_run, ", which has ", text(was[flag]),
           "; leave it out, or start a new run in another --out_dir");
}

// Whether an optimizer's text, as "muon,where=wide", sets that stage.
bool sets_stage(std::string optimizer, const std::string& stage) {
  std::erase(optimizer, ' ');
  return optimizer.find(',' + stage + '=') != std::string::npos;
}

// A flag of a stage that the optimizer does not have would be lost without a word, and so would one
// spelled out in --optimizer.
void refuse_idle(const CLI::App& app, const Basis& basis, const TrainOptions& o) {
  const auto refuse = [&](std::initializer_list<const char*> names, const std::string& why) {
    for (const std::string name : names) {
      const std::string flag = name == "mu" ? "--momentum" : "--" + name;
      if (app.get_option_no_throw(flag) && app.count(flag))
        fail("train_gpt: ", flag, " means nothing here, since ", why);
      if (sets_stage(basis.optimizer, name))
        fail("train_gpt: ", name, " means nothing in --optimizer ", basis.optimizer, ", since ", why);
    }
  };
  if (o.model.tied) refuse({"head_lr"}, "the head is the embedding (see --embed_lr)");
  if (!o.spectral())
    refuse({"polar", "balance", "where", "pp_iterations", "pp_beta", "mu", "matrix_lr"},
           "--optimizer adamw steps all parameters alike");
  else if (o.stages.momentum == Momentum::none)
    refuse({"mu", "nesterov"}, o.optimizer + " has none");
  if (o.spectral() && o.stages.direction.balance == Balance::none)
    refuse({"where", "pp_iterations", "pp_beta"}, o.optimizer + " balances no rows");
  if (o.stages.direction.balance == Balance::riemannian)
    refuse({"pp_iterations", "pp_beta"}, "balance=riemannian has rounds of its own");
}

void need(bool ok, const std::string& flag, double value, const char* rule) {
  if (!ok) fail("train_gpt: --", flag, " ", value, ": must be ", rule);
}

}  // namespace

Options parse_train_options(int argc, char** argv, const std::function<void(const std::string&)>& lock) {
  Basis basis = read_basis(argc, argv);
  Options options;
  TrainOptions& o = options.train;
  o = defaults(basis, lock);
  const TrainOptions before = o;

  CLI::App app{"Trains a compact GPT on a text, from text to a sample.", "train_gpt"};
  app.option_defaults()->take_last();  // of a flag given twice, so that scripts can be overruled
  add_run(app, basis, options.run);
  add_settings(app, o);
  parse_flags(app, argc, argv);

  // Settings that follow another one unless they were given, or stood apart from it before.
  const auto follow = [&](const char* flag, auto& field, auto value, bool followed_before) {
    if (!app.count(flag) && followed_before) field = value;
  };
  const double lr = before.learning_rate;
  follow("--embed_lr", o.embed_lr, o.learning_rate, before.embed_lr == lr);
  follow("--head_lr", o.head_lr, o.learning_rate, before.head_lr == lr);
  follow("--vector_lr", o.vector_lr, o.learning_rate, before.vector_lr == lr);
  follow("--lr_decay_iters", o.lr_decay_iters, o.max_iters, before.lr_decay_iters == before.max_iters);
  const auto lowest = [](const TrainOptions& t) { return t.schedule == Schedule::cosine ? t.learning_rate / 10 : 0; };
  follow("--min_lr", o.min_lr, lowest(o), before.min_lr == lowest(before));

  if (o.min_lr > std::max(0.0, o.learning_rate))
    fail("train_gpt: --min_lr ", o.min_lr, " must not be above --learning_rate ", o.learning_rate);
  if (app.count("--warmup_iters") && o.warmup_iters > o.max_iters)
    fail("train_gpt: --warmup_iters ", o.warmup_iters, " must not be above --max_iters ", o.max_iters);
  if (basis.resume()) refuse_another_run(app, basis, before, o);
  refuse_idle(app, basis, o);

  const RunOptions& r = options.run;
  options.run.resume = basis.resume();
  need(r.log_interval >= 1, "log_interval", static_cast<double>(r.log_interval), "at least 1");
  need(r.diagnose >= 0, "diagnose", static_cast<double>(r.diagnose), "0 or more");
  need(r.threads >= 0 && r.threads <= 1024, "threads", r.threads, "from 0 to 1024");
  return options;
}

SpectralConfig spectral_config(const TrainOptions& o) {
  SpectralConfig c = o.stages;
  c.weight_decay = o.weight_decay;
  return c;
}

void check(const TrainOptions& o) {
  const int rounds = o.stages.direction.pp_iterations;
  need(rounds >= 1 && rounds <= 100, "pp_iterations", rounds, "from 1 to 100");
  constexpr double most = 1e9;
  for_each_setting(o, [&](const std::string& flag, const auto& field, const char*) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, double>) {
      if (flag == "beta1" || flag == "beta2")
        need(field >= 0 && field < 1, flag, field, "in [0, 1)");
      else
        need(std::isfinite(field) && field >= 0, flag, field, "a number that is not negative");
    } else if constexpr (std::is_same_v<Field, int64_t>) {
      const bool may_be_zero = flag == "max_iters" || flag == "warmup_iters" || flag == "lr_decay_iters";
      const auto value = static_cast<double>(field);
      need(value >= (may_be_zero ? 0 : 1) && value <= most, flag, value,
           may_be_zero ? "from 0 to 1e9" : "from 1 to 1e9");
    }
  });
  if (!o.spectral()) return;
  check(spectral_config(o));
  const double shrink = o.matrix_lr * o.weight_decay;
  need(shrink < 1, "matrix_lr times --weight_decay", shrink, "below 1, or the decay turns weights round");
}

nlohmann::json to_json(const TrainOptions& o) {
  nlohmann::json j;
  for_each_setting(o, [&](const char* key, const auto& field, const char*) { put_setting(j[key], field); });
  j["vocab"] = o.model.vocab;
  if (o.spectral()) j["stages"] = all_stages(spectral_config(o));
  return j;
}

TrainOptions train_options_from_json(const nlohmann::json& j) {
  TrainOptions o;
  if (parse<Style>(j.at("style").get<std::string>()) == Style::modern) o.model = GptConfig::modern();
  for_each_setting(o, [&](const char* key, auto& field, const char*) { get_setting(j.at(key), field); });
  j.at("vocab").get_to(o.model.vocab);
  o.stages.name = o.optimizer;
  if (o.spectral()) set_stages(o.stages, j.at("stages").get<std::string>());
  return o;
}

}  // namespace borealis
