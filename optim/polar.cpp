#include "optim/polar.h"

#include <algorithm>
#include <utility>

#include "engine/math.h"

namespace borealis {

namespace {

constexpr PolarStep muon_step{3.4445, -4.7750, 2.0315};
constexpr PolarStep simple_step{2, -1.5, 0.5};
constexpr PolarStep newton_step{1.5, -0.5, 0};

constexpr std::array<PolarStep, 5> quintic5{muon_step, muon_step, muon_step, muon_step, muon_step};

constexpr std::array<PolarStep, 12> simple_quintic12{
    simple_step, simple_step, simple_step, simple_step, simple_step, simple_step,
    simple_step, simple_step, simple_step, simple_step, simple_step, simple_step};

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
constexpr std::array<PolarStep, 8> polar_express8{
    safe(8.28721201814563, -23.595886519098837, 17.300387312530933),
    safe(4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    safe(3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    safe(3.3184196573706015, -2.488488024314874, 0.51004894012372),
    safe(2.300652019954817, -1.6689039845749493, 0.4188073119525673),
    safe(1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    safe(1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    {1.875, -1.25, 0.375}};

struct Method {
  Polar method;
  const char* name;
  PolarTable table;
};
// Where the Gram form restarts: measured, so that it is as accurate as the direct form in f32.
const std::array<Method, 6> methods{{
    {Polar::quintic5, "quintic5", {.steps = quintic5, .restarts = {3, 0}}},
    {Polar::simple_quintic12, "simple_quintic12", {.steps = simple_quintic12, .restarts = {4, 8}}},
    {Polar::cans12, "cans12", {.steps = cans12, .restarts = {3, 6}}},
    {Polar::polar_express8,
     "polar_express8",
     {.steps = polar_express8, .safety = express_safety, .restarts = {3, 0}}},
    {Polar::polar_express6,
     "polar_express6",
     {.steps = std::span(polar_express8).first(6), .safety = express_safety, .restarts = {3, 0}}},
    {Polar::svd, "svd", {}},
}};
const Method& entry(Polar method) {
  return methods[static_cast<size_t>(method)];
}

// P = aI + bA + cA²
void step_matrix(const Matrix& P, const Matrix& A, const PolarStep& step) {
  const auto& [a, b, c] = step;
  if (c != 0) gemm_symmetric(P, A, A, c);
  axpby(P, b, A, c != 0 ? 1 : 0);
  backend(P.device()).add_to_diagonal(P.view(), a, 0);
}

// Each step:  X ← X (aI + bA + cA²)  with  A = XᵀX.   Overwrites X: [m, n], m ≥ n.
Matrix iterate_direct(Matrix X, const PolarTable& table) {
  const Matrix A = Matrix::make(X.cols(), X.cols(), X.batch(), X.dtype(), X.device()), P = A.like();
  Matrix next = X.like();
  for (const PolarStep& step : table.steps) {
    gemm_symmetric(A, X.t(), X);
    step_matrix(P, A, step);
    gemm(next, X, P);
    std::swap(X, next);
  }
  return X;
}

// The same on R = XᵀX alone (Gram Newton-Schulz, Dao-AILab, 2026): with P = aI + bR + cR², the step
// X ← X P makes R ← R P², and Q gathers the product of the P's. All of these are polynomials of one
// symmetric matrix, so they commute and their products are symmetric. X is touched only where R is
// formed anew, since small singular values drown in R's rounding until they have grown.
Matrix iterate_gram(Matrix X, const PolarTable& table) {
  Matrix R = Matrix::make(X.cols(), X.cols(), X.batch(), X.dtype(), X.device());
  Matrix P = R.like(), Q = R.like(), next = R.like(), next_X = X.like();
  const size_t last = table.steps.size();
  const auto restarts = [&](size_t t) { return t == table.restarts[0] || t == table.restarts[1]; };
  for (size_t t = 0; t < last; ++t) {
    const bool fresh = t == 0 || restarts(t), closing = t + 1 == last || restarts(t + 1);
    if (fresh) gemm_symmetric(R, X.t(), X);
    step_matrix(P, R, table.steps[t]);
    if (fresh) {
      axpby(Q, 1, P, 0);
    } else {
      gemm_symmetric(next, Q, P);
      std::swap(Q, next);
    }
    if (closing) {
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

const PolarTable& polar_table(Polar method) {
  return entry(method).table;
}
const char* name(Polar method) {
  return entry(method).name;
}

Polar parse_polar(std::string_view text) {
  for (const Method& m : methods)
    if (text == m.name) return m.method;
  std::ostringstream known;
  for (const Method& m : methods) known << (m.method == Polar::quintic5 ? "" : ", ") << m.name;
  fail("polar: there is no method '", text, "'; known are ", known.str());
}

Tensor frobenius_squares(const Matrix& X) {
  return sum(row_sum_squares(X), {1}).reshape({X.batch().total()});
}

Tensor inverse_norm(const Tensor& squares, double scale, double eps, double floor) {
  const Tensor d = squares.like();
  backend(d.device()).inverse_norm(d, squares, scale, eps, floor);
  return d;
}

Matrix polar(const Matrix& G, Polar method, PolarForm form) {
  if (G.transposed()) return polar(G.t(), method, form).t();
  if (method == Polar::svd) {
    const Matrix U = G.like();
    backend(G.device()).polar_svd(U.view(), G.view());
    return U;
  }
  // A wide matrix is worked on as its transpose: XᵀX is the fast orientation, and always the small
  // one.
  const bool wide = G.rows() < G.cols();
  const Matrix tall = wide ? G.t() : G, X = tall.like();
  const PolarTable& table = polar_table(method);
  scale_each(X, tall, inverse_norm(frobenius_squares(G), table.safety, table.eps, 0));
  if (form == PolarForm::fastest)
    form = X.rows() >= 2 * X.cols() ? PolarForm::gram : PolarForm::direct;
  const Matrix result = form == PolarForm::gram ? iterate_gram(X, table) : iterate_direct(X, table);
  if (!wide) return result;
  const Matrix U = G.like();
  axpby(U, 1, result.t(), 0);
  return U;
}

}  // namespace borealis
