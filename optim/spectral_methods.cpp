#include "optim/spectral_methods.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <type_traits>
#include <vector>

#include "optim/riemannian.h"
#include "optim/stages.h"

namespace borealis {

namespace {

// One row, one optimizer, its settings in the words of --optimizer. What a row does not name is
// SpectralConfig's default without a balance: a plain polar factor, EMA momentum of 0.95 with
// look-ahead, scale √max(1, m/n), decoupled decay of 0.025. The learning rates are ours, for the
// nano preset, and so is that decay of Muon and its relatives (their code has 0 or leaves it to the
// run).
const struct {
  const char *key, *name, *settings;
  double lr;
  const char* source;
} table[] = {
    {"aurora", "Aurora", "mu=0.9,polar=polar_express6,balance=leverage", 0.025,
     "arXiv 2606.27715; polar factor and momentum chosen on the nano preset"},
    {"aurora_release", "Aurora (release)", "polar=cans12,balance=published", 0.02,
     "tilde-research/aurora-release, newer: tall matrices, CANS-12"},
    {"aurora_release_2026_05", "Aurora (first release)", "polar=simple_quintic12,balance=published,where=nonsquare",
     0.02, "tilde-research/aurora-release@3d79a5c: all but square matrices"},
    {"aurora_paper", "Aurora (paper)", "polar=cans12,balance=paper,where=up_gate", 0.02,
     "arXiv 2606.27715, Algorithm 3: the MLP's up and gate matrices"},
    {"aurora_wide", "Aurora (wide)", "polar=simple_quintic12,balance=leverage,pp_iterations=3,pp_beta=0.25,where=wide",
     0.02, "modded-nanogpt track 3 #30, its balance alone: columns of mlp.proj"},
    {"aurora_riemannian", "Riemannian Aurora", "polar=cans12,balance=riemannian", 0.02,
     "tilde-research/aurora-release, with scale and tangent space set right"},
    {"aurora_contra", "Aurora + Contra-Muon",
     "polar=simple_quintic12,balance=leverage,where=nonsquare,contra=0.2,decay=uw_floor,weight_decay=0", 0.02,
     "modded-nanogpt track 3 #17, the paper's headline run"},
    {"muon", "Muon", "polar=quintic5", 0.02, "Jordan et al., 2024; KellerJordan/Muon"},
    {"muon_simple_quintic", "Muon (simple quintic)", "polar=simple_quintic12", 0.02, "modded-nanogpt track 3"},
    {"muon_polar_express", "Muon (Polar Express)", "polar=polar_express8", 0.02, "arXiv 2505.16932"},
    {"muon_cans", "Muon (CANS)", "polar=cans12", 0.02, "arXiv 2506.10935"},
    {"turbo_muon", "Turbo-Muon", "momentum=sum,polar=turbo4", 0.02,
     "flash-newton-schulz: AOL instead of the Frobenius norm, four steps"},
    {"spectral_descent", "Spectral descent", "momentum=none,polar=simple_quintic12,weight_decay=0.015", 0.05,
     "modded-nanogpt track 3 #22: Muon without momentum"},
    {"moonlight", "Moonlight", "momentum=sum,polar=quintic5,scale=match_rms,weight_decay=0.1", 0.01,
     "arXiv 2502.16982; updates as large as AdamW's"},
    {"normuon", "NorMuon", "polar=quintic5,post=row_moment,restore=update", 0.02,
     "zichongli5/NorMuon: a second moment for each row"},
    {"normuon_paper", "NorMuon (paper)", "nesterov=false,polar=quintic5,post=row_moment,scale=update_rms", 0.01,
     "arXiv 2510.05491: update_rms instead of restore"},
    {"normuon_longer", "NorMuon (longer side)", "polar=simple_quintic12,post=longer_moment,restore=update", 0.02,
     "modded-nanogpt track 3 #10"},
    {"u_normuon", "U-NorMuon", "polar=quintic5,post=even_rows", 0.02,
     "arXiv 2606.27715, the step before Aurora; stateless"},
    {"u_normuon_stateful", "U-NorMuon (stateful)", "polar=quintic5,post=even_rows_moment", 0.02,
     "the same with averaged row lengths"},
    {"muoneq_r", "MuonEq-R", "momentum=sum,pre=rows,pre_eps=1e-8,polar=quintic5,scale=match_rms,weight_decay=0.1", 0.01,
     "MaeChd/muon-eq: rows made even before the polar factor"},
    {"muoneq_c", "MuonEq-C", "momentum=sum,pre=columns,pre_eps=1e-8,polar=quintic5,scale=match_rms,weight_decay=0.1",
     0.01, "MaeChd/muon-eq: columns"},
    {"muoneq_rc", "MuonEq-RC",
     "momentum=sum,pre=rows_columns,pre_eps=1e-8,polar=quintic5,scale=match_rms,weight_decay=0.1", 0.02,
     "MaeChd/muon-eq: both"},
    {"contra_muon", "Contra-Muon",
     "polar=simple_quintic12,contra=0.2,post=longer_moment,restore=update,decay=uw_floor,weight_decay=0", 0.02,
     "modded-nanogpt track 3 #11"},
    {"soft_muon", "Soft-Muon", "polar=soft12,restore=polar", 0.02,
     "modded-nanogpt track 3 #20, unblended, Frobenius instead of Schatten-4 norm"},
    {"adamuon", "AdaMuon",
     "pre=sign,polar=quintic5,post=element_moment,post_eps=1e-8,scale=update_rms,weight_decay=0.01", 0.02,
     "Chongjie-Si/AdaMuon"},
    {"rmnp", "RMNP", "momentum=sum,pre=rows,polar=identity", 0.006, "Dominator-Index/RMNP: even rows, no polar factor"},
    {"sron", "SRON", "momentum=none,pre=row_rms,polar=identity,scale=none,weight_decay=0", 0.001,
     "even rows of the gradient itself; nothing remembered"},
    {"sinkgd", "SinkGD", "momentum=none,pre=sinkhorn,polar=identity,scale=none,weight_decay=0", 0.001,
     "arXiv 2502.06742: rows and columns in turn"},
    {"swan", "SWAN", "momentum=none,pre=standardize,polar=cans12,restore=input,scale=none,alpha=0.05,weight_decay=0",
     0.1, "arXiv 2412.13148: rows standardised, then whitened"},
    {"muonh", "MuonH", "polar=simple_quintic12,scale=none,decay=hyperball,weight_decay=0", 0.05,
     "modded-nanogpt track 3 #5: weights keep their norm"},
    {"muon_plus", "Muon+", "nesterov=false,polar=quintic5,post=columns_rows,scale=rms_rms,weight_decay=0", 0.02,
     "arXiv 2602.21545"},
    {"muon2", "Muon²", "pre=second_moment,pre_eps=1e-10,polar=simple_quintic12,weight_decay=0.0125", 0.04,
     "modded-nanogpt track 3 #7: Adam's denominator before the polar factor"},
    {"scale", "SCALE", "momentum=none,pre=columns,polar=identity,scale=none,weight_decay=0", 0.02,
     "arXiv 2506.16659: even columns; its last layer's momentum is AdamW's here"},
    {"sgd", "SGD", "nesterov=false,polar=identity,scale=none,weight_decay=0", 3,
     "gradient descent with momentum: the pipeline with every stage off"},
};

// --- settings as text, and back --------------------------------------------------------------

std::string to_text(bool value) { return value ? "true" : "false"; }
template <class Enum>
requires std::is_enum_v<Enum> std::string to_text(Enum value) { return name(value); }
// The shortest text that reads back as the same number.
template <class Number> std::string to_text(Number value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

void from_text(bool& field, const std::string& key, const std::string& text) {
  if (text != "true" && text != "false") fail(key, ": '", text, "' is neither true nor false");
  field = text == "true";
}
template <class Number> void from_text(Number& field, const std::string& key, const std::string& text) {
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), field);
  if (trouble != std::errc() || end != text.data() + text.size())
    fail(key, ": '", text, "' is not ", std::is_integral_v<Number> ? "a whole number" : "a number");
}
template <class Enum>
requires std::is_enum_v<Enum>
void from_text(Enum& field, const std::string&, const std::string& text) { field = parse<Enum>(text); }

void set_stage(SpectralConfig& c, const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos) fail("optimizer: '", setting, "' is not stage=value, as in pre=rows");
  const std::string key = setting.substr(0, equals);
  bool found = false;
  std::string known;
  for_each_stage(c, [&](const std::string& stage, auto& field) {
    known += (known.empty() ? "" : ", ") + stage;
    if (stage != key) return;
    from_text(field, key, setting.substr(equals + 1));
    found = true;
  });
  if (!found) fail("optimizer: there is no stage '", key, "'; known are ", known);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    const size_t first = part.find_first_not_of(' '), last = part.find_last_not_of(' ');
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
  }
  return parts;
}

