// The devices where BOREALIS_CUDA=checked. The memory of all is guarded (cuda/guarded.h). The kernels of cuda:0 and cuda:1
// are the CPU's: cuda:0 has all of them; cuda:1 has no more than a backend must have, so there all else runs as
// engine/composed.cpp spells it out. cuda:2 is the GPU's backend on the stand-in for CUDA (cuda/checked/).
#include <array>
#include <cstring>
#include <mutex>
#include <sstream>

#include "cuda/backend.h"
#include "cuda/guarded.h"
#include "engine/backend.h"

namespace borealis {

namespace {

std::string name_of(Device device) {
  std::ostringstream text;
  text << device;
  return text.str();
}

class CheckedCore : public Backend {
 public:
  explicit CheckedCore(int index) : device_{Device::Kind::cuda, index}, memory_(name_of(device_)) {}

  Device device() const override { return device_; }
  Counters counters() const override { return counters_; }

  void* allocate(size_t bytes) override { return memory_.allocate(bytes); }
  void release(void* data) override { memory_.release(data); }
  void mark(void* data, size_t bytes, size_t capacity) override { memory_.mark(data, bytes, capacity); }
  void copy(void* dst, const void* src, size_t bytes) override {
    GuardedMemory::Open open(memory_, "copy");
    open.use(dst, bytes), open.use(src, bytes);
    ++counters_.launches;
    if (!gate_ || gate_->stopped == 0) std::memcpy(dst, src, bytes);
  }
  void upload(void* dst, const void* host, size_t bytes) override {
    GuardedMemory::Open open(memory_, "upload");
    open.use(dst, bytes);
    ++counters_.copies;
    std::memcpy(dst, host, bytes);
  }
  void download(void* host, const void* src, size_t bytes) override {
    GuardedMemory::Open open(memory_, "download");
    open.use(src, bytes);
    ++counters_.copies, ++counters_.waits;
    std::memcpy(host, src, bytes);
  }
  void synchronize() override { ++counters_.waits; }

  void fill(Span y, double value) override { run("fill", &Backend::fill, y, value); }
  void cast(Span y, ConstSpan x) override { run("cast", &Backend::cast, y, x); }
  void unary(UnaryOp op, Span y, ConstSpan x, double param) override { run("unary", &Backend::unary, op, y, x, param); }
  void unary_grad(UnaryOp op, Span dx, ConstSpan saved, ConstSpan dy, double param, double beta) override {
    run("unary_grad", &Backend::unary_grad, op, dx, saved, dy, param, beta);
  }
  void binary(BinaryOp op, Span y, ConstSpan a, ConstSpan b, const Broadcast& walk) override {
    run("binary", &Backend::binary, op, y, a, b, walk);
  }
  void binary_grad(BinaryOp op, int side, Span dx, ConstSpan a, ConstSpan b, ConstSpan dy, const Broadcast& walk,
                   double beta) override {
    run("binary_grad", &Backend::binary_grad, op, side, dx, a, b, dy, walk, beta);
  }
  void affine(Span y, ConstSpan x, double alpha, double shift, double beta) override {
    run("affine", &Backend::affine, y, x, alpha, shift, beta);
  }
  void strided_copy(Span dst, ConstSpan src, const StridedCopy& walk, double beta) override {
    run("strided_copy", &Backend::strided_copy, dst, src, walk, beta);
  }
  void dropout(Span y, ConstSpan x, const DropoutArgs& args, double beta) override {
    run("dropout", &Backend::dropout, y, x, args, beta);
  }
  void sum(Span y, ConstSpan x, int64_t outer, int64_t mid, int64_t inner, double scale, double beta) override {
    run("sum", &Backend::sum, y, x, outer, mid, inner, scale, beta);
  }
  void max(Span y, Span index, ConstSpan x, int64_t outer, int64_t mid, int64_t inner) override {
    run("max", &Backend::max, y, index, x, outer, mid, inner);
  }
  void max_grad(Span dx, ConstSpan index, ConstSpan dy, int64_t outer, int64_t mid, int64_t inner,
                double beta) override {
    run("max_grad", &Backend::max_grad, dx, index, dy, outer, mid, inner, beta);
  }
  bool all_finite(ConstSpan x) override { return run("all_finite", &Backend::all_finite, x); }
  void softmax(Span y, ConstSpan x, const RowsArgs& args) override { run("softmax", &Backend::softmax, y, x, args); }
  void softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) override {
    run("softmax_grad", &Backend::softmax_grad, dx, y, dy, args, beta);
  }
  void logsumexp(Span y, ConstSpan x, const RowsArgs& args) override {
    run("logsumexp", &Backend::logsumexp, y, x, args);
  }
  void embedding(Span y, ConstSpan table, ConstSpan ids, int64_t cols) override {
    run("embedding", &Backend::embedding, y, table, ids, cols);
  }
  void embedding_grad(Span dtable, ConstSpan ids, ConstSpan dy, int64_t cols, double beta) override {
    run("embedding_grad", &Backend::embedding_grad, dtable, ids, dy, cols, beta);
  }
  void gemm(const MatrixView& c, const MatrixView& a, const MatrixView& b, double alpha, double beta, bool symmetric,
            Precision precision) override {
    run("gemm", &Backend::gemm, c, a, b, alpha, beta, symmetric, precision);
  }
  bool gate(ConstSpan record) override {
    gate_ = static_cast<const StepRecord*>(record.data);
    return true;
  }

