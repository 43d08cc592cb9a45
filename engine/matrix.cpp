#include "engine/matrix.h"

#include "engine/math.h"
#include "engine/overlap.h"

namespace borealis {

namespace {

// One matrix X stands for as many as C has.
void check_batches(const char* op, const Matrix& C, const Matrix& X) {
  if (X.batch().total() != 1 && X.batch().count != C.batch().count) fail(op, ": the batches differ: ", C, " and ", X);
}

// What every Y ← f(X) of equal sizes needs. Y and X may be one.
void check_same(const char* op, const Matrix& Y, const Matrix& X) {
  Y.made(op), X.made(op);
  if (Y.rows() != X.rows() || Y.cols() != X.cols() || Y.batch().count != X.batch().count)
    fail(op, ": the sizes differ: ", Y, " and ", X);
  if (Y.dtype() != X.dtype() || !(Y.device() == X.device()))
    fail(op, ": ", Y.dtype(), " on ", Y.device(), " and ", X.dtype(), " on ", X.device(), " do not mix");
  check_no_repeats(op, Y.view());
  check_apart_or_same(op, Y.view(), X.view());
}

// Factors d of X that scale it into Y.
void check_factors(const char* op, const Tensor& d, const Matrix& X, const Matrix& Y) {
  if (d.made(op).dtype() != X.dtype() || !(d.device() == X.device()))
    fail(op, ": the factors are ", d.dtype(), " on ", d.device(), ", but ", X, " is ", X.dtype(), " on ", X.device());
  check_apart(op, Y.view(), d);
}

// Where one matrix stands for the whole batch, it is met again and again.
MatrixView repeated(const Matrix& X) {
  MatrixView view = X;
  if (view.batch.total() == 1) view.batch = {};
  return view;
}

}  // namespace

Matrix::Matrix(const Tensor& t) : base_(t.made("matrix")) {
  const Shape& s = t.shape();
  if (s.rank() < 2 || s.rank() > 4) fail("matrix: ", s, " is not a matrix or a batch of them");
  view_ = {.data = t.raw(), .dtype = t.dtype(), .rows = s[-2], .cols = s[-1], .row_stride = s[-1]};
  const int64_t size = s[-2] * s[-1];
  if (s.rank() >= 3) view_.batch.count[1] = s[-3], view_.batch.stride[1] = size;
  if (s.rank() == 4) view_.batch.count[0] = s[0], view_.batch.stride[0] = size * s[1];
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
  const Tensor base = t.flat_view(first, {t.numel() - first});
  return {base, {base.raw(), t.dtype(), rows, cols, ld, 1, batch}};
}

Matrix Matrix::make(int64_t rows, int64_t cols, const Batch& like, DType dtype, Device device) {
  return Tensor({like.count[0], like.count[1], rows, cols}, dtype, device);
}

std::ostream& operator<<(std::ostream& out, const Matrix& m) {
  if (m.batch().total() != 1) out << m.batch().total() << " x ";
  return out << '[' << m.rows() << ", " << m.cols() << ']';
}

const Matrix& Matrix::made(const char* op) const {
  if (!base_) fail(op, ": this matrix was never made");
  return *this;
}

Matrix Matrix::at(int64_t i) const {
  made("matrix");
  if (i < 0 || i >= batch().total()) fail("matrix: number ", i, " of a batch of ", batch().total());
  MatrixView one = view_;
  one.data = dtype() == DType::f64 ? static_cast<void*>(view_.at<double>(i)) : view_.at<float>(i);
  one.batch = {};
  return {base_, one};
}

Tensor Matrix::tensor() const {
  const auto [outer, inner] = made("matrix").batch().count;
  const int64_t size = rows() * cols();
  const bool packed = view_.col_stride == 1 && (view_.row_stride == cols() || rows() <= 1) &&
                      (inner == 1 || batch().stride[1] == size) && (outer == 1 || batch().stride[0] == size * inner);
  if (!packed) fail("matrix: ", *this, " is not contiguous, so it is no Tensor");
  const int64_t first = (static_cast<std::byte*>(view_.data) - static_cast<std::byte*>(base_.raw())) /
                        static_cast<int64_t>(size_of(dtype()));
  if (batch().total() == 1) return base_.flat_view(first, {rows(), cols()});
  if (outer == 1) return base_.flat_view(first, {inner, rows(), cols()});
  return base_.flat_view(first, {outer, inner, rows(), cols()});
}

Matrix heads(const Tensor& t, int64_t first, int64_t H, int64_t dim) {
  const int64_t B = t.size(0), T = t.size(1), width = t.size(2);
  return Matrix::strided(t, t.numel() ? first : 0, T, dim, width, {{B, H}, {T * width, dim}});
}

namespace {

void gemm(const Matrix& C, const Matrix& A, const Matrix& B, double alpha, double beta, bool symmetric,
          Precision precision) {
  C.made("gemm"), A.made("gemm"), B.made("gemm");
  if (C.view().col_stride != 1) return gemm(C.t(), B.t(), A.t(), alpha, beta, symmetric, precision);  // Cᵀ = Bᵀ Aᵀ
  if (A.cols() != B.rows() || C.rows() != A.rows() || C.cols() != B.cols())
    fail("gemm: the sizes do not fit: ", C, " = ", A, " * ", B);
  check_batches("gemm", C, A);
  check_batches("gemm", C, B);
  const bool fits = C.dtype() == A.dtype() || (A.dtype() != DType::i32 && size_of(C.dtype()) > size_of(A.dtype()));
  if (A.dtype() != B.dtype() || !fits || !(A.device() == B.device()) || !(A.device() == C.device()))
    fail("gemm: ", C, " ", C.dtype(), " = ", A, " ", A.dtype(), " * ", B, " ", B.dtype(),
         ": types or devices do not mix");
  const Layout output = C.view();
  check_no_repeats("gemm", output);
  check_apart("gemm", output, A.view());
  check_apart("gemm", output, B.view());
  backend(C.device()).gemm(C, repeated(A), repeated(B), alpha, beta, symmetric, precision);
}

}  // namespace

void gemm(const Matrix& C, const Matrix& A, const Matrix& B, double alpha, double beta, Precision precision) {
  gemm(C, A, B, alpha, beta, false, precision);
}

void gemm_symmetric(const Matrix& C, const Matrix& A, const Matrix& B, double alpha, double beta, Precision precision) {
  if (C.rows() != C.cols()) fail("gemm_symmetric: the result must be square, got ", C);
  gemm(C, A, B, alpha, beta, true, precision);
}

Matrix operator*(const Matrix& A, const Matrix& B) {
  const Batch& batch = A.made("gemm").batch().total() == 1 ? B.batch() : A.batch();
  const Matrix C = Matrix::make(A.rows(), B.cols(), batch, A.dtype(), A.device());
  gemm(C, A, B);
  return C;
}

Matrix gram(const Matrix& X) {
  const Matrix A = Matrix::make(X.cols(), X.cols(), X.batch(), X.dtype(), X.made("gram").device());
  gemm_symmetric(A, X.t(), X);
  return A;
}

void axpby(const Matrix& Y, double alpha, const Matrix& X, double beta) {
  check_same("axpby", Y, X);
  backend(Y.device()).matrix_affine(Y, X, alpha, beta);
}

Matrix converted(const MatrixView& x, DType dtype, Device device) {
  const Matrix own = Matrix::make(x.rows, x.cols, x.batch, x.dtype, device);
  backend(device).matrix_affine(own, x, 1, 0);
  return own.tensor().to(dtype);
}

Matrix copy(const Matrix& X) {
  const Matrix Y = X.made("copy").like();
  axpby(Y, 1, X, 0);
  return Y;
}

Tensor row_sum_squares(const Matrix& X) {
  X.made("row_sum_squares");
  const Tensor r({X.batch().total(), X.rows()}, X.dtype(), X.device());
  backend(X.device()).row_sum_squares(r, X);
  return r;
}

Tensor frobenius_squares(const Matrix& X) {
  return sum(row_sum_squares(X.made("frobenius_squares")), {1}).reshape({X.batch().total()});
}

Tensor inverse_norm(const Tensor& squares, double scale, double eps, double floor) {
  const Tensor d = squares.made("inverse_norm").like();
  backend(d.device()).inverse_norm(d, squares, scale, eps, floor);
  return d;
}

void scale_rows(const Matrix& Y, const Tensor& d, const Matrix& X) {
  check_same("scale_rows", Y, X);
  check_factors("scale_rows", d, X, Y);
  if (d.numel() != X.batch().total() * X.rows())
    fail("scale_rows: d is ", d.shape(), ", but must be one factor for each row of ", X);
  backend(X.device()).scale_rows(Y, X, d);
}

Matrix scale_rows(const Tensor& d, const Matrix& X) {
  const Matrix Y = X.made("scale_rows").like();
  scale_rows(Y, d, X);
  return Y;
}

void scale_each(const Matrix& Y, const Matrix& X, const Tensor& factor) {
  check_same("scale_each", Y, X);
  check_factors("scale_each", factor, X, Y);
  if (factor.numel() != X.batch().total()) fail("scale_each: ", factor.shape(), " factors for ", X);
  backend(Y.device()).scale_each(Y, X, factor);
}

void add_to_diagonal(const Matrix& A, double shift, double relative) {
  if (A.made("add_to_diagonal").rows() != A.cols()) fail("add_to_diagonal: ", A, " is not square");
  check_no_repeats("add_to_diagonal", A.view());
  backend(A.device()).add_to_diagonal(A, shift, relative);
}

Tensor leverage_scores(const Matrix& Z, double ridge) {
  if (Z.made("leverage_scores").rows() < Z.cols()) fail("leverage_scores: ", Z, " is wide, but must be tall");
  check_no_repeats("leverage_scores", Z.view());
  const Tensor h({Z.batch().total(), Z.rows()}, Z.dtype(), Z.device());
  backend(Z.device()).leverage_scores(h, Z, ridge);
  return h;
}

}  // namespace borealis
