// The abstract device: every kernel on raw memory. One object per device.
//
// What is pure virtual is the core that a backend must have; the compiler names what it lacks. All
// else has a default in engine/composed.cpp, made of the core: a new backend has every kernel at
// once and makes them fast one by one, and the fast ones are tested against those references.
//
// Conventions. Outputs come first, then inputs, then sizes, then scalars. Kernels may assume what
// the checked callers (engine/math.h, autograd/ops_*.cpp) have verified. Nothing allocates except
// through the pool, nothing waits for the device except download(), all_finite() and the defaults
// that borrow the CPU's kernel (cholesky, solve_lower, polar_svd, rebalance). `beta` says what
// happens to what is there: y ← result + beta·y; with beta = 0 y is never read, so its memory may
// be uninitialised. Every reduction has an order fixed by shapes alone (see engine/parallel.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "device.h"
#include "host_device.h"
#include "philox.h"
#include "pointwise.h"
#include "shape.h"
#include "span.h"
#include "storage.h"

namespace borealis {

// Two inputs under NumPy broadcasting, walked with a common shape; stride 0 repeats. In elements.
struct Broadcast {
  Shape shape;
  Shape::Strides a_stride{}, b_stride{};
};

// dst[index] ← src[index] + beta·dst[index] over `shape`, both sides with strides in elements.
struct StridedCopy {
  Shape shape;
  Shape::Strides dst_stride{}, src_stride{};
};

// Up to two batch dimensions of a matrix: outer, inner.
struct Batch {
  std::array<int64_t, 2> count{1, 1};
  std::array<int64_t, 2> stride{0, 0};
  int64_t total() const { return count[0] * count[1]; }
};

// A batch of matrices: element (i, j) of matrix (p, q) lies at
// data + p·batch.stride[0] + q·batch.stride[1] + i·row_stride + j·col_stride, in elements.
struct MatrixView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0, cols = 0, row_stride = 0, col_stride = 1;
  Batch batch = {};

  // From the first number to behind the last, in elements; 0 without numbers.
  int64_t extent() const {
    if (rows * cols * batch.total() == 0) return 0;
    return 1 + (rows - 1) * row_stride + (cols - 1) * col_stride + (batch.count[0] - 1) * batch.stride[0] +
           (batch.count[1] - 1) * batch.stride[1];
  }
  // The transpose of each matrix.
  MatrixView t() const { return {data, dtype, cols, rows, col_stride, row_stride, batch}; }
  // Element (i, j) of matrix number `index` of the batch (p·count[1] + q).
  template <class T> BOREALIS_HD T* at(int64_t index, int64_t i = 0, int64_t j = 0) const {
    return static_cast<T*>(data) + index / batch.count[1] * batch.stride[0] + index % batch.count[1] * batch.stride[1] +
           i * row_stride + j * col_stride;
  }
};

// How much of a factor's numbers a product must use at least, where all are f32: all, 10 bits of the fraction (tf32), or
// 7 (bf16). Sums are f32 in any case. Coarser ones are faster on a GPU; the CPU multiplies exact numbers always.
enum class Precision { exact, tf32, bf16 };

// Rows of `cols` numbers. With causal_rows > 0, row r sees only its first
// (r mod causal_rows) + causal_offset + 1 numbers; the rest count as −∞ (probability 0).
struct RowsArgs {
  int64_t rows = 0, cols = 0;
  int64_t causal_rows = 0, causal_offset = 0;
};

// LayerNorm (center) or RMSNorm over rows of `cols` numbers.
struct NormArgs {
  int64_t rows = 0, cols = 0;
  double eps = 0;
  bool center = true;
};

// What changes from step to step, on the device as f64 [3]: no kernel of a step then takes another argument than in the
// step before.
struct StepRecord {
  double stopped = 0;  // the first step whose gradient or loss was not finite; 0: none
  double step = 0;     // the number of the last update, counted from 1
  double factor = 1;   // of each learning rate
};

// Dropout: element i is kept when uniform(now().word(i)) ≥ p, and then scaled by 1/(1−p).
struct DropoutArgs {
  double p = 0;
  RandomStream stream = {};
  ConstSpan record = {};  // a StepRecord, from whose step on the stream's is counted; or null

  // The stream of this step. For the device.
  BOREALIS_HD RandomStream now() const {
    RandomStream s = stream;
    if (record.data) s.step += static_cast<uint32_t>(static_cast<const StepRecord*>(record.data)->step);
    return s;
  }
};

