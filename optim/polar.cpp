#include "optim/polar.h"

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
const std::array<Method, 5> methods{{
    {Polar::quintic5, "quintic5", {quintic5}},
    {Polar::simple_quintic12, "simple_quintic12", {simple_quintic12}},
    {Polar::cans12, "cans12", {cans12}},
    {Polar::polar_express8, "polar_express8", {polar_express8, express_safety}},
    {Polar::svd, "svd", {}},
}};
const Method& entry(Polar method) {
  return methods[static_cast<size_t>(method)];
}

// aI + bA + cA² of each Gram matrix, where A is given as b A if c = 0 (see below).
Matrix step_matrix(const Matrix& A, const PolarStep& step) {
  const auto& [a, b, c] = step;
  Matrix P = A;
  if (c != 0) {
    P = A.like();
    gemm(P, A, A, c);
    axpby(P, b, A, 1);
  }
  backend(P.device()).add_to_diagonal(P.view(), a, 0);
  return P;
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

// X ← X/(safety ‖X‖_F + eps), then per step  X ← X (aI + bA + cA²) with A = XᵀX. For a wide X the
// Gram matrix is XXᵀ and stands on the left: always the small one.
Matrix polar(const Matrix& G, Polar method) {
  if (G.transposed()) return polar(G.t(), method).t();
  Matrix X = G.like();
  if (method == Polar::svd) {
    backend(G.device()).polar_svd(X.view(), G.view());
    return X;
  }

  const PolarTable& table = polar_table(method);
  scale_each(X, G, inverse_norm(frobenius_squares(G), table.safety, table.eps, 0));

  const bool tall = G.rows() > G.cols();
  const int64_t small = tall ? G.cols() : G.rows();
  const Matrix A = Matrix::make(small, small, G.batch(), G.dtype(), G.device());
  Matrix next = G.like();
  for (const PolarStep& step : table.steps) {
    const double alpha = step[2] == 0 ? step[1] : 1;  // a cubic needs no more of A than bA
    tall ? gemm(A, X.t(), X, alpha) : gemm(A, X, X.t(), alpha);
    const Matrix P = step_matrix(A, step);
    tall ? gemm(next, X, P) : gemm(next, P, X);
    std::swap(X, next);
  }
  return X;
}

}  // namespace borealis
