// Causal attention that stores no scores (Dao, "FlashAttention-2", 2023). A block owns a tile of queries, or of keys for
// the gradients of keys and values, and walks the tiles of the other side that it sees, or is seen by: 64 × 64 of f32,
// 32 × 32 of f64. Sums go in an order that follows from the shapes alone, and no number is added to by two blocks.
//
// A head with n visible pairs (T²/2) takes 4·n·dim flops forward and 14·n·dim back: of 7 products two form S and dP a
// second time, so that nothing is added by atomics. A pair of tiles reads 3·tile·dim numbers forward (the block's own rows
// again, from the nearest cache, so that a head of 128 needs no more shared memory than one of 64), 5·tile·dim for dQ,
// 6·tile·dim for dK with dV: for each byte of f32 21, 19 and 21 flops. A thread's 4 × 4 numbers (2 × 2 of f64) cost it two
// reads of 16 bytes from shared memory for 16 multiplications; 8 × 8 would need 64 registers for each of S and dP, beside
// 64 of dK and dV. Shared memory is 34 KB at most, which every card gives without being asked.
#include "cuda/row_kernels.h"
#include "cuda/tiles.h"

namespace borealis {

inline namespace attention_cu {

constexpr int64_t largest_head = 128;

// What all kernels are given.
template <class T> struct Heads {
  MatrixView q, k, v;
  AttentionArgs args;
  int64_t matrices;
  T scale;
  formulas::Dropout<T> dropout;

  __device__ int64_t matrix() const { return blockIdx.x % matrices; }
  __device__ int64_t number() const { return blockIdx.x / matrices; }  // of the block's tile

  // How many keys query i sees; none sees one that is not there.
  __device__ int64_t visible(int64_t i) const {
    const int64_t n = i < q.rows ? i + args.offset + 1 : 0;
    return n < 0 ? 0 : n > k.rows ? k.rows : n;
  }
  // How many of a tile's keys, from `first` on.
  __device__ int visible_of(int64_t i, int64_t first) const {
    const int64_t n = visible(i) - first;
    return n < 0 ? 0 : n > tile<T> ? tile<T> : static_cast<int>(n);
  }
  __device__ RandomStream stream() const { return dropout.p > 0 ? args.dropout.now() : RandomStream{}; }

  // The factors of the probabilities of query i and the keys from j on: 1 without dropout.
  __device__ void factors(T (&factor)[side<T>], const RandomStream& stream, int64_t i, int64_t j) const {
    if (dropout.p == 0) {
      for (T& each : factor) each = 1;
      return;
    }
    const int64_t element = (matrix() * q.rows + i) * k.rows + j;
    const int from = static_cast<int>(element % 4);
    const auto block = static_cast<uint32_t>(element / 4);
    const PhiloxBits first = stream.block(block), second = from + side<T> > 4 ? stream.block(block + 1) : first;
#pragma unroll
    for (int c = 0; c < side<T>; ++c)
      factor[c] = dropout.factor(from + c < 4 ? word(first, from + c) : word(second, from + c - 4));
  }
  // An index that is not known to the compiler would put the words into memory.
  static __device__ uint32_t word(const PhiloxBits& bits, int k) {
    const uint32_t low = k & 1 ? bits.word[1] : bits.word[0], high = k & 1 ? bits.word[3] : bits.word[2];
    return k & 2 ? high : low;
  }
};

// y_i = Σ_j D_ij v_j with D = dropout(P), P_ij = exp(S_ij − lse_i), S = scale Q Kᵀ: sums are of exp(S_ij − top_i), and
// shrink as the maximum of what was seen, top_i, grows.
template <class T, int D>
__global__ void __launch_bounds__(tile_threads)
    attention_kernel(Gate gate, MatrixView y, T* lse, Heads<T> h, int64_t tiles) {
  if (gate.closed()) return;
  constexpr int n = side<T>;
  const Tiles<T, D> team;
  const int64_t first = (tiles - 1 - h.number()) * tile<T>;  // the longest walks begin first
  const int64_t last = first + tile<T> < h.q.rows ? first + tile<T> : h.q.rows;
  const TileRows<T> q(h.q, h.matrix()), k(h.k, h.matrix()), v(h.v, h.matrix());
  const RandomStream stream = h.stream();
  T top[n], sum[n] = {};
  for (T& each : top) each = -std::numeric_limits<T>::infinity();
  WidePart<T, D> out = {};
  const int64_t seen = h.visible(last - 1);
  for (int64_t j = 0; j < seen; j += tile<T>) {
    TilePart<T> s = {};
    team.multiply(s, q, first, k, j);
#pragma unroll
    for (int r = 0; r < n; ++r) {
      const int64_t i = first + team.y * n + r;
      const int mine = h.visible_of(i, j) - team.x * n;
      T here = -std::numeric_limits<T>::infinity();
#pragma unroll
      for (int c = 0; c < n; ++c) {
        s[r][c] = c < mine ? s[r][c] * h.scale : -std::numeric_limits<T>::infinity();
        here = Greater{}(here, s[r][c]);
      }
      const T before = top[r];
      top[r] = Greater{}(before, team.reduce_row(here, Greater{}));
      const T shift = formulas::finite_shift(top[r]), shrink = fast::exp(before - shift);
      sum[r] *= shrink;
      for (T& each : out[r]) each *= shrink;
#pragma unroll
      for (int c = 0; c < n; ++c) {
        s[r][c] = fast::exp(s[r][c] - shift);
        sum[r] += s[r][c];
      }
      T factor[n];
      h.factors(factor, stream, i, j + team.x * n);
#pragma unroll
      for (int c = 0; c < n; ++c) s[r][c] = h.dropout.drop(s[r][c], factor[c]);
    }
    team.keep(s);
    team.add(out, v, j);
  }
#pragma unroll
  for (int r = 0; r < n; ++r) {
    const T all = team.reduce_row(sum[r], Plus{});
    const int64_t i = first + team.y * n + r;
    if (team.x == 0 && i < h.q.rows) lse[h.matrix() * h.q.rows + i] = formulas::finite_shift(top[r]) + fast::log(all);
    sum[r] = all == 0 ? T(0) : 1 / all;
  }
  team.write(TileRows<T>(y, h.matrix()), first, out, sum, Put{});
}

// delta_i = Σ_j P_ij dP_ij = y_i · dy_i, a warp each.
template <class T>
__global__ void attention_delta_kernel(Gate gate, T* delta, MatrixView y, MatrixView dy, int64_t matrices) {
  const int64_t row = team_row<true>();
  if (gate.closed() || row >= matrices * y.rows) return;
  const T *const a = y.at<T>(row / y.rows, row % y.rows), *const b = dy.at<T>(row / y.rows, row % y.rows);
  RowTeam<T, true> team;
  const T sum = team.sum(y.cols, [=](int64_t k) { return a[k] * b[k]; });
  if (threadIdx.x == 0) delta[row] = sum;
}

// What the gradients know of a query.
template <class T> struct QueryPart {
  T lse = 0, delta = 0;

  __device__ QueryPart(const Heads<T>& h, const T* all_lse, const T* all_delta, int64_t i) {
    if (i >= h.q.rows) return;
    lse = formulas::finite_shift(all_lse[h.matrix() * h.q.rows + i]);
    delta = all_delta[h.matrix() * h.q.rows + i];
  }
};

// In: s = q_i · k_j and dp = dy_i · v_j. Out: s = D_ij and dp = dS_ij = P_ij (dP_ij − delta_i), dP = dropout(dD).
template <class T>
__device__ void score_grad(const Heads<T>& h, const QueryPart<T>& query, bool sees, T factor, T& s, T& dp) {
  const T p = sees ? fast::exp(s * h.scale - query.lse) : T(0);
  s = h.dropout.drop(p, factor);
  dp = sees ? formulas::softmax_grad(p, h.dropout.drop(dp, factor), query.delta) : T(0);
}

// dQ = scale dS K.
template <class T, int D, class Put>
__global__ void __launch_bounds__(tile_threads)
    attention_dq_kernel(Gate gate, MatrixView dq, Heads<T> h, MatrixView dy_, const T* lse, const T* delta,
                        int64_t tiles, Put put) {
  if (gate.closed()) return;
  constexpr int n = side<T>;
  const Tiles<T, D> team;
  const int64_t first = (tiles - 1 - h.number()) * tile<T>;
  const int64_t last = first + tile<T> < h.q.rows ? first + tile<T> : h.q.rows;
  const TileRows<T> q(h.q, h.matrix()), k(h.k, h.matrix()), v(h.v, h.matrix()), dy(dy_, h.matrix());
  const RandomStream stream = h.stream();
  WidePart<T, D> out = {};
  const int64_t seen = h.visible(last - 1);
  for (int64_t j = 0; j < seen; j += tile<T>) {
    TilePart<T> s = {}, dp = {};
    team.multiply(s, q, first, k, j);
    team.multiply(dp, dy, first, v, j);
#pragma unroll
    for (int r = 0; r < n; ++r) {
      const int64_t i = first + team.y * n + r;
      const QueryPart<T> query(h, lse, delta, i);
      const int mine = h.visible_of(i, j) - team.x * n;
      T factor[n];
      h.factors(factor, stream, i, j + team.x * n);
#pragma unroll
      for (int c = 0; c < n; ++c) score_grad(h, query, c < mine, factor[c], s[r][c], dp[r][c]);
    }
    team.keep(dp);
    team.add(out, k, j);
  }
  T scale[n];
  for (T& each : scale) each = h.scale;
  team.write(TileRows<T>(dq, h.matrix()), first, out, scale, put);
}

// dV = Dᵀ dY,  dK = scale dSᵀ Q. Rows of the tile are keys here.
template <class T, int D, class Put>
__global__ void __launch_bounds__(tile_threads)
    attention_dkv_kernel(Gate gate, MatrixView dk, MatrixView dv, Heads<T> h, MatrixView dy_, const T* lse,
                         const T* delta, Put put) {
  if (gate.closed()) return;
  constexpr int n = side<T>;
  const Tiles<T, D> team;
  const int64_t first = h.number() * tile<T>;
  const TileRows<T> q(h.q, h.matrix()), k(h.k, h.matrix()), v(h.v, h.matrix()), dy(dy_, h.matrix());
  const RandomStream stream = h.stream();
  WidePart<T, D> out_k = {}, out_v = {};
  const int64_t from = first - h.args.offset;  // the first query that sees a key of the tile
  for (int64_t i = from < 0 ? 0 : from / tile<T> * tile<T>; i < h.q.rows; i += tile<T>) {
    TilePart<T> s = {}, dp = {};
    team.multiply(s, k, first, q, i);
    team.multiply(dp, v, first, dy, i);
#pragma unroll
    for (int c = 0; c < n; ++c) {
      const int64_t at = i + team.x * n + c;
      const QueryPart<T> query(h, lse, delta, at);
      const int mine = h.visible_of(at, first) - team.y * n;
      T factor[n];
      h.factors(factor, stream, at, first + team.y * n);
#pragma unroll
      for (int r = 0; r < n; ++r) score_grad(h, query, r < mine, factor[r], s[r][c], dp[r][c]);
    }
    team.keep(s);
    team.add(out_v, dy, i);
    __syncthreads();  // before the tile is overwritten
    team.keep(dp);
    team.add(out_k, q, i);
  }
  T one[n], scale[n];
  for (T& each : one) each = 1;
  for (T& each : scale) each = h.scale;
  team.write(TileRows<T>(dv, h.matrix()), first, out_v, one, put);
  team.write(TileRows<T>(dk, h.matrix()), first, out_k, scale, put);
}

// An empty matrix lies nowhere. Nothing of it is read, so that any place will do: that of another.
inline MatrixView placed(MatrixView x, const MatrixView& other) {
  if (x.rows == 0) x.data = other.data;
  return x;
}

template <class T>
Heads<T> heads_of(const MatrixView& q, const MatrixView& k, const MatrixView& v, const AttentionArgs& args) {
  return {placed(q, k),
          placed(k, q),
          placed(v, q),
          args,
          q.batch.total(),
          static_cast<T>(args.scale),
          formulas::Dropout<T>{args.dropout.p}};
}

template <class T> int64_t tiles_of(int64_t rows) { return (rows + tile<T> - 1) / tile<T>; }

// f(D): the head's size with zeros behind it.
template <class F> void with_size(int64_t dim, F&& f) {
  if (dim <= 32)
    f(std::integral_constant<int, 32>{});
  else if (dim <= 64)
    f(std::integral_constant<int, 64>{});
  else
    f(std::integral_constant<int, largest_head>{});
}

}  // namespace attention_cu

void CudaBackend::attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k,
                            const MatrixView& v, const AttentionArgs& args) {
  if (q.cols > largest_head) return Backend::attention(y, lse, q, k, v, args);
  if (lse.count == 0) return;
  visit(q.dtype, [&]<class T>(T) {
    with_size(q.cols, [&](auto D) {
      const int64_t tiles = tiles_of<T>(q.rows);
      on_.launch("attention", attention_kernel<T, D>, blocks_for(tiles * q.batch.total(), 1), tile_threads,
                 sizeof(TileMemory<T, D>), y, lse.as<T>(), heads_of<T>(q, k, v, args), tiles);
    });
  });
}

