// The kinds of golden numbers that need optim/ and nn/: polar factors, optimizers, whole models.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "nn/gpt.h"
#include "nn/weights.h"
#include "optim/adamw.h"
#include "optim/param_arena.h"
#include "optim/polar.h"
#include "optim/spectral.h"
#include "tests/compare.h"
#include "tests/fixture_cases.h"

namespace borealis {

using nlohmann::json;

namespace {

constexpr double bound_f32 = 2e-5;
constexpr double bound_polar = 1e-4, bound_gradients = 1e-4, bound_losses = 1e-4;

std::optional<Polar> known_polar(const std::string& text) {
  try {
    return parse<Polar>(text);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

// The coefficients and the scaling of the input that the file was made with, against ours.
double table_error(const json& theirs, const PolarTable& ours) {
  const json& rows = theirs.at("rows");
  double error = std::abs(theirs.value("safety", 1.0) - ours.safety);
  error = std::max(error, std::abs(theirs.value("eps", ours.eps) - ours.eps));
  if (rows.size() != ours.steps.size()) return std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t k = 0; k < 3; ++k) error = std::max(error, std::abs(rows[i].at(k).get<double>() - ours.steps[i][k]));
  return error;
}

std::vector<FixtureResult> check_tables(const Fixture& f) {
  std::vector<FixtureResult> results;
  const json methods = f.json("methods");
  for (const auto& [name, theirs] : methods.items()) {
    const std::optional<Polar> method = known_polar(name);
    if (!method || !theirs.contains("rows")) continue;
    const double error = table_error(theirs, polar_table(*method));
    results.push_back(f.measure("coefficients/" + name, bound_f32, [&](DType) { return error; }));
  }
  return results;
}

}  // namespace

std::vector<FixtureResult> run_polar(const Fixture& f) {
  std::vector<FixtureResult> results = check_tables(f);
  const json cases = f.json("cases");
  for (const auto& [name, info] : cases.items())
    for (const std::string& method : info.at("outputs").get<std::vector<std::string>>()) {
      const std::string output = name + '/' + method;
      const std::optional<Polar> known = known_polar(method);
      if (!known)
        results.push_back(f.skip(output, method));
      else
        results.push_back(f.measure(output, bound_polar, [&, &name = name](DType dtype) {
          // Both forms must hold the bound (svd has one).
          double worst = 0;
          for (const PolarForm form : {PolarForm::direct, PolarForm::gram})
            worst = std::max(
                worst, relative_error(polar(f.on_device(name + "/X", dtype), *known, form).tensor(), f.at(output)));
          return worst;
        }));
    }
  return results;
}

// --- optimizers ------------------------------------------------------------------------------

namespace {

bool is_spectral(const std::string& kind) {
  const auto methods = spectral_methods();
  return std::any_of(methods.begin(), methods.end(), [&](const auto& m) { return kind == m.key; });
}

std::unique_ptr<Part> make_optimizer(const json& info, const ParamArena& arena) {
  const std::string kind = info.at("optimizer");
  if (kind == "adamw")
    return std::make_unique<AdamW>(arena, AdamWOptions{.beta1 = info.at("beta1"),
                                                       .beta2 = info.at("beta2"),
                                                       .eps = info.at("eps"),
                                                       .weight_decay = info.at("weight_decay")});
  SpectralConfig config = parse_spectral(kind).config;
  AuroraOptions& direction = config.direction;
  const auto set = [&](const char* key, auto& field) {
    if constexpr (std::is_arithmetic_v<std::remove_reference_t<decltype(field)>>)
      if (info.contains(key)) info.at(key).get_to(field);
  };
  for_each_stage(config, set);  // the numbers; of the words, files tell polar, where and balance
  set("row_norm_eps", direction.row_norm_eps);
  set("row_sq_eps", direction.row_sq_eps);
  if (info.contains("polar")) direction.polar = parse<Polar>(info.at("polar").get<std::string>());
  if (info.contains("where")) config.where = parse<Where>(info.at("where").get<std::string>());
  if (kind == "aurora") direction.balance = parse<Balance>(info.value("balance", std::string("published")));
  return std::make_unique<Spectral>(arena, config);
}

// W₀ through the recorded gradients; the largest error of any W on the way.
double optimizer_error(const Fixture& f, const std::string& name, const json& info, DType dtype) {
  const Parameter W{.name = "W",
                    .role = Role::hidden_matrix,
                    .var = Var::leaf(f.on_device(name + "/W0", dtype).clone(), "W"),
                    .neurons = Neurons::rows};
  const ParamArena arena({W});
  const std::unique_ptr<Part> optimizer = make_optimizer(info, arena);
  double error = 0;
  for (int t = 1; t <= info.at("steps").get<int>(); ++t) {
    const Tensor G = f.on_device(name + "/G" + std::to_string(t), dtype);
    arena.zero_grad();
    sum(W.var * Var(G)).backward();  // its gradient is G
    optimizer->step(info.at("lr").get<double>());
    error = std::max(error, relative_error(W.var.value(), f.at(name + "/W" + std::to_string(t))));
  }
  return error;
}

}  // namespace

std::vector<FixtureResult> run_optimizers(const Fixture& f) {
  std::vector<FixtureResult> results = check_tables(f);
  const json cases = f.json("cases");
  for (const auto& [name, info] : cases.items()) {
    const std::string kind = info.at("optimizer");
    const std::string method = info.value("polar", std::string());
    if (kind != "adamw" && !is_spectral(kind))
      results.push_back(f.skip(name, kind));
    else if (kind != "adamw" && !known_polar(method))
      results.push_back(f.skip(name, method));
    else
      results.push_back(f.measure(name, bound_f32, [&, &case_name = name, &case_info = info](DType dtype) {
        return optimizer_error(f, case_name, case_info, dtype);
      }));
  }
  return results;
}

// --- models ----------------------------------------------------------------------------------

namespace {

GptConfig make_config(const json& m) {
  GptConfig c = parse<Style>(m.at("style").get<std::string>()) == Style::gpt2 ? GptConfig::gpt2() : GptConfig::modern();
  c.vocab = m.at("vocab");
  c.block_size = m.at("block_size");
  c.n_layer = m.at("n_layer");
  c.n_head = m.at("n_head");
  c.n_embd = m.at("n_embd");
  c.mlp_expansion = m.at("mlp_hidden").get<double>() / m.at("n_embd").get<double>();
  c.bias = m.value("bias", c.bias);
  c.tied = m.value("tied", c.tied);
  c.logit_cap = m.value("logit_cap", c.logit_cap);
  c.norm_after_embedding = m.value("rms_norm_after_embedding", c.norm_after_embedding);
  c.norm_eps = m.value(c.norm == NormKind::layer ? "layer_norm_eps" : "rms_norm_eps", c.norm_eps);
  if (m.contains("attention_scale"))  // a number, or the words for 1/√(head size)
    c.attention_scale = m["attention_scale"].is_number() ? m["attention_scale"].get<double>() : 0;
  const std::string mlp = m.value("mlp", "gelu"), gelu = m.value("gelu", "erf");
  c.mlp = mlp == "relu squared" ? MlpKind::relu_squared
          : mlp == "swiglu"     ? MlpKind::swiglu
          : gelu == "tanh"      ? MlpKind::gelu_tanh
                                : MlpKind::gelu_erf;
  return c;
}

// A model with the file's weights, and what the file says comes out of it.
class ModelRun {
 public:
  ModelRun(const Fixture& fixture, DType dtype)
      : f_(fixture), rng_(0), gpt_(make_config(f_.json("model")), rng_, dtype, f_.device), params_(gpt_.parameters()) {
    from_file(params_, under("param/"), f_.stem);
  }

