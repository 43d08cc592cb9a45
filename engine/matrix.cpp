#include "engine/matrix.h"

#include "engine/overlap.h"

namespace borealis {

namespace {

// "4 x [128, 64]": what an error text shows of a matrix.
struct Described {
  const Matrix& m;
  friend std::ostream& operator<<(std::ostream& out, const Described& d) {
    if (d.m.batch().total() != 1) out << d.m.batch().total() << " x ";
    return out << '[' << d.m.rows() << ", " << d.m.cols() << ']';
  }
};

// One matrix X stands for as many as C has.
void check_batches(const char* op, const Matrix& C, const Matrix& X) {
  if (X.batch().total() != 1 && X.batch().count != C.batch().count)
    fail(op, ": the batches differ: ", Described{C}, " and ", Described{X});
}

// What every Y ← f(X) of equal sizes needs. Y and X may be one.
void check_same(const char* op, const Matrix& Y, const Matrix& X) {
  Y.made(op), X.made(op);
  if (Y.rows() != X.rows() || Y.cols() != X.cols() || Y.batch().count != X.batch().count)
    fail(op, ": the sizes differ: ", Described{Y}, " and ", Described{X});
  if (Y.dtype() != X.dtype() || !(Y.device() == X.device()))
    fail(op, ": ", Y.dtype(), " on ", Y.device(), " and ", X.dtype(), " on ", X.device(), " do not mix");
  check_no_repeats(op, Y.view());
  check_apart_or_same(op, Y.view(), X.view());
}

// Factors d of X that scale it into Y.
void check_factors(const char* op, const Tensor& d, const Matrix& X, const Matrix& Y) {
  if (d.made(op).dtype() != X.dtype() || !(d.device() == X.device()))
    fail(op, ": the factors are ", d.dtype(), " on ", d.device(), ", but ", Described{X}, " is ", X.dtype(), " on ",
         X.device());
  check_apart(op, Y.view(), d);
}

std::array<int64_t, 2> strides_for(const Matrix& X) {
  return X.batch().total() == 1 ? std::array<int64_t, 2>{0, 0} : X.batch().stride;
}

}  // namespace

Matrix::Matrix(const Tensor& t) : base_(t.made("matrix")) {
  const Shape& s = t.shape();
  if (s.rank() < 2 || s.rank() > 4) fail("matrix: ", s, " is not a matrix or a batch of them");
  stored_rows_ = s[-2];
  stored_cols_ = s[-1];
  ld_ = stored_cols_;
  const int64_t size = stored_rows_ * stored_cols_;
  if (s.rank() >= 3) batch_.count[1] = s[-3], batch_.stride[1] = size;
  if (s.rank() == 4) batch_.count[0] = s[0], batch_.stride[0] = size * s[1];
}

Matrix Matrix::strided(const Tensor& t, int64_t first, int64_t rows, int64_t cols, int64_t ld, const Batch& batch) {
  const Shape sizes{batch.count[0], batch.count[1], rows, cols};  // refuses what is absurd
  const bool empty = sizes.numel() == 0;
  int64_t end = cols;  // of the last number, counted from the first
  const auto reach = [&end, &t](int64_t count, int64_t stride) {
    int64_t way = 0;
    return stride >= 0 && stride <= Shape::max_numel && !__builtin_mul_overflow(count - 1, stride, &way) &&
           way <= t.numel() && (end += way) <= t.numel();
  };
  const bool fits = empty || (cols <= ld && reach(rows, ld) && reach(batch.count[0], batch.stride[0]) &&
                              reach(batch.count[1], batch.stride[1]));
  if (!fits || !Range{first, empty ? 0 : end}.inside(t.made("matrix").numel()))
    fail("matrix: ", rows, " x ", cols, " with rows ", ld, " apart does not fit into ", t.shape());
  if (empty) return t.flat_view(first, sizes);
  Matrix m;
  m.base_ = t.flat_view(first, {t.numel() - first});
  m.stored_rows_ = rows;
  m.stored_cols_ = cols;
  m.ld_ = ld;
  m.batch_ = batch;
  return m;
}

Matrix Matrix::make(int64_t rows, int64_t cols, const Batch& like, DType dtype, Device device) {
  Matrix m = Tensor({like.count[0], like.count[1], rows, cols}, dtype, device);
  return m;
}

const Matrix& Matrix::made(const char* op) const {
  if (!base_) fail(op, ": this matrix was never made");
  return *this;
}

Matrix Matrix::at(int64_t i) const {
  if (i < 0 || i >= batch_.total()) fail("matrix: number ", i, " of a batch of ", batch_.total());
  const int64_t first = i / batch_.count[1] * batch_.stride[0] + i % batch_.count[1] * batch_.stride[1];
  Matrix m = *this;
  m.batch_ = {};
  m.base_ = base_.flat_view(first, {base_.numel() - first});
  return m;
}

Tensor Matrix::tensor() const {
  const int64_t size = stored_rows_ * stored_cols_;
  const bool packed = !trans_ && ld_ == stored_cols_ && (batch_.count[1] == 1 || batch_.stride[1] == size) &&
                      (batch_.count[0] == 1 || batch_.stride[0] == size * batch_.count[1]);
  if (!packed) fail("matrix: ", Described{*this}, " is not contiguous, so it is no Tensor");
  if (batch_.total() == 1) return base_.flat_view(0, {rows(), cols()});
  if (batch_.count[0] == 1) return base_.flat_view(0, {batch_.count[1], rows(), cols()});
  return base_.flat_view(0, {batch_.count[0], batch_.count[1], rows(), cols()});
}

MatrixView Matrix::view() const {
  return {.data = raw(),
          .dtype = dtype(),
          .rows = rows(),
          .cols = cols(),
          .row_stride = trans_ ? 1 : ld_,
          .col_stride = trans_ ? ld_ : 1,
          .batch = batch_};
}

namespace {

void gemm(const Matrix& C, const Matrix& A, const Matrix& B, double alpha, double beta, bool symmetric) {
  C.made("gemm"), A.made("gemm"), B.made("gemm");
  if (C.transposed()) return gemm(C.t(), B.t(), A.t(), alpha, beta, symmetric);  // Cᵀ = Bᵀ Aᵀ
  if (A.cols() != B.rows() || C.rows() != A.rows() || C.cols() != B.cols())
    fail("gemm: the sizes do not fit: ", Described{C}, " = ", Described{A}, " * ", Described{B});
  check_batches("gemm", C, A);
  check_batches("gemm", C, B);
  if (A.dtype() != B.dtype() || A.dtype() != C.dtype() || !(A.device() == B.device()) || !(A.device() == C.device()))
    fail("gemm: ", Described{C}, " ", C.dtype(), " = ", Described{A}, " ", A.dtype(), " * ", Described{B}, " ",
         B.dtype(), ": types or devices do not mix");
  const Layout output = C.view();
  check_no_repeats("gemm", output);
  check_apart("gemm", output, A.view());
  check_apart("gemm", output, B.view());
  backend(C.device())
      .gemm({.dtype = C.dtype(),
             .m = C.rows(),
             .n = C.cols(),
             .k = A.cols(),
             .a = A.raw(),
             .b = B.raw(),
             .c = C.raw(),
             .trans_a = A.transposed(),
             .trans_b = B.transposed(),
             .lda = A.ld(),
             .ldb = B.ld(),
             .ldc = C.ld(),
             .batch = C.batch().count,
             .stride_a = strides_for(A),
             .stride_b = strides_for(B),
             .stride_c = strides_for(C),
             .alpha = alpha,
             .beta = beta,
             .symmetric = symmetric});
}

}  // namespace

void gemm(const Matrix& C, const Matrix& A, const Matrix& B, double alpha, double beta) {
  gemm(C, A, B, alpha, beta, false);
}

void gemm_symmetric(const Matrix& C, const Matrix& A, const Matrix& B, double alpha, double beta) {
  if (C.rows() != C.cols()) fail("gemm_symmetric: the result must be square, got ", Described{C});
  gemm(C, A, B, alpha, beta, true);
}

Matrix operator*(const Matrix& A, const Matrix& B) {
  const Batch& batch = A.made("gemm").batch().total() == 1 ? B.batch() : A.batch();
  const Matrix C = Matrix::make(A.rows(), B.cols(), batch, A.dtype(), A.device());
  gemm(C, A, B);
  return C;
}

void axpby(const Matrix& Y, double alpha, const Matrix& X, double beta) {
  check_same("axpby", Y, X);
  backend(Y.device()).matrix_affine(Y.view(), X.view(), alpha, beta);
}

Tensor row_sum_squares(const Matrix& X) {
  X.made("row_sum_squares");
  const Tensor r({X.batch().total(), X.rows()}, X.dtype(), X.device());
  backend(X.device()).row_sum_squares(r, X.view());
  return r;
}

void scale_rows(const Matrix& Y, const Tensor& d, const Matrix& X) {
  check_same("scale_rows", Y, X);
  check_factors("scale_rows", d, X, Y);
  if (d.numel() != X.batch().total() * X.rows())
    fail("scale_rows: d is ", d.shape(), ", but ", Described{X}, " has as many rows as its sizes say");
  backend(X.device()).scale_rows(Y.view(), X.view(), d);
}

Matrix scale_rows(const Tensor& d, const Matrix& X) {
  const Matrix Y = X.made("scale_rows").like();
  scale_rows(Y, d, X);
  return Y;
}

void scale_each(const Matrix& Y, const Matrix& X, const Tensor& factor) {
  check_same("scale_each", Y, X);
  check_factors("scale_each", factor, X, Y);
  if (factor.numel() != X.batch().total()) fail("scale_each: ", factor.shape(), " factors for ", Described{X});
  backend(Y.device()).scale_each(Y.view(), X.view(), factor);
}

}  // namespace borealis
