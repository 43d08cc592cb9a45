// The world of GEMM: 2-D views of a Tensor with two strides, one of which is 1, and up to two batch
// dimensions. All linear algebra and every spectral optimizer speaks it.
#pragma once

#include "backend.h"
#include "tensor.h"

namespace borealis {

// A handle like Tensor: copying it copies no numbers, and calls write through a const Matrix&.
class Matrix {
 public:
  Matrix() = default;
  // [m, n] as it is; [b, m, n] as a batch of b; [a, b, m, n] as two batch dimensions.
  Matrix(const Tensor& t);  // implicit: a Tensor is read as a matrix wherever one is asked for

  // rows × cols at element `first` of t, rows `ld` apart. No number is below 0, and ld ≥ cols; a
  // stride of 0 repeats a matrix, which only inputs may.
  static Matrix strided(const Tensor& t, int64_t first, int64_t rows, int64_t cols, int64_t ld,
                        const Batch& batch = {});
  // A fresh contiguous matrix (batch included), contents undefined.
  static Matrix make(int64_t rows, int64_t cols, const Batch& like, DType dtype, Device device);

  int64_t rows() const { return view_.rows; }
  int64_t cols() const { return view_.cols; }
  const Batch& batch() const { return view_.batch; }
  DType dtype() const { return view_.dtype; }
  Device device() const { return base_.device(); }
  // For kernels.
  const MatrixView& view() const { return made("matrix").view_; }
  operator const MatrixView&() const { return view(); }

  // The transpose of each matrix. Free.
  Matrix t() const { return {base_, view_.t()}; }
  // Matrix number i of the batch (flat: outer·inner + inner).
  Matrix at(int64_t i) const;
  // A fresh contiguous matrix of the same sizes, not transposed.
  Matrix like() const { return make(rows(), cols(), batch(), dtype(), device()); }
  // The memory as a Tensor; fails unless contiguous and not transposed.
  Tensor tensor() const;
  // This matrix; fails in the name of `op` if there is none.
  const Matrix& made(const char* op) const;

 private:
  Matrix(const Tensor& base, const MatrixView& view) : base_(base), view_(view) {}

  Tensor base_;      // whose memory it is; holds every matrix
  MatrixView view_;  // one of its strides is 1
};

// The sizes: "4 x [128, 64]".
std::ostream& operator<<(std::ostream& out, const Matrix& m);

// Head h of sequence b is matrix (b, h): the H matrices [T, dim] whose numbers stand side by side in t [B, T, width] from
// column `first` on.
Matrix heads(const Tensor& t, int64_t first, int64_t H, int64_t dim);

// Outputs have memory of their own; where nothing else is said, an input that shares a number with
// the output is refused.

// C ← alpha·A·B + beta·C, for each matrix of C's batch (of A and B, one matrix is repeated). C may be of a wider type.
void gemm(const Matrix& C, const Matrix& A, const Matrix& B, double alpha = 1, double beta = 0,
          Precision precision = Precision::exact);

// The same where the result is known to be symmetric: half the work where a backend can.
void gemm_symmetric(const Matrix& C, const Matrix& A, const Matrix& B, double alpha = 1, double beta = 0,
                    Precision precision = Precision::exact);

// A B, and Xᵀ X, in fresh memory.
Matrix operator*(const Matrix& A, const Matrix& B);
Matrix gram(const Matrix& X);

// Y ← alpha·X + beta·Y, also between different layouts. Y and X may be one.
void axpby(const Matrix& Y, double alpha, const Matrix& X, double beta);
// X in fresh, contiguous memory.
Matrix copy(const Matrix& X);
// The same in another type, for backends.
Matrix converted(const MatrixView& x, DType dtype, Device device);

// [batch, rows]: the squared length of each row, and [batch]: of each matrix. Infinite where the square is too large for
// the type.
Tensor row_sum_squares(const Matrix& X);
Tensor frobenius_squares(const Matrix& X);

// 1/max(scale·√squares + eps, floor) of each number; 0 where squares is 0.
Tensor inverse_norm(const Tensor& squares, double scale = 1, double eps = 0, double floor = 0);

// Y ← diag(d) X; d: [batch, rows]. Y and X may be one.
void scale_rows(const Matrix& Y, const Tensor& d, const Matrix& X);
// The same in fresh memory.
Matrix scale_rows(const Tensor& d, const Matrix& X);

// Y ← factor·X with one factor per matrix; factor: [batch]. Y and X may be one.
void scale_each(const Matrix& Y, const Matrix& X, const Tensor& factor);

// A ← A + (shift + relative·mean of A's diagonal) I.
void add_to_diagonal(const Matrix& A, double shift, double relative = 0);

// The squared row lengths of polar(Z) [batch, rows], its leverage scores, without polar(Z):
//   h_i = z_iᵀ (ZᵀZ + ρI)⁻¹ z_i = ‖L⁻¹ z_i‖²  with  L Lᵀ = ZᵀZ + ρI,  ρ = ridge·(mean eigenvalue of ZᵀZ).
// Overwrites Z, which is tall or square. NaN where ZᵀZ + ρI is not definite.
Tensor leverage_scores(const Matrix& Z, double ridge);

}  // namespace borealis