// Attention: query i sees the keys 0 … i + offset (offset = Tk − Tq for a KV cache). Dropout acts on the
// probabilities, with the element index (matrix·Tq + i)·Tk + j.
struct AttentionArgs {
  double scale = 1;
  int64_t offset = 0;
  DropoutArgs dropout = {};
};

// What attention does first with the heads of its queries and keys: `heads` runs of dim numbers in each row of a matrix,
// row r of which stands at position r mod t + offset. eps is that of their norm, if they have one.
struct RotaryArgs {
  int64_t t = 0, heads = 0, dim = 0, offset = 0;
  double eps = 0;
};

// AdamW (Loshchilov & Hutter, 2019) over one run of numbers; see engine/formulas.h for the formula.
struct AdamWArgs {
  double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
};

// What a device was asked for so far: kernels, copies to and from the host, and times that the host waited for it.
struct Counters {
  int64_t launches = 0, copies = 0, waits = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  virtual Device device() const = 0;
  Pool& pool() { return pool_; }

  // --- memory --------------------------------------------------------------------------------
  virtual void* allocate(size_t bytes) = 0;  // 64-byte aligned; null when there is none left
  virtual void release(void* data) = 0;
  virtual void copy(void* dst, const void* src, size_t bytes) = 0;
  virtual void upload(void* dst, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* src, size_t bytes) = 0;
  virtual void synchronize() = 0;
  // The pool's word on a block of `capacity` bytes: its first `bytes` are a tensor's from now on, with undefined contents;
  // 0: it was given back. A device may catch whoever touches the rest.
  virtual void mark(void* data, size_t bytes, size_t capacity) = 0;
  virtual Counters counters() const { return {}; }

