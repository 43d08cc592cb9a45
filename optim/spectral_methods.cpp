#include "optim/spectral_methods.h"

#include <algorithm>
#include <array>

#include "optim/riemannian.h"

namespace borealis {

namespace {

constexpr AuroraOptions plain(Polar polar) { return {.polar = polar, .balance = Balance::none}; }
constexpr AuroraOptions balanced(Polar polar, Balance balance, int K = 2, double beta = 0.5) {
  return {.polar = polar, .balance = balance, .pp_iterations = K, .pp_beta = beta};
}

// One row, one optimizer. What a row does not name is SpectralConfig's default: EMA momentum of
// 0.95 with look-ahead, scale √max(1, m/n), decoupled decay of 0.025. The learning rates are ours,
// for the nano preset, and so is that decay of Muon and its relatives (their code has 0 or leaves
// it to the run).
const std::array methods{
    SpectralMethod{"aurora",
                   {.name = "Aurora", .mu = 0.9, .direction = balanced(Polar::polar_express6, Balance::leverage)},
                   0.025,
                   "arXiv 2606.27715; polar factor and momentum chosen on the nano preset"},
    SpectralMethod{"aurora_release",
                   {.name = "Aurora (release)", .direction = balanced(Polar::cans12, Balance::published)},
                   0.02,
                   "tilde-research/aurora-release, newer: tall matrices, CANS-12"},
    SpectralMethod{"aurora_release_2026_05",
                   {.name = "Aurora (first release)",
                    .direction = balanced(Polar::simple_quintic12, Balance::published),
                    .where = Where::nonsquare},
                   0.02,
                   "tilde-research/aurora-release@3d79a5c: all but square matrices"},
    SpectralMethod{
        "aurora_paper",
        {.name = "Aurora (paper)", .direction = balanced(Polar::cans12, Balance::paper), .where = Where::up_gate},
        0.02,
        "arXiv 2606.27715, Algorithm 3: the MLP's up and gate matrices"},
    SpectralMethod{"aurora_wide",
                   {.name = "Aurora (wide)",
                    .direction = balanced(Polar::simple_quintic12, Balance::leverage, 3, 0.25),
                    .where = Where::wide},
                   0.02,
                   "modded-nanogpt track 3 #30, its balance alone: columns of mlp.proj"},
    SpectralMethod{"aurora_riemannian",
                   {.name = "Riemannian Aurora", .direction = balanced(Polar::cans12, Balance::riemannian)},
                   0.02,
                   "tilde-research/aurora-release, with scale and tangent space set right"},
    SpectralMethod{"aurora_contra",
                   {.name = "Aurora + Contra-Muon",
                    .direction = balanced(Polar::simple_quintic12, Balance::leverage),
                    .where = Where::nonsquare,
                    .contra = 0.2,
                    .decay = Decay::uw_floor,
                    .weight_decay = 0},
                   0.02,
                   "modded-nanogpt track 3 #17, the paper's headline run"},
    SpectralMethod{
        "muon", {.name = "Muon", .direction = plain(Polar::quintic5)}, 0.02, "Jordan et al., 2024; KellerJordan/Muon"},
    SpectralMethod{"muon_simple_quintic",
                   {.name = "Muon (simple quintic)", .direction = plain(Polar::simple_quintic12)},
                   0.02,
                   "modded-nanogpt track 3"},
    SpectralMethod{"muon_polar_express",
                   {.name = "Muon (Polar Express)", .direction = plain(Polar::polar_express8)},
                   0.02,
                   "arXiv 2505.16932"},
    SpectralMethod{"muon_cans", {.name = "Muon (CANS)", .direction = plain(Polar::cans12)}, 0.02, "arXiv 2506.10935"},
    SpectralMethod{"turbo_muon",
                   {.name = "Turbo-Muon", .momentum = Momentum::sum, .direction = plain(Polar::turbo4)},
                   0.02,
                   "flash-newton-schulz: AOL instead of the Frobenius norm, four steps"},
    SpectralMethod{"spectral_descent",
                   {.name = "Spectral descent",
                    .momentum = Momentum::none,
                    .direction = plain(Polar::simple_quintic12),
                    .weight_decay = 0.015},
                   0.05,
                   "modded-nanogpt track 3 #22: Muon without momentum"},
    SpectralMethod{"moonlight",
                   {.name = "Moonlight",
                    .momentum = Momentum::sum,
                    .direction = plain(Polar::quintic5),
                    .scale = Scale::match_rms,
                    .weight_decay = 0.1},
                   0.01,
                   "arXiv 2502.16982; updates as large as AdamW's"},
    SpectralMethod{
        "normuon",
        {.name = "NorMuon", .direction = plain(Polar::quintic5), .post = Post::row_moment, .restore = Restore::update},
        0.02,
        "zichongli5/NorMuon: a second moment for each row"},
    SpectralMethod{"normuon_paper",
                   {.name = "NorMuon (paper)",
                    .nesterov = false,
                    .direction = plain(Polar::quintic5),
                    .post = Post::row_moment,
                    .scale = Scale::update_rms},
                   0.01,
                   "arXiv 2510.05491: update_rms instead of restore"},
    SpectralMethod{"normuon_longer",
                   {.name = "NorMuon (longer side)",
                    .direction = plain(Polar::simple_quintic12),
                    .post = Post::longer_moment,
                    .restore = Restore::update},
                   0.02,
                   "modded-nanogpt track 3 #10"},
    SpectralMethod{"u_normuon",
                   {.name = "U-NorMuon", .direction = plain(Polar::quintic5), .post = Post::even_rows},
                   0.02,
                   "arXiv 2606.27715, the step before Aurora; stateless"},
    SpectralMethod{
        "u_normuon_stateful",
        {.name = "U-NorMuon (stateful)", .direction = plain(Polar::quintic5), .post = Post::even_rows_moment},
        0.02,
        "the same with averaged row lengths"},
    SpectralMethod{"muoneq_r",
                   {.name = "MuonEq-R",
                    .momentum = Momentum::sum,
                    .pre = Pre::rows,
                    .pre_eps = 1e-8,
                    .direction = plain(Polar::quintic5),
                    .scale = Scale::match_rms,
                    .weight_decay = 0.1},
                   0.01,
                   "MaeChd/muon-eq: rows made even before the polar factor"},
    SpectralMethod{"muoneq_c",
                   {.name = "MuonEq-C",
                    .momentum = Momentum::sum,
                    .pre = Pre::columns,
                    .pre_eps = 1e-8,
                    .direction = plain(Polar::quintic5),
                    .scale = Scale::match_rms,
                    .weight_decay = 0.1},
                   0.01,
                   "MaeChd/muon-eq: columns"},
    SpectralMethod{"muoneq_rc",
                   {.name = "MuonEq-RC",
                    .momentum = Momentum::sum,
                    .pre = Pre::rows_columns,
                    .pre_eps = 1e-8,
                    .direction = plain(Polar::quintic5),
                    .scale = Scale::match_rms,
                    .weight_decay = 0.1},
                   0.02,
                   "MaeChd/muon-eq: both"},
    SpectralMethod{"contra_muon",
                   {.name = "Contra-Muon",
                    .direction = plain(Polar::simple_quintic12),
                    .contra = 0.2,
                    .post = Post::longer_moment,
                    .restore = Restore::update,
                    .decay = Decay::uw_floor,
                    .weight_decay = 0},
                   0.02,
                   "modded-nanogpt track 3 #11"},
    SpectralMethod{"soft_muon",
                   {.name = "Soft-Muon", .direction = plain(Polar::soft12), .restore = Restore::polar},
                   0.02,
                   "modded-nanogpt track 3 #20, unblended, Frobenius instead of Schatten-4 norm"},
    SpectralMethod{"adamuon",
                   {.name = "AdaMuon",
                    .pre = Pre::sign,
                    .direction = plain(Polar::quintic5),
                    .post = Post::element_moment,
                    .post_eps = 1e-8,
                    .scale = Scale::update_rms,
                    .weight_decay = 0.01},
                   0.02,
                   "Chongjie-Si/AdaMuon"},
    SpectralMethod{"rmnp",
                   {.name = "RMNP", .momentum = Momentum::sum, .pre = Pre::rows, .direction = plain(Polar::identity)},
                   0.006,
                   "Dominator-Index/RMNP: even rows, no polar factor"},
    SpectralMethod{"sron",
                   {.name = "SRON",
                    .momentum = Momentum::none,
                    .pre = Pre::row_rms,
                    .direction = plain(Polar::identity),
                    .scale = Scale::none,
                    .weight_decay = 0},
                   0.001,
                   "even rows of the gradient itself; nothing remembered"},
    SpectralMethod{"sinkgd",
                   {.name = "SinkGD",
                    .momentum = Momentum::none,
                    .pre = Pre::sinkhorn,
                    .direction = plain(Polar::identity),
                    .scale = Scale::none,
                    .weight_decay = 0},
                   0.001,
                   "arXiv 2502.06742: rows and columns in turn"},
    SpectralMethod{"swan",
                   {.name = "SWAN",
                    .momentum = Momentum::none,
                    .pre = Pre::standardize,
                    .direction = plain(Polar::cans12),
                    .restore = Restore::input,
                    .scale = Scale::none,
                    .alpha = 0.05,
                    .weight_decay = 0},
                   0.1,
                   "arXiv 2412.13148: rows standardised, then whitened"},
    SpectralMethod{"muonh",
                   {.name = "MuonH",
                    .direction = plain(Polar::simple_quintic12),
                    .scale = Scale::none,
                    .decay = Decay::hyperball,
                    .weight_decay = 0},
                   0.05,
                   "modded-nanogpt track 3 #5: weights keep their norm"},
    SpectralMethod{"muon_plus",
                   {.name = "Muon+",
                    .nesterov = false,
                    .direction = plain(Polar::quintic5),
                    .post = Post::columns_rows,
                    .scale = Scale::rms_rms,
                    .weight_decay = 0},
                   0.02,
                   "arXiv 2602.21545"},
    SpectralMethod{"muon2",
                   {.name = "Muon²",
                    .pre = Pre::second_moment,
                    .pre_eps = 1e-10,
                    .direction = plain(Polar::simple_quintic12),
                    .weight_decay = 0.0125},
                   0.04,
                   "modded-nanogpt track 3 #7: Adam's denominator before the polar factor"},
    SpectralMethod{"scale",
                   {.name = "SCALE",
                    .momentum = Momentum::none,
                    .pre = Pre::columns,
                    .direction = plain(Polar::identity),
                    .scale = Scale::none,
                    .weight_decay = 0},
                   0.02,
                   "arXiv 2506.16659: even columns; its last layer's momentum is AdamW's here"},
    SpectralMethod{"sgd",
                   {.name = "SGD",
                    .nesterov = false,
                    .direction = plain(Polar::identity),
                    .scale = Scale::none,
                    .weight_decay = 0},
                   3,
                   "gradient descent with momentum: the pipeline with every stage off"},
};

}  // namespace

std::span<const SpectralMethod> spectral_methods() { return methods; }

// --- costs -----------------------------------------------------------------------------------

double state_per_weight(const SpectralConfig& c, int64_t rows, int64_t cols) {
  const auto m = static_cast<double>(rows), n = static_cast<double>(cols);
  double state = c.momentum == Momentum::none ? 0 : 1;
  if (c.pre == Pre::second_moment) state += 1;
  if (c.post == Post::element_moment) state += 1;
  if (c.post == Post::row_moment) state += 1 / n;
  if (c.post == Post::longer_moment) state += 1 / std::min(m, n);
  if (c.post == Post::even_rows_moment && m > n) state += 1 / n;
  return state;
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