// "key=value" of every setting.
std::vector<std::string> settings(const SpectralConfig& c) {
  std::vector<std::string> all;
  for_each_stage(c, [&](const std::string& key, const auto& field) { all.push_back(key + '=' + to_text(field)); });
  return all;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

}  // namespace

std::span<const SpectralMethod> spectral_methods() {
  static const std::vector<SpectralMethod> methods = [] {
    std::vector<SpectralMethod> all;
    for (const auto& row : table) {
      all.push_back({row.key, {.name = row.name, .direction = {.balance = Balance::none}}, row.lr, row.source});
      set_stages(all.back().config, row.settings);
    }
    return all;
  }();
  return methods;
}

SpectralMethod parse_spectral(const std::string& text) {
  const std::vector<std::string> parts = split(text);
  const std::string key = parts.empty() ? "" : parts[0];
  for (const SpectralMethod& row : spectral_methods()) {
    if (key != row.key) continue;
    SpectralMethod method = row;
    std::set<std::string> stages_set;
    for (size_t i = 1; i < parts.size(); ++i) {
      set_stage(method.config, parts[i]);
      const std::string stage = parts[i].substr(0, parts[i].find('='));
      if (!stages_set.insert(stage).second) fail("optimizer: ", stage, " is set twice in '", text, "'");
    }
    return method;
  }
  if (key == "adamw") fail("optimizer: adamw has no stages to change, as in '", text, "'");
  fail("optimizer: there is no '", key, "'; train_gpt --list_optimizers shows all");
}