 protected:
  // The CPU's kernel on this device's memory.
  template <class R, class... P, class... A> R run(const char* name, R (Backend::*kernel)(P...), A&&... args) {
    GuardedMemory::Open open(memory_, name);
    (use(open, args), ...);
    ++counters_.launches;
    if (!std::is_void_v<R>) ++counters_.waits;  // for what it returns
    if (gate_ && gate_->stopped != 0) return R();
    return (backend(Device{}).*kernel)(std::forward<A>(args)...);
  }

 private:
  static void use(GuardedMemory::Open& open, const Span& x) {
    if (x) open.use(x.data, bytes_of(x.count, x.dtype));
  }
  static void use(GuardedMemory::Open& open, const ConstSpan& x) {
    if (x) open.use(x.data, bytes_of(x.count, x.dtype));
  }
  static void use(GuardedMemory::Open& open, const MatrixView& x) {
    if (x.data) open.use(x.data, bytes_of(x.extent(), x.dtype));
  }
  static void use(GuardedMemory::Open& open, const DropoutArgs& args) { use(open, args.record); }
  static void use(GuardedMemory::Open& open, const AttentionArgs& args) { use(open, args.dropout); }
  template <class T> static void use(GuardedMemory::Open&, const T&) {}  // sizes and numbers
  static size_t bytes_of(int64_t count, DType dtype) { return static_cast<size_t>(count) * size_of(dtype); }

  const Device device_;
  GuardedMemory memory_;
  Counters counters_;
  const StepRecord* gate_ = nullptr;  // on the device
};

class Checked final : public CheckedCore {
 public:
  using CheckedCore::CheckedCore;

