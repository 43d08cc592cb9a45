// Fused kernels spelled out in core ones. A new backend runs with these at once, and they are the
// reference that fast forms are tested against, callable as b.Backend::attention(…).
#include "engine/backend.h"
#include "engine/matrix.h"

namespace borealis {

namespace {

// A score for each query and key of each sequence and head.
Tensor make_scores(const MatrixView& q, const MatrixView& k, Device device) {
  return Tensor({q.batch.count[0], q.batch.count[1], q.rows, k.rows}, q.dtype, device);
}

// Query i sees its first i + offset + 1 keys.
RowsArgs visible(const MatrixView& q, const MatrixView& k, const AttentionArgs& args) {
  return {.rows = q.batch.total() * q.rows, .cols = k.rows, .causal_rows = q.rows, .causal_offset = args.offset};
}

}  // namespace

// S = scale Q Kᵀ,  P = softmax(S) over the visible keys,  D = dropout(P),  Y = D V.
void Backend::attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k, const MatrixView& v,
                        const AttentionArgs& args) {
  const Tensor S = make_scores(q, k, device()), P = S.like();
  const RowsArgs rows = visible(q, k, args);
  gemm(Matrix(S), q, k.t(), args.scale, 0, false);
  logsumexp(lse, S, rows);
  softmax(P, S, rows);
  const bool drops = args.dropout.p > 0;
  if (drops) dropout(S, P, args.dropout, 0);  // S has served: D takes its place
  gemm(y, Matrix(drops ? S : P), v, 1, 0, false);
}

// dV = Dᵀ dY,  dD = dY Vᵀ,  dP = dropout(dD),  dS_ij = P_ij (dP_ij − Σ_j P_ij dP_ij),
// dQ = scale dS K,  dK = scale dSᵀ Q.  P is formed anew from Q and K; y and lse, which spare the
// fused kernel that sum and the softmax, are not needed here.
void Backend::attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                             const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& /*y*/,
                             const MatrixView& dy, ConstSpan /*lse*/, const AttentionArgs& args) {
  const Tensor S = make_scores(q, k, device()), P = S.like(), dP = S.like();
  const RowsArgs rows = visible(q, k, args);
  gemm(Matrix(S), q, k.t(), args.scale, 0, false);
  softmax(P, S, rows);
  const bool drops = args.dropout.p > 0;

  if (drops) dropout(S, P, args.dropout, 0);
  gemm(dv, Matrix(drops ? S : P).t(), dy, 1, beta, false);

  gemm(Matrix(drops ? S : dP), dy, v.t(), 1, 0, false);
  if (drops) dropout(dP, S, args.dropout, 0);
  softmax_grad(S, P, dP, rows, 0);
  gemm(dq, Matrix(S), k, args.scale, beta, false);
  gemm(dk, Matrix(S).t(), q, args.scale, beta, false);
}

}  // namespace borealis