  // --- pointwise -----------------------------------------------------------------------------
  virtual void fill(Span y, double value) = 0;
  virtual void cast(Span y, ConstSpan x) = 0;
  // y ← op(x), and y and x may be one;  dx ← op'(saved)·dy + beta·dx, where saved is x or y as pointwise.h says.
  virtual void unary(UnaryOp op, Span y, ConstSpan x, double param) = 0;
  virtual void unary_grad(UnaryOp op, Span dx, ConstSpan saved, ConstSpan dy, double param, double beta) = 0;
  // y ← op(a, b);  da ← ∂op/∂a·dy + beta·da (side 0) or the same for b (side 1). The gradient has
  // the full broadcast shape; the caller sums it down.
  virtual void binary(BinaryOp op, Span y, ConstSpan a, ConstSpan b, const Broadcast& walk) = 0;
  virtual void binary_grad(BinaryOp op, int side, Span dx, ConstSpan a, ConstSpan b, ConstSpan dy,
                           const Broadcast& walk, double beta) = 0;
  // y ← alpha·x + shift + beta·y.
  virtual void affine(Span y, ConstSpan x, double alpha, double shift, double beta) = 0;
  virtual void strided_copy(Span dst, ConstSpan src, const StridedCopy& walk, double beta) = 0;
  // y ← op(x + bias) for rows of bias.count numbers, and the gradients of x and bias, of which one that is null is not
  // wanted:  dx ← d + beta·dx,  dbias ← Σ_rows d + beta_bias·dbias  with  d = op'(x + bias)·dy.  op' is made of its input.
  virtual void bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param);
  virtual void bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x,
                               ConstSpan bias, ConstSpan dy, double param);
  // The gradient of silu(a)·b for h = (a, b), rows of `cols` numbers each side by side:
  // dh ← (silu'(a)·b·dy, silu(a)·dy) + beta·dh.
  virtual void swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta);
  // y ← mask(x)/(1−p) + beta·y. The same call is the gradient.
  virtual void dropout(Span y, ConstSpan x, const DropoutArgs& args, double beta) = 0;

  // --- reductions ----------------------------------------------------------------------------
  // x seen as [outer, mid, inner]: y[o, i] ← scale·Σ_m x[o, m, i] + beta·y[o, i].
  virtual void sum(Span y, ConstSpan x, int64_t outer, int64_t mid, int64_t inner, double scale, double beta) = 0;
  // y[o, i] ← max_m x[o, m, i], and the first m that attains it (a NaN wins).
  virtual void max(Span y, Span index, ConstSpan x, int64_t outer, int64_t mid, int64_t inner) = 0;
  // dx[o, m, i] ← dy[o, i] where m = index[o, i], 0 elsewhere, whatever dy is; + beta·dx[o, m, i].
  virtual void max_grad(Span dx, ConstSpan index, ConstSpan dy, int64_t outer, int64_t mid, int64_t inner,
                        double beta) = 0;
  virtual void sum_squares(Span y, ConstSpan x);  // y[0] ← Σ x², in f64: it cannot overflow
  virtual bool all_finite(ConstSpan x) = 0;       // waits for the device

  // --- rows ----------------------------------------------------------------------------------
  virtual void softmax(Span y, ConstSpan x, const RowsArgs& args) = 0;
  virtual void softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) = 0;
  virtual void log_softmax(Span y, ConstSpan x, const RowsArgs& args);
  virtual void log_softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta);
  virtual void logsumexp(Span y, ConstSpan x, const RowsArgs& args) = 0;  // y: [rows]
  // dx ← exp(x − y)·dy + beta·dx, with y, dy: [rows].
  virtual void logsumexp_grad(Span dx, ConstSpan x, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta);

  // y ← (s − mean)·rstd·gain + bias  with  s = x + branch; saves s, mean (if center) and rstd = 1/√(var + eps), the last two
  // [rows]. gain, bias, and s with branch may be absent (null): then s is x.
  virtual void norm(Span y, Span s, Span mean, Span rstd, ConstSpan x, ConstSpan branch, ConstSpan gain, ConstSpan bias,
                    const NormArgs& args);
  // Gradients with respect to x, gain and bias; an output that is null is not wanted.
  virtual void norm_grad(Span dx, double beta_x, Span dgain, double beta_gain, Span dbias, double beta_bias,
                         ConstSpan x, ConstSpan gain, ConstSpan mean, ConstSpan rstd, ConstSpan dy,
                         const NormArgs& args);

  // --- tables --------------------------------------------------------------------------------
  // y[i] ← table[ids[i]], rows of `cols` numbers; NaN for an id that the table does not have.
  virtual void embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) = 0;
  // dtable[ids[i]] += dy[i] in the order of i, after dtable ← beta·dtable. Other ids are passed over.
  virtual void embedding_grad(Span dtable, ConstSpan ids, ConstSpan dy, int64_t cols, double beta) = 0;

  // --- fused ---------------------------------------------------------------------------------
  // loss[0] ← mean over rows with targets[r] ≠ ignored of lse[r] − z[r, targets[r]], where z is the logits, soft-capped if
  // cap ≠ 0; saves lse: [rows] and count[0], the number of rows that counted (f32/f64 as the logits). A target that is no
  // column makes the loss NaN.
  virtual void cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                             int64_t ignored, double cap);
  // dlogits ← (softmax(z) − onehot)·z'·dloss/count + beta·dlogits; ignored rows get 0, rows whose target is no column NaN.
  virtual void cross_entropy_grad(Span dlogits, ConstSpan logits, ConstSpan targets, ConstSpan lse, ConstSpan count,
                                  ConstSpan dloss, int64_t cols, int64_t ignored, double cap, double beta);
  // For each head of x's rows: y ← x·rstd with rstd = 1/√(mean(x²) + eps), saved as [rows, heads], and then turned: the
  // pairs (i, i + dim/2) by the angles in cos and sin [≥ t + offset, dim/2]. Without rstd (null) there is no norm, without
  // cos and sin no turn; one of them there is. In y and x the numbers of a row lie side by side.
  virtual void rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
                      const RotaryArgs& args);
  // dx ← its gradient + beta·dx. With beta = 0, dx and dy may be one. Without rstd x is not read.
  virtual void rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd,
                           ConstSpan cos, ConstSpan sin, const RotaryArgs& args, double beta);
  // y ← softmax(scale·q kᵀ) v over the visible keys; q, y: [Tq, dim] and k, v: [Tk, dim] for each
  // sequence and head of one batch {B, heads}, numbers of a row side by side. Saves lse [B, heads, Tq],
  // the log-sum-exp of each query's scaled scores. A query that sees no key has y = 0 and lse = −∞.
  virtual void attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k, const MatrixView& v,
                         const AttentionArgs& args);
  // Its gradients; each is written as  new + beta·old.
  virtual void attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                              const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& y,
                              const MatrixView& dy, ConstSpan lse, const AttentionArgs& args);

  // --- matrices ------------------------------------------------------------------------------
  // c ← alpha·a·b + beta·c for each matrix of c's batch, met again and again where a or b is one matrix alone (its batch
  // is then {}: index by c's). In c, and in a and b or their transposes, the numbers of a row lie side by side.
  // `symmetric`: the result is known to be symmetric (and so is what stands in c, if beta ≠ 0), and a backend may compute
  // one triangle and mirror it. c's type is a's and b's, or a wider one: then the sums are in that.
  virtual void gemm(const MatrixView& c, const MatrixView& a, const MatrixView& b, double alpha, double beta,
                    bool symmetric, Precision precision) = 0;
  // out[p, q, i] ← Σ_j x(i, j)²: contiguous [batch, rows].
  virtual void row_sum_squares(Span out, const MatrixView& x);
  // y(i, j) ← d[p, q, i]·x(i, j); y and x have the same sizes, and may be one.
  virtual void scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d);
  // y(i, j) ← alpha·x(i, j) + beta·y(i, j).
  virtual void matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta);
  // y(i, j) ← factor[p, q]·x(i, j); y and x may be one.
  virtual void scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor);
  // Lower Cholesky factor in place (the upper triangle becomes 0) of each symmetric matrix. A pivot
  // that is not positive makes the factor NaN: callers add what keeps the matrix definite.
  virtual void cholesky(const MatrixView& a);
  // x ← x L⁻ᵀ for each pair: row i becomes L⁻¹ x_i, with L lower triangular.
  virtual void solve_lower(const MatrixView& x, const MatrixView& l);
  // h[p, q, i] ← z_iᵀ (ZᵀZ + ρI)⁻¹ z_i for the rows z_i of each tall matrix Z, contiguous [batch, rows];
  // ρ = ridge·(mean eigenvalue of ZᵀZ). NaN where ZᵀZ + ρI is not definite. May overwrite z.
  virtual void leverage_scores(Span h, const MatrixView& z, double ridge);
  // u ← P Qᵀ of the thin singular value decomposition x = P Σ Qᵀ; singular values at rounding level
  // (≤ eps·max(rows, cols)·σ₁) count as zero. The exact reference, slow.
  virtual void polar_svd(const MatrixView& u, const MatrixView& x);
  // a(i, i) ← a(i, i) + shift + relative·(Σ_k a(k, k))/rows, for each matrix.
  virtual void add_to_diagonal(const MatrixView& a, double shift, double relative);
  // d ← 1/max(scale·√squares + eps, floor); 0 where squares is 0, so that what is zero stays zero.
  virtual void inverse_norm(Span d, ConstSpan squares, double scale, double eps, double floor);
  // d ← d·(target/max(squares, floor))^beta; unchanged where squares is NaN (a failed Cholesky
  // factor).
  virtual void rebalance(Span d, ConstSpan squares, double target, double beta, double floor);

  // --- optimizers ----------------------------------------------------------------------------
  virtual void adamw(Span w, Span m, Span v, ConstSpan g, const AdamWArgs& args, ConstSpan record);
  // w ← (1 − rate·decay) w − rate·scale·u  with  rate = lr·record.factor.
  virtual void descend(Span w, ConstSpan u, double lr, double scale, double decay, ConstSpan record);
  // record.stopped ← record.step + 1, the step to come, if x[0] is not finite and nothing was stopped before.
  virtual void stop_unless_finite(Span record, ConstSpan x);
  // From now on kernels change nothing once record.stopped is set, until gate({}); products may, so that nothing which
  // lasts is a product's result. One host thread at a time. False where the host can see without waiting that it is set:
  // then none need be called.
  virtual bool gate(ConstSpan record) = 0;
  // m ← mu m + gain g;  x ← nesterov ? gain g + mu m : m.   (x, m, g: same flat order)
  virtual void momentum(Span x, Span m, ConstSpan g, double mu, double gain, bool nesterov);
  // v ← beta v + (1−beta) g²;  x ← x/(√v + eps), 0 where v = 0.   (x, v, g: same flat order; x and
  // g may be one)
  virtual void second_moment(Span x, Span v, ConstSpan g, double beta, double eps);

 protected:
  Backend() : pool_(*this) {}

 private:
  Pool pool_;
};

// The backend of a device; fails in one sentence when this build has none.
Backend& backend(Device device);

// All defined in exactly one of engine/no_cuda.cpp and cuda/, as CMake decides: how many there are, of which none is
// opened; and number `index`, opened when it is first asked for, null if there is no such GPU.
int cuda_count();
Backend* cuda_backend(int index);
const char* why_no_cuda();  // why there are none, for a message

}  // namespace borealis
