// Matrix products at the shapes a GPT and its spectral optimizers ask for.
#include "engine/matrix.h"
#include "engine/rng.h"
#include "tests/bench/bench.h"

namespace borealis::bench {

namespace {

// C[batch] = A B, each of A and B kept transposed (T) or not (N), as the letters say.
struct Product {
  std::string name;
  int64_t batch, m, n, k;
  bool trans_a, trans_b;
};

void add(const Product& p) {
  add_row("gemm/" + p.name, [p](benchmark::State& state) {
    Rng rng(1);
    const Matrix A = rng.normal({p.batch, p.trans_a ? p.k : p.m, p.trans_a ? p.m : p.k}, 1);
    const Matrix B = rng.normal({p.batch, p.trans_b ? p.n : p.k, p.trans_b ? p.k : p.n}, 1);
    const Matrix C = Tensor({p.batch, p.m, p.n});
    const double flops = 2 * static_cast<double>(p.batch * p.m * p.n) * static_cast<double>(p.k);
    time_row(state, {.flops = flops}, [&] { gemm(C, p.trans_a ? A.t() : A, p.trans_b ? B.t() : B); });
  })->Unit(benchmark::kMicrosecond);
}

// y = x Wᵀ of M tokens, and its gradients dx = dy W and dW = dyᵀ x.
void add_linear(const std::string& name, int64_t M, int64_t in, int64_t out) {
  add({name + "/y_NT", 1, M, out, in, false, true});
  add({name + "/dx_NN", 1, M, in, out, false, false});
  add({name + "/dW_TN", 1, out, in, M, true, false});
}

// A polar step of tall m×n matrices: A = XᵀX, A A, X P.
void add_polar(const std::string& name, int64_t batch, int64_t m, int64_t n) {
  add({name + "/gram_TN", batch, n, n, m, true, false});
  if (m > n) add({name + "/square_NN", batch, n, n, n, false, false});
  add({name + "/apply_NN", batch, m, n, n, false, false});
}

}  // namespace

void add_gemm_rows() {
  for (const std::string preset : presets) {
    const TrainOptions o = preset_options(preset, "adamw");
    const int64_t M = o.batch_size * o.model.block_size, C = o.model.n_embd, L = o.model.n_layer;
    const int64_t H = o.model.mlp_hidden();
    add_linear(preset + "/qkv", M, C, 3 * C);
    add_linear(preset + "/attn_proj", M, C, C);
    add_linear(preset + "/mlp_fc", M, C, H);
    add_linear(preset + "/mlp_proj", M, H, C);
    add_linear(preset + "/head", M, C, o.model.vocab);
    add_polar(preset + "/polar_square", 4 * L, C, C);
    add_polar(preset + "/polar_tall", L, H, C);
  }
}

}  // namespace borealis::bench
