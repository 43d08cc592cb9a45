#include "optim/polar.h"

#include <algorithm>
#include <utility>

#include "engine/math.h"

namespace borealis {

namespace {

constexpr PolarStep newton_step{1.5, -0.5, 0};

template <size_t n> constexpr std::array<PolarStep, n> times(const PolarStep& step) {
  std::array<PolarStep, n> steps{};
  steps.fill(step);
  return steps;
}
constexpr auto quintic5 = times<5>({3.4445, -4.7750, 2.0315});
constexpr auto simple_quintic12 = times<12>({2, -1.5, 0.5});

// The best odd cubic on [a, b], from [0.00085, 1] on; each maps its interval to [1 − e, 1 + e], the
// next one's interval. No safety: a singular value above 1.0004 would end up near −1, which the
// Frobenius norm excludes.
constexpr std::array<PolarStep, 12> cans12{{{5.182503604966906, -5.178098480082684, 0},
                                            {2.5861207373959156, -0.6479542005271646, 0},
                                            {2.5673641267261864, -0.6454968804392183, 0},
                                            {2.5205600843482636, -0.6393528082067043, 0},
                                            {2.4107592754351783, -0.6248683598710713, 0},
                                            {2.188334813009411, -0.5952022073798902, 0},
                                            {1.8595760874873528, -0.5504490972723954, 0},
                                            {1.589020160467413, -0.5126569802066713, 0},
                                            {1.5051653981684994, -0.50073770687518, 0},
                                            newton_step,
                                            newton_step,
                                            newton_step}};

// The published steps blow up for σ > 1.0001, so all but the last are meant for σ/1.01.
constexpr double express_safety = 1.01;
constexpr PolarStep safe(double a, double b, double c) {
  constexpr double s = express_safety;
  return {a / s, b / (s * s * s), c / (s * s * s * s * s)};
}
constexpr std::array<PolarStep, 8> polar_express8{safe(8.28721201814563, -23.595886519098837, 17.300387312530933),
                                                  safe(4.107059111542203, -2.9478499167379106, 0.5448431082926601),
                                                  safe(3.9486908534822946, -2.908902115962949, 0.5518191394370137),
                                                  safe(3.3184196573706015, -2.488488024314874, 0.51004894012372),
                                                  safe(2.300652019954817, -1.6689039845747493, 0.4188073119525673),
                                                  safe(1.891301407787398, -1.2679958271945868, 0.37680408948524835),
                                                  safe(1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
                                                  {1.875, -1.25, 0.375}};

// Safety 1.02 and a cushion of 2 are in the numbers already.
constexpr std::array<PolarStep, 5> polar_express5{{{8.156554524902461, -22.48329292557795, 15.878769915207462},
                                                   {4.042929935166739, -2.808917465908714, 0.5000178451051316},
                                                   {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
                                                   {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
                                                   {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}}};

constexpr std::array<PolarStep, 5> you5{{{4.0848, -6.8946, 2.9270},
                                         {3.9505, -6.3029, 2.6377},
                                         {3.7418, -5.5913, 2.3037},
                                         {2.8769, -3.1427, 1.2046},
                                         {2.8366, -3.0525, 1.2012}}};

constexpr std::array<PolarStep, 4> turbo4{
    {{4.6051, -9.6552, 5.6769}, {4.7505, -6.0861, 2.1790}, {2.7763, -2.3190, 0.5523}, {2.4231, -2.2861, 0.8193}}};

// Weights of the iterates 0 … 11, fitted to σ^0.1; their sum is 1.
constexpr std::array<double, 12> soft_weights{0.1091613623,  0.07085664498, 0.05210528973, 0.05457295795,
                                              0.05011334061, 0.03334622198, 0.05022104481, 0.1053727358,
                                              0.1187323776,  0.1185061091,  0.1185059576,  0.1185059576};

// In the order of the enum. Where the Gram form restarts was measured: so that it is as accurate as
// the direct form in f32.
const std::array<PolarTable, words<Polar>().size()> tables{{
    {.steps = quintic5, .restarts = {3, 0}},
    {.steps = simple_quintic12, .restarts = {4, 8}},
    {.steps = cans12, .restarts = {3, 6}},
    {.steps = polar_express8, .safety = express_safety, .restarts = {3, 0}},
    {.steps = std::span(polar_express8).first(6), .safety = express_safety, .restarts = {3, 0}},
    {.steps = polar_express5, .safety = 1.02, .eps = 1e-6, .restarts = {3, 0}},
    {.steps = you5, .restarts = {3, 0}},
    {.steps = turbo4, .restarts = {2, 0}, .aol = true},
    {.steps = std::span(simple_quintic12).first(11), .mean = soft_weights},
    {},  // identity
    {},  // svd
}};

// The Gram matrix pays where the sides differ by a factor of two or more.
PolarForm resolve(PolarForm form, Polar method, double m, double n) {
  if (!polar_table(method).mean.empty()) return PolarForm::direct;  // it needs every iterate
  if (form != PolarForm::fastest) return form;
  return std::max(m, n) >= 2 * std::min(m, n) ? PolarForm::gram : PolarForm::direct;
}

bool starts_afresh(const PolarTable& table, size_t step) {
  return step == 0 || step == table.restarts[0] || step == table.restarts[1];
}
bool ends_a_run(const PolarTable& table, size_t step) {
  return step + 1 == table.steps.size() || starts_afresh(table, step + 1);
}

// P = aI + bA + cA²
void step_matrix(const Matrix& P, const Matrix& A, const PolarStep& step) {
  const auto& [a, b, c] = step;
  if (c != 0) gemm_symmetric(P, A, A, c);
  axpby(P, b, A, c != 0 ? 1 : 0);
  add_to_diagonal(P, a);
}

// Each step:  X ← X (aI + bA + cA²)  with  A = XᵀX.   Overwrites X: [m, n], m ≥ n.
Matrix iterate_direct(Matrix X, const PolarTable& table) {
  const Matrix A = Matrix::make(X.cols(), X.cols(), X.batch(), X.dtype(), X.device()), P = A.like();
  Matrix next = X.like();
  const bool mean = !table.mean.empty();
  const Matrix sum = mean ? X.like() : Matrix();
  if (mean) axpby(sum, table.mean[0], X, 0);
  for (size_t t = 0; t < table.steps.size(); ++t) {
    gemm_symmetric(A, X.t(), X);
    step_matrix(P, A, table.steps[t]);
    gemm(next, X, P);
    std::swap(X, next);
    if (mean) axpby(sum, table.mean[t + 1], X, 1);
  }
  return mean ? sum : X;
}

// The same on R = XᵀX alone (Gram Newton-Schulz, Dao-AILab, 2026): with P = aI + bR + cR², the step
// X ← X P makes R ← R P², and Q gathers the product of the P's. All of these are polynomials of one
// symmetric matrix, so they commute and their products are symmetric. X is touched only where R is
// formed anew, since small singular values drown in R's rounding until they have grown.
Matrix iterate_gram(Matrix X, const PolarTable& table) {
  Matrix R = Matrix::make(X.cols(), X.cols(), X.batch(), X.dtype(), X.device());
  Matrix P = R.like(), Q = R.like(), next = R.like(), next_X = X.like();
  for (size_t t = 0; t < table.steps.size(); ++t) {
    const bool fresh = starts_afresh(table, t);
    if (fresh) gemm_symmetric(R, X.t(), X);
    step_matrix(P, R, table.steps[t]);
    if (fresh) {
      axpby(Q, 1, P, 0);
    } else {
      gemm_symmetric(next, Q, P);
      std::swap(Q, next);
    }
    if (ends_a_run(table, t)) {
      gemm(next_X, X, Q);
      std::swap(X, next_X);
    } else {
      gemm_symmetric(next, R, P);
      gemm_symmetric(R, next, P);
    }
  }
  return X;
}

}  // namespace

const PolarTable& polar_table(Polar method) { return tables[static_cast<size_t>(method)]; }

double polar_flops(Polar method, double m, double n, PolarForm form) {
  const PolarTable& table = polar_table(method);
  if (m < n) std::swap(m, n);
  const bool gram = resolve(form, method, m, n) == PolarForm::gram;
  const double half = n * n * n;  // of a product of two n×n matrices
  double flops = table.aol ? m * n * n : 0;
  for (size_t t = 0; t < table.steps.size(); ++t) {
    const bool fresh = !gram || starts_afresh(table, t), closing = !gram || ends_a_run(table, t);
    flops += fresh ? m * n * n : half;            // XᵀX, or Q P
    if (table.steps[t][2] != 0) flops += half;    // A A
    flops += closing ? 2 * m * n * n : 2 * half;  // X P or X Q, or R P²
  }
  return flops;
}

Matrix polar(const Matrix& G, Polar method, PolarForm form) {
  if (G.view().col_stride != 1) return polar(G.t(), method, form).t();
  if (method == Polar::identity) return copy(G);
  if (method == Polar::svd) {
    const Matrix U = G.like();
    backend(G.device()).polar_svd(U, G);
    return U;
  }
  // A wide matrix is worked on as its transpose: XᵀX is the fast orientation, and always the small
  // one.
  const bool wide = G.rows() < G.cols();
  const Matrix tall = wide ? G.t() : G, X = tall.like();
  const PolarTable& table = polar_table(method);
  scale_each(X, tall, inverse_norm(frobenius_squares(G), table.safety, table.eps, 0));
  if (table.aol) {  // X ← X S,  S_jj = (Σ_i |XᵀX|_ij)^−½
    const Tensor sizes = unary(UnaryOp::sqrt, unary(UnaryOp::square, gram(X).tensor()));
    scale_rows(X.t(), inverse_norm(sum(sizes, {-1})), X.t());
  }
  const auto m = static_cast<double>(X.rows()), n = static_cast<double>(X.cols());
  const Matrix U = resolve(form, method, m, n) == PolarForm::gram ? iterate_gram(X, table) : iterate_direct(X, table);
  return wide ? copy(U.t()) : U;
}

}  // namespace borealis
