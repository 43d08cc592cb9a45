// Fused causal attention. A block of queries meets all keys it may see at once: the scores stay in
// cache, and the masked half costs nothing beyond the last block of keys. Only y and lse are kept;
// the gradient forms the probabilities again from lse (Dao et al., "FlashAttention", 2022).
//
// Scores lie transposed, [keys, queries of the block]: neighbours belong to different queries, so
// maxima and sums over the keys run down the columns, whole SIMD vectors side by side.
#include <limits>

#include "engine/cpu/backend.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/gemm.h"
#include "engine/cpu/loops.h"
#include "engine/tensor.h"

namespace borealis {

namespace {

constexpr int64_t query_block = 32;

// Rows of numbers `ld` apart: a matrix of one head, or part of one. t() is its transpose.
template <class T> struct Rows {
  T* data;
  int64_t ld;
  bool trans = false;

  T* operator[](int64_t i) const { return data + i * ld; }
  Rows from(int64_t i) const { return {(*this)[i], ld, trans}; }
  Rows t() const { return {data, ld, !trans}; }
  operator Rows<const T>() const { return {data, ld, trans}; }
};

// C [m, n] ← alpha A B + beta C, with A: [m, k]. On this thread.
template <class T>
void product(int64_t m, int64_t n, int64_t k, Rows<T> C, Rows<const std::type_identity_t<T>> A,
             Rows<const std::type_identity_t<T>> B, double alpha, double beta) {
  if (m == 0 || n == 0) return;
  gemm_tile<T>({m, n, k, A.data, B.data, C.data, A.ld, B.ld, C.ld, A.trans, B.trans, alpha, beta});
}

// One head of one sequence.
template <class T> class Head {
 public:
  Head(const AttentionArgs& args, int64_t index)
      : args_(args), index_(index), s_(index / args.heads), h_(index % args.heads) {}

  Rows<const T> q() const { return queries(static_cast<const T*>(args_.q)); }
  Rows<const T> k() const { return keys(static_cast<const T*>(args_.k)); }
  Rows<const T> v() const { return values(static_cast<const T*>(args_.v)); }
  // This head's part of memory that lies like q (dq), k (dk), v (dv), y (dy) and lse.
  template <class U> Rows<U> queries(U* q) const { return at(q, args_.q_batch_stride, args_.q_row_stride); }
  template <class U> Rows<U> keys(U* k) const { return at(k, args_.k_batch_stride, args_.k_row_stride); }
  template <class U> Rows<U> values(U* v) const { return at(v, args_.v_batch_stride, args_.v_row_stride); }
  template <class U> Rows<U> outputs(U* y) const { return at(y, args_.y_batch_stride, args_.y_row_stride); }
  template <class U> U* per_query(U* lse) const { return lse + index_ * args_.tq; }

  // How many keys query i sees: 0 … i + offset.
  int64_t visible(int64_t i) const { return std::clamp<int64_t>(i + args_.offset + 1, 0, args_.tk); }
  // The first query that sees key j, if there is one.
  int64_t first_query(int64_t j) const { return std::max<int64_t>(j - args_.offset, 0); }
  // The factors of dropout on the first n probabilities of query i.
  void dropout_factors(T* mask, int64_t i, int64_t n) const {
    borealis::dropout_factors(mask, n, (index_ * args_.tq + i) * args_.tk, args_.dropout);
  }

 private:
  const AttentionArgs& args_;
  int64_t index_, s_, h_;

  template <class U> Rows<U> at(U* base, int64_t batch_stride, int64_t row_stride) const {
    return {base + s_ * batch_stride + h_ * args_.dim, row_stride};
  }
};

// Blocks [Tk, query_block], one after the other.
template <class T> struct Blocks {
  T* data;
  int64_t keys;

  Rows<T> block(int number) const { return {data + number * keys * query_block, query_block}; }
};

// `count` blocks for each worker of parallel_for, from the pool.
template <class T> class Scratch {
 public:
  Scratch(int count, const AttentionArgs& args) : memory_({threads(), count, args.tk, query_block}, dtype_of<T>()) {}

  Blocks<T> of(int worker) const {
    const int64_t keys = memory_.size(2), each = memory_.size(1) * keys * query_block;
    return {memory_.template data<T>() + worker * each, keys};
  }

 private:
  Tensor memory_;
};

// The queries [first, first + m) of a head, of which the last sees `keys` keys. Loops run over
// `lanes` columns, whole vectors; those past m hold numbers that nobody reads.
template <class T> struct Block {
  const Head<T>& head;
  int64_t first, m;
  int64_t keys = head.visible(first + m - 1);
  int64_t lanes = (m + 15) / 16 * 16;

  // x[j, i] ← value where key j is hidden from query first + i.
  void hide(Rows<T> x, T value) const {
    for (int64_t j = head.visible(first); j < keys; ++j) {
      const int64_t blind = std::min(m, head.first_query(j) - first);
      std::fill_n(x[j], blind, value);
    }
  }

  // mask[j, i] ← the dropout factor of key j, query first + i. `row` is room for one query's.
  void dropout_factors(Rows<T> mask, T* row) const {
    for (int64_t i = 0; i < m; ++i) {
      head.dropout_factors(row, first + i, keys);
      for (int64_t j = 0; j < keys; ++j) mask[j][i] = row[j];
    }
  }
};

// y_i = Σ_j D_ij v_j for a block of queries, with D = dropout(P), P_ij = exp(S_ij − lse_i),
// S = scale Q Kᵀ.
template <class T>
void attend(const Block<T>& block, Rows<T> y, T* lse, const Blocks<T>& scratch, const AttentionArgs& args) {
  const Head<T>& head = block.head;
  const Rows<T> S = scratch.block(0), mask = scratch.block(1);
  const int64_t m = block.m, n = block.keys, lanes = block.lanes;
  product(n, m, args.dim, S, head.k(), head.q().from(block.first).t(), args.scale, 0);
  block.hide(S, -std::numeric_limits<T>::infinity());

  T top[query_block], sum[query_block];
  std::copy_n(S[0], lanes, top);
  for (int64_t j = 1; j < n; ++j) {
    const T* const s = S[j];
    each(lanes, [&](int64_t i) { top[i] = top[i] < s[i] ? s[i] : top[i]; });
  }
  std::fill_n(sum, lanes, T(0));
  for (int64_t j = 0; j < n; ++j) {
    T* const s = S[j];
    each(lanes, [&](int64_t i) {
      s[i] = fast::exp(s[i] - top[i]);
      sum[i] += s[i];
    });
  }
  if (args.dropout.p > 0) {
    block.dropout_factors(mask, scratch.block(2).data);
    for (int64_t j = 0; j < n; ++j) {
      T *const s = S[j], *const factor = mask[j];
      each(lanes, [=](int64_t i) { s[i] *= factor[i]; });
    }
  }
  product(m, args.dim, n, y.from(block.first), S.t(), head.v(), 1, 0);

  for (int64_t i = 0; i < m; ++i) {
    T* const out = y[block.first + i];
    const T inverse = 1 / sum[i];
    each(args.dim, [=](int64_t d) { out[d] *= inverse; });
  }
  T* const lse_block = lse + block.first;
  each(m, [&](int64_t i) { lse_block[i] = top[i] + fast::log(sum[i]); });
}

// In: S[j, i] = S_ij and dS[j, i] = dD_ij. Out: S[j, i] = D_ij and dS[j, i] = P_ij (dP_ij −
// delta_i), with P = exp(S − lse), dP = mask dD, delta_i = Σ_j dP_ij P_ij = dy_i · y_i.
template <class T>
void scores_grad(const Block<T>& block, const T* lse, const T* delta, const Blocks<T>& scratch, bool drops) {
  const Rows<T> S = scratch.block(0), dS = scratch.block(1), mask = scratch.block(2);
  block.hide(S, -std::numeric_limits<T>::infinity());
  block.hide(dS, 0);
  if (drops) block.dropout_factors(mask, scratch.block(3).data);
  for (int64_t j = 0; j < block.keys; ++j) {
    T *const s = S[j], *const ds = dS[j], *const factor = mask[j];
    if (drops) {
      each(block.lanes, [=](int64_t i) {
        const T p = fast::exp(s[i] - lse[i]);
        s[i] = p * factor[i];
        ds[i] = p * (factor[i] * ds[i] - delta[i]);
      });
    } else {
      each(block.lanes, [=](int64_t i) {
        const T p = fast::exp(s[i] - lse[i]);
        s[i] = p;
        ds[i] = p * (ds[i] - delta[i]);
      });
    }
  }
}

// dV = Dᵀ dY,  dQ = scale dS K,  dK = scale dSᵀ Q  of one head, block of queries after block: the
// last block first, since it sees every key that any sees, and so applies the betas of dK and dV.
template <class T>
void attend_grad(const Head<T>& head, const AttentionGrads& grads, Rows<const T> y, Rows<const T> dy, const T* lse,
                 const Blocks<T>& scratch, const AttentionArgs& args) {
  const Rows<T> dq = head.queries(static_cast<T*>(grads.dq));
  const Rows<T> dk = head.keys(static_cast<T*>(grads.dk));
  const Rows<T> dv = head.values(static_cast<T*>(grads.dv));
  const int64_t dim = args.dim, seen = head.visible(args.tq - 1);
  // Keys that no query sees: an empty product leaves beta·old.
  product(args.tk - seen, dim, 0, dk.from(seen), head.q(), head.q(), 1, grads.beta_k);
  product(args.tk - seen, dim, 0, dv.from(seen), head.q(), head.q(), 1, grads.beta_v);

  const Rows<T> S = scratch.block(0), dS = scratch.block(1);
  double beta_k = grads.beta_k, beta_v = grads.beta_v;
  for (int64_t first = (args.tq - 1) / query_block * query_block; first >= 0; first -= query_block) {
    const Block<T> block{head, first, std::min(query_block, args.tq - first)};
    const int64_t m = block.m, n = block.keys;
    const Rows<const T> Q = head.q().from(first), dY = dy.from(first), Y = y.from(first);
    product(n, m, dim, S, head.k(), Q.t(), args.scale, 0);
    product(n, m, dim, dS, head.v(), dY.t(), 1, 0);

    T lse_block[query_block] = {}, delta[query_block] = {};
    std::copy_n(lse + first, m, lse_block);
    for (int64_t i = 0; i < m; ++i) {
      const T *const yi = Y[i], *const dyi = dY[i];
      delta[i] = lane_sum<T>(dim, [=](int64_t d) { return dyi[d] * yi[d]; });
    }
    scores_grad(block, lse_block, delta, scratch, args.dropout.p > 0);

    product(n, dim, m, dv, S, dY, 1, beta_v);
    product(m, dim, n, dq.from(first), dS.t(), head.k(), args.scale, grads.beta_q);
    product(n, dim, m, dk, dS, Q, args.scale, beta_k);
    beta_k = beta_v = 1;
  }
}

// Element-operations of one block of queries: a product's number costs a sixteenth of a loop's.
int64_t block_work(const AttentionArgs& args) { return std::min(query_block, args.tq) * args.tk * (args.dim / 16 + 4); }

int64_t blocks_of(const AttentionArgs& args) { return (args.tq + query_block - 1) / query_block; }

}  // namespace

void CpuBackend::attention(void* y, Span lse, const AttentionArgs& args) {
  const int64_t blocks = blocks_of(args);
  visit(args.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Scratch<T> scratch(args.dropout.p > 0 ? 3 : 1, args);
    const auto run = [&](int64_t begin, int64_t end, int worker) {
      for (int64_t index = begin; index < end; ++index) {
        const Head<T> head(args, index / blocks);
        const int64_t first = index % blocks * query_block;
        const Block<T> block{head, first, std::min(query_block, args.tq - first)};
        attend(block, head.outputs(static_cast<T*>(y)), head.per_query(lse.as<T>()), scratch.of(worker), args);
      }
    };
    parallel_for(args.batch * args.heads * blocks, grain_for(block_work(args)), run);
  });
}

void CpuBackend::attention_grad(const AttentionGrads& grads, const void* y, const void* dy, ConstSpan lse,
                                const AttentionArgs& args) {
  visit(args.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Scratch<T> scratch(args.dropout.p > 0 ? 4 : 2, args);
    const auto run = [&](int64_t begin, int64_t end, int worker) {
      for (int64_t index = begin; index < end; ++index) {
        const Head<T> head(args, index);
        attend_grad(head, grads, head.outputs(static_cast<const T*>(y)), head.outputs(static_cast<const T*>(dy)),
                    head.per_query(lse.as<T>()), scratch.of(worker), args);
      }
    };
    parallel_for(args.batch * args.heads, grain_for(2 * blocks_of(args) * block_work(args)), run);
  });
}

}  // namespace borealis
