// A spectral optimizer as settings of one pipeline, over the matrices W [m, n] = [out, in]:
//   X = momentum(G) → pre(X) → U = direction(X) → contra → post(U) → scale → decay → apply.
// The stages' code stands in optim/stages.cpp in this order, the known optimizers in
// optim/spectral_methods.cpp, a row each.
#pragma once

#include <string>

#include "../autograd/parameter.h"
#include "aurora.h"

namespace borealis {

// With zero init the two differ by the factor 1−μ only, which a polar factor forgets.
enum class Momentum {
  none,  // X = G
  ema,   // M ← μM + (1−μ)G;  X = nesterov ? (1−μ)G + μM : M
  sum,   // M ← μM + G;       X = nesterov ? G + μM : M
};

enum class Pre {
  none,
  rows,           // every row to length 1
  columns,        // every column to length 1
  rows_columns,   // both factors from the same X
  row_rms,        // every row to length √n
  standardize,    // every row to mean 0 and standard deviation 1
  sign,           // sign(X)
  second_moment,  // X / (√V + eps),  V ← β₂V + (1−β₂)G²
  sinkhorn,       // five times: rows to length √n, then columns to length √m
};

enum class Post {
  none,
  even_rows,         // rows of tall U to length √(n/m)
  even_rows_moment,  // the same with lengths averaged over steps: v_i ← β₂v_i + (1−β₂)‖U_i‖²
  row_moment,        // U_i / (√v_i + eps),  v_i ← β₂v_i + (1−β₂)·mean_j U_ij²
  longer_moment,     // the same along the longer side: columns of a wide U
  element_moment,    // U_ij / (√V_ij + eps),  V ← β₂V + (1−β₂)U²
  columns_rows,      // every column to length 1, then every row
};

// Which Frobenius norm U gets back after `post`.
enum class Restore {
  none,
  update,  // its own before post
  input,   // that of pre(X)
  polar,   // √min(m, n), a polar factor's
};

enum class Scale {
  none,        // 1
  original,    // √max(1, m/n)
  match_rms,   // 0.2 √max(m, n): the size of AdamW's updates
  rms_rms,     // √(m/n)
  spectral,    // √max(m, n)
  update_rms,  // 0.2 √(mn)/‖U‖_F
};

// Every step is W ← W − η·scale·U; before it:
enum class Decay {
  decoupled,  // W ← (1 − η·weight_decay) W
  cautious,   // the same, only where U_ij and W_ij have one sign
  hyperball,  // no decay: U is scaled to ‖W‖_F, and W brought back to its own length afterwards
  uw_floor,   // no decay: scale·U is made longer where it is shorter than floor·‖W‖_F
};

struct SpectralConfig {
  std::string name = "Spectral";  // in messages

  Momentum momentum = Momentum::ema;
  double mu = 0.95;
  bool nesterov = true;

  Pre pre = Pre::none;
  double pre_eps = 0;  // 1/√(‖X_i‖² + eps) for lengths; as written above for second_moment

  // U = polar(X), or Aurora's balanced direction for the matrices that `where` names.
  AuroraOptions direction = {};
  Where where = Where::tall;
  double contra = 0;  // U ← U − contra·X/‖X‖₂, at the same Frobenius norm

  Post post = Post::none;
  double beta2 = 0.95, post_eps = 1e-10;
  Restore restore = Restore::none;

  Scale scale = Scale::original;
  double alpha = 1;  // one more factor

  Decay decay = Decay::decoupled;
  double weight_decay = 0.025, floor = 0.35;
};

// f(key, field) for every setting that can be spelled out.
template <class Config, class F> void for_each_stage(Config& c, F&& f) {
  f("momentum", c.momentum);
  f("mu", c.mu);
  f("nesterov", c.nesterov);
  f("pre", c.pre);
  f("pre_eps", c.pre_eps);
  f("polar", c.direction.polar);
  f("balance", c.direction.balance);
  f("where", c.where);
  f("pp_iterations", c.direction.pp_iterations);
  f("pp_beta", c.direction.pp_beta);
  f("contra", c.contra);
  f("post", c.post);
  f("beta2", c.beta2);
  f("post_eps", c.post_eps);
  f("restore", c.restore);
  f("scale", c.scale);
  f("alpha", c.alpha);
  f("decay", c.decay);
  f("weight_decay", c.weight_decay);
  f("floor", c.floor);
}

// Whether the rows (of a wide matrix the columns) of this W [m, n] are balanced. Those of square
// matrices are even already; so are the rows of wide and the columns of tall ones.
bool balances(const SpectralConfig& c, int64_t m, int64_t n, Neurons neurons);

// Fails in one sentence on numbers out of range and on stages that contradict each other.
void check(const SpectralConfig& c);

template <> inline constexpr std::array words_of<Momentum>{"momentum", "none", "ema", "sum"};
template <>
inline constexpr std::array words_of<Pre>{"pre",     "none",        "rows", "columns",       "rows_columns",
                                          "row_rms", "standardize", "sign", "second_moment", "sinkhorn"};
template <>
inline constexpr std::array words_of<Post>{"post",       "none",          "even_rows",      "even_rows_moment",
                                           "row_moment", "longer_moment", "element_moment", "columns_rows"};
template <> inline constexpr std::array words_of<Restore>{"restore", "none", "update", "input", "polar"};
template <>
inline constexpr std::array words_of<Scale>{"scale",   "none",     "original",  "match_rms",
                                            "rms_rms", "spectral", "update_rms"};
template <> inline constexpr std::array words_of<Decay>{"decay", "decoupled", "cautious", "hyperball", "uw_floor"};

}  // namespace borealis