void CudaBackend::attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                                 const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& y,
                                 const MatrixView& dy, ConstSpan lse, const AttentionArgs& args) {
  if (q.cols > largest_head) return Backend::attention_grad(dq, dk, dv, beta, q, k, v, y, dy, lse, args);
  const int64_t matrices = q.batch.total();
  visit(q.dtype, [&]<class T>(T) {
    const Storage sums = scratch(static_cast<size_t>(lse.count) * sizeof(T));
    T* const delta = lse.count ? reinterpret_cast<T*>(sums.data()) : nullptr;
    const auto h = heads_of<T>(q, k, v, args);
    const int64_t query_tiles = tiles_of<T>(q.rows), key_tiles = tiles_of<T>(k.rows);
    launch_rows<WarpRows<T>>(on_, "attention_grad, delta", lse.count, attention_delta_kernel<T>, delta, y, dy,
                             matrices);
    with_size(q.cols, [&](auto D) {
      with_put<T>(beta, [&]<class Put>(Put put) {
        constexpr size_t bytes = sizeof(TileMemory<T, D>);
        if (query_tiles * matrices > 0)
          on_.launch("attention_grad, queries", attention_dq_kernel<T, D, Put>, blocks_for(query_tiles * matrices, 1),
                     tile_threads, bytes, dq, h, dy, place<T>(lse), delta, query_tiles, put);
        if (key_tiles * matrices > 0)
          on_.launch("attention_grad, keys", attention_dkv_kernel<T, D, Put>, blocks_for(key_tiles * matrices, 1),
                     tile_threads, bytes, dk, dv, h, placed(dy, k), place<T>(lse), delta, put);
      });
    });
  });
}

}  // namespace borealis
