// Fused kernels spelled out in core ones. A new backend runs with these at once, and they are the
// reference that fast forms are tested against, callable as b.Backend::attention(…).
#include "engine/backend.h"
#include "engine/tensor.h"

namespace borealis {

namespace {

// One matrix for every head of every sequence.
struct HeadMatrix {
  void* data;
  int64_t rows, cols, ld;
  std::array<int64_t, 2> stride;  // from sequence to sequence, from head to head
  bool trans = false;

  HeadMatrix t() const { return {data, cols, rows, ld, stride, !trans}; }
};

// The matrices of an attention: q, dq, y, dy: [Tq, dim]; k, dk, v, dv: [Tk, dim]; scores: [Tq, Tk].
struct HeadMatrices {
  Backend& backend;
  const AttentionArgs& args;

  HeadMatrix queries(const void* q) const {
    return {writable(q), args.tq, args.dim, args.q_row_stride, {args.q_batch_stride, args.dim}};
  }
  HeadMatrix keys(const void* k) const {
    return {writable(k), args.tk, args.dim, args.k_row_stride, {args.k_batch_stride, args.dim}};
  }
  HeadMatrix values(const void* v) const {
    return {writable(v), args.tk, args.dim, args.v_row_stride, {args.v_batch_stride, args.dim}};
  }
  HeadMatrix outputs(const void* y) const {
    return {writable(y), args.tq, args.dim, args.y_row_stride, {args.y_batch_stride, args.dim}};
  }
  HeadMatrix scores(const Tensor& s) const {
    const int64_t size = args.tq * args.tk;
    return {s.raw(), args.tq, args.tk, args.tk, {args.heads * size, size}};
  }

  Tensor make_scores() const {
    return Tensor({args.batch, args.heads, args.tq, args.tk}, args.dtype, backend.device());
  }
  // Every score row sees its first i + offset + 1 keys.
  RowsArgs rows() const {
    return {.rows = args.batch * args.heads * args.tq,
            .cols = args.tk,
            .causal_rows = args.tq,
            .causal_offset = args.offset};
  }

  // C ← alpha A B + beta C.
  void product(const HeadMatrix& C, const HeadMatrix& A, const HeadMatrix& B, double alpha, double beta) const {
    backend.gemm({.dtype = args.dtype,
                  .m = C.rows,
                  .n = C.cols,
                  .k = A.cols,
                  .a = A.data,
                  .b = B.data,
                  .c = C.data,
                  .trans_a = A.trans,
                  .trans_b = B.trans,
                  .lda = A.ld,
                  .ldb = B.ld,
                  .ldc = C.ld,
                  .batch = {args.batch, args.heads},
                  .stride_a = A.stride,
                  .stride_b = B.stride,
                  .stride_c = C.stride,
                  .alpha = alpha,
                  .beta = beta});
  }

 private:
  // GemmArgs tells inputs from outputs again.
  static void* writable(const void* data) { return const_cast<void*>(data); }
};

}  // namespace

// S = scale Q Kᵀ,  P = softmax(S) over the visible keys,  D = dropout(P),  Y = D V.
void Backend::attention(void* y, Span lse, const AttentionArgs& args) {
  const HeadMatrices m{*this, args};
  const Tensor S = m.make_scores(), P = m.make_scores();
  m.product(m.scores(S), m.queries(args.q), m.keys(args.k).t(), args.scale, 0);
  logsumexp(lse, S, m.rows());
  softmax(P, S, m.rows());
  const bool drops = args.dropout.p > 0;
  if (drops) dropout(S, P, args.dropout, 0);  // S has served: D takes its place
  m.product(m.outputs(y), m.scores(drops ? S : P), m.values(args.v), 1, 0);
}

// dV = Dᵀ dY,  dD = dY Vᵀ,  dP = dropout(dD),  dS_ij = P_ij (dP_ij − Σ_j P_ij dP_ij),
// dQ = scale dS K,  dK = scale dSᵀ Q.  P is formed anew from Q and K; y and lse, which spare the
// fused kernel that sum and the softmax, are not needed here.
void Backend::attention_grad(const AttentionGrads& grads, const void* /*y*/, const void* dy, ConstSpan /*lse*/,
                             const AttentionArgs& args) {
  const HeadMatrices m{*this, args};
  const Tensor S = m.make_scores(), P = m.make_scores(), dP = m.make_scores();
  m.product(m.scores(S), m.queries(args.q), m.keys(args.k).t(), args.scale, 0);
  softmax(P, S, m.rows());
  const bool drops = args.dropout.p > 0;

  if (drops) dropout(S, P, args.dropout, 0);
  m.product(m.values(grads.dv), m.scores(drops ? S : P).t(), m.outputs(dy), 1, grads.beta_v);

  m.product(m.scores(drops ? S : dP), m.outputs(dy), m.values(args.v).t(), 1, 0);
  if (drops) dropout(dP, S, args.dropout, 0);
  softmax_grad(S, P, dP, m.rows(), 0);
  m.product(m.queries(grads.dq), m.scores(S), m.keys(args.k), args.scale, grads.beta_q);
  m.product(m.keys(grads.dk), m.scores(S).t(), m.queries(args.q), args.scale, grads.beta_k);
}

}  // namespace borealis