  double logits_error() const { return relative_error(gpt_(ids()).value(), f_.at("logits")); }

  double gradients_error() const {
    backward();
    ParamList gradients = params_;
    for (Parameter& p : gradients) p.var = Var(p.var.grad());
    const std::map<std::string, Tensor> ours = to_file(gradients), theirs = under("grad/");
    double error = ours.size() == theirs.size() ? 0 : std::numeric_limits<double>::infinity();
    for (const auto& [name, g] : theirs)
      error = std::max(error,
                       ours.count(name) ? relative_error(ours.at(name), g) : std::numeric_limits<double>::infinity());
    return error;
  }

  double grad_norm_error() const {
    const ParamArena arena(params_);
    backward();
    return relative_error(clip_grad_norm(arena, 0).reshape({1}), f_.at("grad_norm"));
  }

  double losses_error(const json& train) const {
    const ParamArena arena(params_);
    AdamW optimizer(arena, {.beta1 = train.at("beta1"),
                            .beta2 = train.at("beta2"),
                            .eps = train.at("eps"),
                            .weight_decay = train.at("weight_decay")});
    std::vector<double> losses;
    for (int64_t t = 0; t < f_.at("adamw_losses").numel(); ++t) {
      arena.zero_grad();
      losses.push_back(backward());
      clip_grad_norm(arena, train.at("grad_clip"));
      optimizer.step(train.at("lr").get<double>());
    }
    return relative_error(Tensor::of(f_.at("adamw_losses").shape(), losses), f_.at("adamw_losses"));
  }

 private:
  const Fixture& f_;
  Rng rng_;
  Gpt gpt_;
  ParamList params_;

  Tensor ids() const { return f_.on_device("ids", DType::i32); }
  double backward() const {
    const Var loss = gpt_.loss(ids(), f_.on_device("targets", DType::i32));
    loss.backward();
    return loss.item();
  }

  std::map<std::string, Tensor> under(const std::string& prefix) const {
    std::map<std::string, Tensor> out;
    for (const auto& [name, t] : f_.file.tensors)
      if (name.starts_with(prefix)) out[name.substr(prefix.size())] = t;
    return out;
  }
};

}  // namespace

std::vector<FixtureResult> run_model(const Fixture& f) {
  const auto part = [&](const char* what, double bound, const auto& error) {
    return f.measure(f.stem + '/' + what, bound, [&](DType dtype) { return error(ModelRun(f, dtype)); });
  };
  std::vector<FixtureResult> results = {
      part("logits", bound_f32, [](const ModelRun& run) { return run.logits_error(); }),
      part("gradients", bound_gradients, [](const ModelRun& run) { return run.gradients_error(); }),
      part("grad_norm", bound_gradients, [](const ModelRun& run) { return run.grad_norm_error(); })};
  const json train = f.json("train");
  if (train.at("optimizer") != "adamw")
    results.push_back(f.skip(f.stem + "/losses", train.at("optimizer")));
  else
    results.push_back(part("losses", bound_losses, [&](const ModelRun& run) { return run.losses_error(train); }));
  return results;
}

}  // namespace borealis
