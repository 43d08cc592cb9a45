// Fused causal attention. A block of queries meets all keys it may see at once: the scores stay in
// cache, and the masked half costs nothing beyond the last block of keys. Only y and lse are kept;
// the gradient forms the probabilities again from lse (Dao et al., "FlashAttention", 2022).
//
// Scores lie transposed, [keys, queries of the block]: neighbours belong to different queries, so
// maxima and sums over the keys run down the columns, whole SIMD vectors side by side.
#include <limits>
#include <type_traits>

#include "engine/cpu/backend.h"
#include "engine/cpu/dropout.h"
#include "engine/cpu/gemm.h"
#include "engine/cpu/loops.h"
#include "engine/tensor.h"

namespace borealis {

namespace {

constexpr int64_t query_block = 32;

// C [m, n] ← alpha A B + beta C, with A: [m, k]. On this thread.
template <class T>
void product(int64_t m, int64_t n, int64_t k, Rows<T> C, Rows<const std::type_identity_t<T>> A,
             Rows<const std::type_identity_t<T>> B, double alpha, double beta) {
  if (m > 0 && n > 0) gemm_tile(GemmTile<T>{m, n, k, C, A, B, alpha, beta});
}

// One head of one sequence.
template <class T> struct Head {
  const AttentionArgs& args;
  int64_t index, tq, tk, dim;
  Rows<const T> q, k, v;

  Head(const MatrixView& q_, const MatrixView& k_, const MatrixView& v_, const AttentionArgs& a, int64_t i)
      : args(a),
        index(i),
        tq(q_.rows),
        tk(k_.rows),
        dim(q_.cols),
        q(rows_of<T>(q_, i)),
        k(rows_of<T>(k_, i)),
        v(rows_of<T>(v_, i)) {}

  // How many keys query i sees: 0 … i + offset.
  int64_t visible(int64_t i) const { return std::clamp<int64_t>(i + args.offset + 1, 0, tk); }
  // The first query that sees key j, if there is one.
  int64_t first_query(int64_t j) const { return std::max<int64_t>(j - args.offset, 0); }
  // The factors of dropout on the first n probabilities of query i.
  void dropout_factors(T* mask, int64_t i, int64_t n) const {
    borealis::dropout_factors(mask, n, (index * tq + i) * tk, args.dropout);
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
  Scratch(int count, int64_t keys) : memory_({threads(), count, keys, query_block}, dtype_of<T>()) {}

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
template <class T> void attend(const Block<T>& block, Rows<T> y, T* lse, const Blocks<T>& scratch) {
  const Head<T>& head = block.head;
  const Rows<T> S = scratch.block(0), mask = scratch.block(1);
  const int64_t m = block.m, n = block.keys, lanes = block.lanes;
  product(n, m, head.dim, S, head.k, head.q.from(block.first).t(), head.args.scale, 0);
  block.hide(S, -std::numeric_limits<T>::infinity());

  T top[query_block], sum[query_block];
  std::fill_n(top, lanes, -std::numeric_limits<T>::infinity());
  for (int64_t j = 0; j < n; ++j) {
    const T* const s = S[j];
    each(lanes, [&](int64_t i) { top[i] = top[i] < s[i] ? s[i] : top[i]; });
  }
  each(lanes, [&](int64_t i) { top[i] = formulas::finite_shift(top[i]); });
  std::fill_n(sum, lanes, T(0));
  for (int64_t j = 0; j < n; ++j) {
    T* const s = S[j];
    each(lanes, [&](int64_t i) {
      s[i] = fast::exp(s[i] - top[i]);
      sum[i] += s[i];
    });
  }
  if (head.args.dropout.p > 0) {
    block.dropout_factors(mask, scratch.block(2).data);
    for (int64_t j = 0; j < n; ++j) {
      T *const s = S[j], *const factor = mask[j];
      each(lanes, [=](int64_t i) { s[i] *= factor[i]; });
    }
  }
  product(m, head.dim, n, y.from(block.first), S.t(), head.v, 1, 0);

  for (int64_t i = 0; i < m; ++i) {
    T* const out = y[block.first + i];
    const T inverse = sum[i] == 0 ? T(0) : 1 / sum[i];
    each(head.dim, [=](int64_t d) { out[d] *= inverse; });
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
        ds[i] = formulas::softmax_grad(p, factor[i] * ds[i], delta[i]);
      });
    } else {
      each(block.lanes, [=](int64_t i) {
        const T p = fast::exp(s[i] - lse[i]);
        s[i] = p;
        ds[i] = formulas::softmax_grad(p, ds[i], delta[i]);
      });
    }
  }
}

// dV = Dᵀ dY,  dQ = scale dS K,  dK = scale dSᵀ Q  of one head, block of queries after block: the
// last block first, since it sees every key that any sees, and so applies the betas of dK and dV.
template <class T>
void attend_grad(const Head<T>& head, Rows<T> dq, Rows<T> dk, Rows<T> dv, double beta, Rows<const T> y,
                 Rows<const T> dy, const T* lse, const Blocks<T>& scratch) {
  const double scale = head.args.scale;
  const int64_t dim = head.dim, seen = head.visible(head.tq - 1);
  // Keys that no query sees: an empty product leaves beta·old.
  product(head.tk - seen, dim, 0, dk.from(seen), head.q, head.q, 1, beta);
  product(head.tk - seen, dim, 0, dv.from(seen), head.q, head.q, 1, beta);

  const Rows<T> S = scratch.block(0), dS = scratch.block(1);
  double beta_keys = beta;
  for (int64_t first = (head.tq - 1) / query_block * query_block; first >= 0; first -= query_block) {
    const Block<T> block{head, first, std::min(query_block, head.tq - first)};
    const int64_t m = block.m, n = block.keys;
    const Rows<const T> Q = head.q.from(first), dY = dy.from(first), Y = y.from(first);
    product(n, m, dim, S, head.k, Q.t(), scale, 0);
    product(n, m, dim, dS, head.v, dY.t(), 1, 0);

    T lse_block[query_block] = {}, delta[query_block] = {};
    for (int64_t i = 0; i < m; ++i) lse_block[i] = formulas::finite_shift(lse[first + i]);
    for (int64_t i = 0; i < m; ++i) {
      const T *const yi = Y[i], *const dyi = dY[i];
      delta[i] = lane_sum<T>(dim, [=](int64_t d) { return dyi[d] * yi[d]; });
    }
    scores_grad(block, lse_block, delta, scratch, head.args.dropout.p > 0);

    product(n, dim, m, dv, S, dY, 1, beta_keys);
    product(m, dim, n, dq.from(first), dS.t(), head.k, scale, beta);
    product(n, dim, m, dk, dS, Q, scale, beta_keys);
    beta_keys = 1;
  }
}

// Element-operations of one block of queries: a product's number costs a sixteenth of a loop's.
int64_t block_work(const MatrixView& q, const MatrixView& k) {
  return std::min(query_block, q.rows) * k.rows * (q.cols / 16 + 4);
}

int64_t blocks_of(const MatrixView& q) { return (q.rows + query_block - 1) / query_block; }

}  // namespace