SpectralConfig muon() { return parse_spectral("muon").config; }
SpectralConfig aurora() { return parse_spectral("aurora").config; }

std::string all_stages(const SpectralConfig& c) { return joined(settings(c)); }

void set_stages(SpectralConfig& c, const std::string& text) {
  for (const std::string& setting : split(text)) set_stage(c, setting);
}

std::string stages(const SpectralConfig& c) {
  SpectralConfig nothing;
  set_stages(nothing,
             "momentum=none,mu=0,nesterov=false,polar=identity,balance=none,pp_iterations=0,pp_beta=0,scale=none,"
             "weight_decay=0");
  // What no momentum or no balance leaves without meaning is not told either.
  if (c.momentum == Momentum::none) nothing.mu = c.mu, nothing.nesterov = c.nesterov;
  if (c.direction.balance == Balance::none) nothing.direction = c.direction, nothing.where = c.where;
  nothing.direction.polar = Polar::identity;
  const std::vector<std::string> untold = settings(nothing);
  std::vector<std::string> told = settings(c);
  std::erase_if(told,
                [&](const auto& setting) { return std::find(untold.begin(), untold.end(), setting) != untold.end(); });
  return joined(told);
}

// --- costs -----------------------------------------------------------------------------------

double state_per_weight(const SpectralConfig& c, int64_t rows, int64_t cols) {
  const Tensor like({1, rows, cols});
  int64_t kept = 0;
  for (const Tensor& state : {momentum_state(c, like), pre_state(c, like), post_state(c, like)}) kept += state.numel();
  return static_cast<double>(kept) / static_cast<double>(like.numel());
}

double spectral_flops(const SpectralConfig& c, int64_t rows, int64_t cols) {
  const auto m = static_cast<double>(rows), n = static_cast<double>(cols);
  const AuroraOptions& o = c.direction;
  const double contra = c.contra > 0 ? 22 * m * n : 0;  // eleven products with a vector
  const double polar = polar_flops(o.polar, m, n);
  if (!balances(c, rows, cols, rows > cols ? Neurons::rows : Neurons::cols)) return polar + contra;
  const double small = std::min(m, n), gram = m * n * small;
  const double rounds = o.pp_iterations - 1;
  switch (o.balance) {
    case Balance::leverage:  // Gram product, Cholesky, triangular solve
      return polar + contra + rounds * (2 * gram + small * small * small / 3);
    case Balance::riemannian: {
      const RiemannianOptions r;  // three products of the long side a row_normal(), or as much
      return (1 + r.outer * r.balance_rounds) * polar + contra + (r.outer - 1) * (r.cg_steps + 2) * 3 * gram;
    }
    default: return (1 + rounds) * polar + contra;
  }
}

}  // namespace borealis
