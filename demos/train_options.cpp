#include "demos/train_options.h"

#include <cmath>
#include <type_traits>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "demos/checkpoint.h"
#include "engine/error.h"
#include "optim/aurora.h"

namespace borealis {

namespace {

// --- the one list of settings ----------------------------------------------------------------
// Flags, checkpoint and defaults all walk it: a new setting is a line here and a field in the
// header.

template <class Options, class F>
void for_each_setting(Options& o, F&& f) {
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
  f("optimizer", o.optimizer, "adamw, muon or aurora (these two step matrices, AdamW the rest)");
  f("polar", o.polar, "polar_express6, polar_express8, cans12, simple_quintic12, quintic5 or svd");
  f("where", o.where, "the matrices that Aurora balances: tall, nonsquare, wide or up_gate");
  f("pp_iterations", o.pp_iterations, "Aurora's K, balance rounds");
  f("pp_beta", o.pp_beta, "Aurora's β");
  f("balance", o.balance, "leverage (one polar call) or published (K of them): the same result");
  f("learning_rate", o.learning_rate, "AdamW's");
  f("matrix_lr", o.matrix_lr, "Muon's and Aurora's");
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

// --- enums as text ---------------------------------------------------------------------------

const char* name(Schedule s) {
  return s == Schedule::cosine ? "cosine" : "linear";
}

void from_text(Style& s, const std::string& text) {
  s = parse_style(text);
}
void from_text(MlpKind& m, const std::string& text) {
  m = parse_mlp(text);
}
void from_text(Schedule& s, const std::string& text) {
  if (text != "cosine" && text != "linear")
    fail("train_gpt: '", text, "' is not a schedule; use cosine or linear");
  s = text == "cosine" ? Schedule::cosine : Schedule::linear;
}

// --- defaults --------------------------------------------------------------------------------

// nanoGPT's CPU recipe; its GPU recipe for Shakespeare; GPT-2 small.
void apply_preset(const std::string& preset, TrainOptions& o) {
  GptConfig& m = o.model;
  m.bias = m.style == Style::modern;
  if (preset == "nano") {
    m.n_layer = 4, m.n_head = 4, m.n_embd = 128, m.block_size = 64;
    o.batch_size = 12, o.max_iters = 2000;
  } else if (preset == "small") {
    m.n_layer = 6, m.n_head = 6, m.n_embd = 384, m.block_size = 256, m.dropout = 0.2;
    o.batch_size = 16, o.max_iters = 5000;
  } else if (preset == "gpt2-124m") {
    m.n_layer = 12, m.n_head = 12, m.n_embd = 768, m.block_size = 1024;
    o.batch_size = 12, o.max_iters = 600000;
    o.learning_rate = 6e-4, o.beta2 = 0.95, o.warmup_iters = 2000;
  } else {
    fail("train_gpt: '", preset, "' is not a preset; use nano, small or gpt2-124m");
  }
}

// Muon and Aurora come with their own companions: where these numbers come from stands in
// optim/README.md.
void apply_optimizer_defaults(TrainOptions& o) {
  if (!o.spectral()) return;
  o.polar = o.optimizer == "muon" ? "quintic5" : "polar_express6";
  o.schedule = Schedule::linear;
  o.learning_rate = 0.01;
  o.beta1 = 0.9, o.beta2 = 0.95;
  o.weight_decay = 0.025;
  o.warmup_iters = 0;
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
  std::string preset = "nano", style = "gpt2", optimizer = "adamw", init_from = "scratch";
  std::string out_dir = RunOptions{}.out_dir;

  bool resume() const { return init_from == "resume"; }
};

// Of a fresh run: the preset's, and its optimizer's. Of a resumed one: those it was started with.
TrainOptions defaults(const Basis& basis) {
  if (basis.resume()) return read_checkpoint(basis.out_dir + "/ckpt.safetensors").options;
  TrainOptions o;
  o.model = parse_style(basis.style) == Style::modern ? GptConfig::modern() : GptConfig::gpt2();
  o.optimizer = basis.optimizer;
  apply_preset(basis.preset, o);
  apply_optimizer_defaults(o);
  return o;
}

void parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    std::exit(app.exit(help));
  } catch (const CLI::ParseError& e) {
    fail("train_gpt: ", e.what(), "; --help lists the flags");
  }
}

Basis read_basis(int argc, char** argv) {
  CLI::App first;
  first.set_help_flag();
  first.allow_extras();
  first.option_defaults()->take_last();
  Basis basis;
  first.add_option("--preset", basis.preset);
  first.add_option("--style", basis.style);
  first.add_option("--optimizer", basis.optimizer);
  first.add_option(both("init_from"), basis.init_from);
  first.add_option(both("out_dir"), basis.out_dir);
  parse(first, argc, argv);
  return basis;
}

void add_settings(CLI::App& app, TrainOptions& o) {
  for_each_setting(o, [&](const char* flag, auto& field, const char* help) {
    using Field = std::remove_reference_t<decltype(field)>;
    if constexpr (std::is_enum_v<Field>) {
      app.add_option_function<std::string>(
             both(flag), [&field](const std::string& text) { from_text(field, text); }, help)
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
  add("preset", basis.preset, "nano (nanoGPT's CPU recipe), small or gpt2-124m");
  add("data", r.data, "a text file (default: this project's own sources)");
  add("out_dir", r.out_dir, "folder for log.jsonl, ckpt.safetensors and run.json");
  add("init_from", basis.init_from, "scratch, or resume: go on from the checkpoint in --out_dir")
      ->check(CLI::IsMember({"scratch", "resume"}));
  add("log_interval", r.log_interval, "steps between lines of the log");
  add("diagnose", r.diagnose, "every N steps, log row-norm variation and polar error; 0: never");
  add("device", r.device, "cpu, cuda or cuda:N");
  add("threads", r.threads, "0: one per core");
  app.add_flag("--anomaly", r.anomaly, "stop at the first op with a non-finite result (slow)")
      ->group("Run");
}

void need(bool ok, const std::string& flag, double value, const char* rule) {
  if (!ok) fail("train_gpt: --", flag, " ", value, ": must be ", rule);
}

}  // namespace

Options parse_train_options(int argc, char** argv) {
  Basis basis = read_basis(argc, argv);
  Options options;
  TrainOptions& o = options.train;
  o = defaults(basis);
  const TrainOptions before = o;

  CLI::App app{"Trains a compact GPT on a text, from bytes to a sample.", "train_gpt"};
  app.option_defaults()->take_last();  // of a flag given twice, so that scripts can be overruled
  add_run(app, basis, options.run);
  add_settings(app, o);
  parse(app, argc, argv);

  // Settings that follow another one unless they were given; in a resumed run, if they did so
  // before.
  const auto follow = [&](const char* flag, auto& field, auto value, bool followed_before) {
    if (!app.count(flag) && (!basis.resume() || followed_before)) field = value;
  };
  const double lr = before.learning_rate;
  follow("--embed_lr", o.embed_lr, o.learning_rate, before.embed_lr == lr);
  follow("--head_lr", o.head_lr, o.learning_rate, before.head_lr == lr);
  follow("--vector_lr", o.vector_lr, o.learning_rate, before.vector_lr == lr);
  follow("--lr_decay_iters", o.lr_decay_iters, o.max_iters,
         before.lr_decay_iters == before.max_iters);
  follow("--min_lr", o.min_lr, o.schedule == Schedule::cosine ? o.learning_rate / 10 : 0,
         before.min_lr == lr / 10 || before.min_lr == 0);

  const RunOptions& r = options.run;
  options.run.resume = basis.resume();
  need(r.log_interval >= 1, "log_interval", static_cast<double>(r.log_interval), "at least 1");
  need(r.diagnose >= 0, "diagnose", static_cast<double>(r.diagnose), "0 or more");
  need(r.threads >= 0 && r.threads <= 1024, "threads", r.threads, "from 0 to 1024");
  return options;
}

void check(const TrainOptions& o) {
  const auto is_one_of = [](const std::string& text, std::initializer_list<const char*> list) {
    return std::find(list.begin(), list.end(), text) != list.end();
  };
  if (!is_one_of(o.optimizer, {"adamw", "muon", "aurora"}))
    fail("train_gpt: '", o.optimizer, "' is not an optimizer; use adamw, muon or aurora");

  parse_polar(o.polar);
  parse_where(o.where);
  parse_balance(o.balance);
  need(o.pp_iterations <= 100, "pp_iterations", static_cast<double>(o.pp_iterations),
       "from 1 to 100");

  constexpr double most = 1e9;
  for_each_setting(o, [&](const std::string& flag, const auto& field, const char*) {
    using Field = std::remove_cvref_t<decltype(field)>;
    if constexpr (std::is_same_v<Field, double>) {
      if (flag == "beta1" || flag == "beta2")
        need(field >= 0 && field < 1, flag, field, "in [0, 1)");
      else
        need(std::isfinite(field) && field >= 0, flag, field, "a number that is not negative");
    } else if constexpr (std::is_same_v<Field, int64_t>) {
      const bool may_be_zero =
          flag == "max_iters" || flag == "warmup_iters" || flag == "lr_decay_iters";
      const auto value = static_cast<double>(field);
      need(value >= (may_be_zero ? 0 : 1) && value <= most, flag, value,
           may_be_zero ? "from 0 to 1e9" : "from 1 to 1e9");
    }
  });
}

nlohmann::json to_json(const TrainOptions& o) {
  nlohmann::json j;
  for_each_setting(o, [&](const char* key, const auto& field, const char*) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(field)>>)
      j[key] = name(field);
    else
      j[key] = field;
  });
  j["vocab"] = o.model.vocab;
  return j;
}

TrainOptions train_options_from_json(const nlohmann::json& j) {
  TrainOptions o;
  Style style{};
  from_text(style, j.at("style").get<std::string>());
  if (style == Style::modern) o.model = GptConfig::modern();
  for_each_setting(o, [&](const char* key, auto& field, const char*) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(field)>>)
      from_text(field, j.at(key).get<std::string>());
    else
      j.at(key).get_to(field);
  });
  j.at("vocab").get_to(o.model.vocab);
  return o;
}

}  // namespace borealis