void CpuBackend::attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k, const MatrixView& v,
                           const AttentionArgs& args) {
  const int64_t blocks = blocks_of(q);
  visit(q.dtype, [&]<class T>(T) {
    const Scratch<T> scratch(args.dropout.p > 0 ? 3 : 1, k.rows);
    const auto run = [&](int64_t begin, int64_t end, int worker) {
      for (int64_t index = begin; index < end; ++index) {
        const int64_t matrix = index / blocks, first = index % blocks * query_block;
        const Head<T> head(q, k, v, args, matrix);
        const Block<T> block{head, first, std::min(query_block, q.rows - first)};
        attend(block, rows_of<T>(y, matrix), lse.as<T>() + matrix * q.rows, scratch.of(worker));
      }
    };
    parallel_for(q.batch.total() * blocks, grain_for(block_work(q, k)), run);
  });
}

void CpuBackend::attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                                const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& y,
                                const MatrixView& dy, ConstSpan lse, const AttentionArgs& args) {
  visit(q.dtype, [&]<class T>(T) {
    const Scratch<T> scratch(args.dropout.p > 0 ? 4 : 2, k.rows);
    const auto run = [&](int64_t begin, int64_t end, int worker) {
      for (int64_t index = begin; index < end; ++index) {
        const auto of = [index](const MatrixView& x) { return rows_of<T>(x, index); };
        attend_grad<T>(Head<T>(q, k, v, args, index), of(dq), of(dk), of(dv), beta, of(y), of(dy),
                       lse.as<T>() + index * q.rows, scratch.of(worker));
      }
    };
    parallel_for(q.batch.total(), grain_for(2 * blocks_of(q) * block_work(q, k)), run);
  });
}

}  // namespace borealis