  void sum_squares(Span y, ConstSpan x) override { run("sum_squares", &Backend::sum_squares, y, x); }
  void log_softmax(Span y, ConstSpan x, const RowsArgs& args) override {
    run("log_softmax", &Backend::log_softmax, y, x, args);
  }
  void log_softmax_grad(Span dx, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) override {
    run("log_softmax_grad", &Backend::log_softmax_grad, dx, y, dy, args, beta);
  }
  void logsumexp_grad(Span dx, ConstSpan x, ConstSpan y, ConstSpan dy, const RowsArgs& args, double beta) override {
    run("logsumexp_grad", &Backend::logsumexp_grad, dx, x, y, dy, args, beta);
  }
  void bias_unary(UnaryOp op, Span y, ConstSpan x, ConstSpan bias, double param) override {
    run("bias_unary", &Backend::bias_unary, op, y, x, bias, param);
  }
  void bias_unary_grad(UnaryOp op, Span dx, double beta, Span dbias, double beta_bias, ConstSpan x, ConstSpan bias,
                       ConstSpan dy, double param) override {
    run("bias_unary_grad", &Backend::bias_unary_grad, op, dx, beta, dbias, beta_bias, x, bias, dy, param);
  }
  void swiglu_grad(Span dh, ConstSpan h, ConstSpan dy, int64_t cols, double beta) override {
    run("swiglu_grad", &Backend::swiglu_grad, dh, h, dy, cols, beta);
  }
  void cross_entropy(Span loss, Span lse, Span count, ConstSpan logits, ConstSpan targets, int64_t cols,
                     int64_t ignored, double cap) override {
    run("cross_entropy", &Backend::cross_entropy, loss, lse, count, logits, targets, cols, ignored, cap);
  }
  void cross_entropy_grad(Span dlogits, ConstSpan logits, ConstSpan targets, ConstSpan lse, ConstSpan count,
                          ConstSpan dloss, int64_t cols, int64_t ignored, double cap, double beta) override {
    run("cross_entropy_grad", &Backend::cross_entropy_grad, dlogits, logits, targets, lse, count, dloss, cols, ignored,
        cap, beta);
  }
  void norm(Span y, Span s, Span mean, Span rstd, ConstSpan x, ConstSpan branch, ConstSpan gain, ConstSpan bias,
            const NormArgs& args) override {
    run("norm", &Backend::norm, y, s, mean, rstd, x, branch, gain, bias, args);
  }
  void norm_grad(Span dx, double beta_x, Span dgain, double beta_gain, Span dbias, double beta_bias, ConstSpan x,
                 ConstSpan gain, ConstSpan mean, ConstSpan rstd, ConstSpan dy, const NormArgs& args) override {
    run("norm_grad", &Backend::norm_grad, dx, beta_x, dgain, beta_gain, dbias, beta_bias, x, gain, mean, rstd, dy,
        args);
  }
  void rotary(const MatrixView& y, Span rstd, const MatrixView& x, ConstSpan cos, ConstSpan sin,
              const RotaryArgs& args) override {
    run("rotary", &Backend::rotary, y, rstd, x, cos, sin, args);
  }
  void rotary_grad(const MatrixView& dx, const MatrixView& dy, const MatrixView& x, ConstSpan rstd, ConstSpan cos,
                   ConstSpan sin, const RotaryArgs& args, double beta) override {
    run("rotary_grad", &Backend::rotary_grad, dx, dy, x, rstd, cos, sin, args, beta);
  }
  void attention(const MatrixView& y, Span lse, const MatrixView& q, const MatrixView& k, const MatrixView& v,
                 const AttentionArgs& args) override {
    run("attention", &Backend::attention, y, lse, q, k, v, args);
  }
  void attention_grad(const MatrixView& dq, const MatrixView& dk, const MatrixView& dv, double beta,
                      const MatrixView& q, const MatrixView& k, const MatrixView& v, const MatrixView& y,
                      const MatrixView& dy, ConstSpan lse, const AttentionArgs& args) override {
    run("attention_grad", &Backend::attention_grad, dq, dk, dv, beta, q, k, v, y, dy, lse, args);
  }
  void row_sum_squares(Span out, const MatrixView& x) override {
    run("row_sum_squares", &Backend::row_sum_squares, out, x);
  }
  void scale_rows(const MatrixView& y, const MatrixView& x, ConstSpan d) override {
    run("scale_rows", &Backend::scale_rows, y, x, d);
  }
  void matrix_affine(const MatrixView& y, const MatrixView& x, double alpha, double beta) override {
    run("matrix_affine", &Backend::matrix_affine, y, x, alpha, beta);
  }
  void scale_each(const MatrixView& y, const MatrixView& x, ConstSpan factor) override {
    run("scale_each", &Backend::scale_each, y, x, factor);
  }
  void cholesky(const MatrixView& a) override { run("cholesky", &Backend::cholesky, a); }
  void solve_lower(const MatrixView& x, const MatrixView& l) override {
    run("solve_lower", &Backend::solve_lower, x, l);
  }
  void leverage_scores(Span h, const MatrixView& z, double ridge) override {
    run("leverage_scores", &Backend::leverage_scores, h, z, ridge);
  }
  void polar_svd(const MatrixView& u, const MatrixView& x) override { run("polar_svd", &Backend::polar_svd, u, x); }
  void add_to_diagonal(const MatrixView& a, double shift, double relative) override {
    run("add_to_diagonal", &Backend::add_to_diagonal, a, shift, relative);
  }
  void inverse_norm(Span d, ConstSpan squares, double scale, double eps, double floor) override {
    run("inverse_norm", &Backend::inverse_norm, d, squares, scale, eps, floor);
  }
  void rebalance(Span d, ConstSpan squares, double target, double beta, double floor) override {
    run("rebalance", &Backend::rebalance, d, squares, target, beta, floor);
  }
  void adamw(Span w, Span m, Span v, ConstSpan g, const AdamWArgs& args, ConstSpan record) override {
    run("adamw", &Backend::adamw, w, m, v, g, args, record);
  }
  void descend(Span w, ConstSpan u, double lr, double scale, double decay, ConstSpan record) override {
    run("descend", &Backend::descend, w, u, lr, scale, decay, record);
  }
  void stop_unless_finite(Span record, ConstSpan x) override {
    run("stop_unless_finite", &Backend::stop_unless_finite, record, x);
  }
  void momentum(Span x, Span m, ConstSpan g, double mu, double gain, bool nesterov) override {
    run("momentum", &Backend::momentum, x, m, g, mu, gain, nesterov);
  }
  void second_moment(Span x, Span v, ConstSpan g, double beta, double eps) override {
    run("second_moment", &Backend::second_moment, x, v, g, beta, eps);
  }
};

}  // namespace

int cuda_count() { return 3; }

const char* why_no_cuda() { return "the checked devices are always there"; }

Backend* cuda_backend(int index) {
  // Never destroyed, as the CPU's.
  static std::array<std::once_flag, 3> once;
  static std::array<Backend*, 3> devices{};
  if (index < 0 || index >= cuda_count()) return nullptr;
  const auto i = static_cast<size_t>(index);
  std::call_once(once[i], [&] {
    if (index == 0) devices[i] = new Checked(0);
    if (index == 1) devices[i] = new CheckedCore(1);
    if (index == 2) devices[i] = new CudaBackend({Device::Kind::cuda, index}, 0);
  });
  return devices[i];
}

}  // namespace borealis
