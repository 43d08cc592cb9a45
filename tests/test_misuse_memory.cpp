// Misuse of memory (sizes, places, outputs that are inputs): one sentence each time, never a crash,
// never silence.
#include <limits>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "engine/overlap.h"
#include "tests/compare.h"
#include "tests/refusal.h"

using namespace borealis;

namespace {

constexpr int64_t huge = std::numeric_limits<int64_t>::max();

Var zeros(const Shape& shape) { return Tensor::zeros(shape); }

}  // namespace

TEST_CASE("misuse: sizes near 2^63 overflow nothing") {
  const Tensor t = Tensor::zeros({4, 3});
  const Var x = zeros({4, 3});
  CHECK(refusal([&] { t.rows(huge, huge); }) ==
        "rows: 9223372036854775807 … 9223372036854775807 + 9223372036854775807 is outside the "
        "leading axis of [4, 3]");
  Shape changed{2, 3};
  const Batch far{{1, 2}, {0, huge}}, many{{huge, huge}, {0, 0}}, back{{1, 2}, {0, -3}};
  const auto strided = [&](int64_t first, int64_t rows, int64_t cols, int64_t ld, const Batch& batch = {}) {
    return [=] { Matrix::strided(t, first, rows, cols, ld, batch); };
  };
  const Calls calls{{"rows", [&] { t.rows(1, huge); }},
                    {"rows", [&] { t.rows(huge, 1); }},
                    {"rows", [&] { t.rows(-huge - 1, -1); }},
                    {"flat_view", [&] { t.flat_view(huge, {2}); }},
                    {"slice", [&] { slice(x, 1, huge, 1); }},
                    {"slice", [&] { slice(x, 0, 1, huge); }},
                    {"shape", [&] { t.reshape({huge}); }},
                    {"shape",
                     [&] {
                       t.reshape({0, huge, huge});
                     }},
                    {"shape", [&] { changed.set(0, huge); }},
                    {"shape", [&] { changed.set(1, -1); }},
                    {"shape",
                     [&] {
                       Tensor({0, huge, huge});
                     }},
                    {"shape", strided(0, huge, 1, 3)},
                    {"shape", strided(0, 1, huge, huge)},
                    {"shape", strided(0, -1, 1, 1)},
                    {"shape", strided(0, 1, -1, 1)},
                    {"shape", strided(0, 1, 1, 1, many)},
                    {"matrix", strided(huge, 1, 1, 1)},
                    {"matrix", strided(-1, 1, 1, 1)},
                    {"matrix", strided(0, 2, 1, huge)},
                    {"matrix", strided(0, 2, 1, -3)},
                    {"matrix", strided(0, 1, 3, huge)},
                    {"matrix", strided(0, 1, 1, 1, far)},
                    {"matrix", strided(3, 1, 1, 1, back)},
                    {"matrix", [&] { Matrix(t).at(huge); }},
                    {"shape", [&] { Matrix::make(huge, huge, {}, DType::f32, {}); }},
                    {"copy_into_slice",
                     [&] {
                       copy_into_slice(t, Tensor({1, 3}), 0, huge, 0);
                     }},
                    {"rotary",
                     [&] {
                       rotary(zeros({1, 2, 4}), 1, rotary_table(4, 4), huge);
                     }},
                    {"rotary",
                     [&] {
                       rotary(zeros({1, 2, 4}), huge, rotary_table(4, 4));
                     }},
                    {"attention", [&] {
                       causal_attention(zeros({1, 2, 12}), huge);
                     }}};
  check_refused(calls, "");
  CHECK(changed == Shape{2, 3});
  CHECK_THROWS_AS(pool(Device{}).take(std::numeric_limits<size_t>::max()), std::runtime_error);
  // What is allowed: an empty matrix anywhere, one of a single row, a repeated one.
  CHECK(Matrix::strided(t, 12, 0, 3, 3).rows() == 0);
  CHECK(Matrix::strided(t, 9, 1, 3, 3).tensor().numel() == 3);
  CHECK(Matrix::strided(t, 0, 4, 3, 3, {{1, 5}, {0, 0}}).batch().total() == 5);
}

TEST_CASE("misuse: what holds no number shares none, wherever it lies") {
  const Tensor t = Tensor::zeros({8, 8});
  const Matrix none = Matrix::strided(t, 20, 3, 0, 8), row = Matrix::strided(t, 16, 1, 8, 8);
  CHECK(Layout(none.view()).apart_from(Layout(t)));
  CHECK(Layout(t).apart_from(Layout(none.view())));
  CHECK(Layout(t.flat_view(20, {0})).apart_from(Layout(t)));
  CHECK(!Layout(row.view()).apart_from(Layout(t)));
  CHECK(!Layout(none.view()).repeats());
}

TEST_CASE("misuse: outputs that lie in the memory of an input") {
  const auto fresh = [] { return Rng(1).normal({6, 6}, 1); };
  const Tensor a = fresh(), b = fresh(), long_one = Rng(2).normal({72}, 1);
  const Matrix A = a, B = b;
  const auto part = [&](int64_t first) { return Matrix(long_one.flat_view(first, {6, 6})); };
  const Tensor row = a.reshape({36}).rows(0, 6), vector = a.reshape({36});
  check_refused(
      {{"gemm", [&] { gemm(A, A, A); }},
       {"gemm", [&] { gemm(A, A, B); }},
       {"gemm", [&] { gemm(A, B, A.t()); }},
       {"gemm", [&] { gemm(part(0), part(35), B); }},
       {"gemm", [&] { gemm(part(35), B, part(0)); }},
       {"gemm", [&] { gemm_symmetric(A, A, A.t()); }},
       {"axpby", [&] { axpby(A, 1, A.t(), 0); }},
       {"axpby", [&] { axpby(part(1), 1, part(0), 0); }},
       {"axpby", [&] { axpby(vector.rows(1, 5), 1, vector.rows(0, 5), 0); }},
       {"scale_rows", [&] { scale_rows(A.t(), b.rows(0, 1), A); }},
       {"scale_rows", [&] { scale_rows(A, row, B); }},
       {"scale_each", [&] { scale_each(A, B, row.rows(3, 1)); }},
       {"unary_grad",
        [&] { unary_grad(UnaryOp::tanh, vector.rows(1, 5), vector.rows(0, 5), b.reshape({36}).rows(0, 5), 0, 0); }},
       {"copy", [&] { vector.rows(1, 5).copy_from(vector.rows(0, 5)); }},
       {"copy_into_slice", [&] { copy_into_slice(a, a, 0, 0, 1); }},
       {"copy_into_slice", [&] { copy_into_slice(a, a.rows(1, 2), 0, 2, 0); }},
       {"copy_from_slice", [&] { copy_from_slice(a.rows(0, 2), a, 0, 1, 0); }}},
      "the output lies in the memory of an input");
  const Tensor two({2, 6, 6});
  const Batch twice{{1, 2}, {0, 0}}, lapped{{1, 2}, {0, 20}};
  check_refused({{"gemm", [&] { gemm(Matrix::strided(a, 0, 6, 6, 6, twice), two, B); }},
                 {"axpby", [&] { axpby(Matrix::strided(long_one, 0, 6, 6, 6, lapped), 1, two, 0); }}},
                "matrices of the output lie on each other");
  CHECK(refusal([&] { gemm(A, two, B); }) == "gemm: the batches differ: [6, 6] and 2 x [6, 6]");
  CHECK(same_bytes(a, b));
}

TEST_CASE("misuse: what may share memory still does") {
  const Tensor a = Rng(1).normal({6, 6}, 1), b = a.clone();
  axpby(a, 1, a, 1);
  axpby(Matrix(a), 0.5, Matrix(a), 0);
  scale_each(a, a, Tensor::full({1}, 2));
  scale_rows(Matrix(a).t(), Tensor::full({6}, 0.5), Matrix(a).t());
  unary_grad(UnaryOp::neg, a, a, a, 0, 0);  // dx = −dy
  a.copy_from(a);
  CHECK(same_bytes(a, affine(b, -1, 0)));

  // q and k side by side in packed rows, and the heads inside them, are apart.
  const Tensor packed = Rng(2).normal({4, 3, 2 * 8}, 1);
  const Batch heads{{4, 2}, {48, 4}};
  const auto head = [&](int64_t first) { return Matrix::strided(packed, first, 3, 4, 16, heads); };
  const Matrix q = head(0), k = head(8);
  axpby(q, 1, k, 0);
  CHECK(same_bytes(packed.reshape({12, 2, 8}).rows(0, 1).reshape({2, 8}).rows(0, 1),
                   packed.reshape({12, 2, 8}).rows(0, 1).reshape({2, 8}).rows(1, 1)));
  CHECK(says(refusal([&] { axpby(q, 1, head(4), 0); }), "lies in the memory"));
  gemm(Matrix::strided(packed, 0, 12, 8, 16), Matrix::strided(packed, 8, 12, 8, 16), Tensor::zeros({8, 8}));
  CHECK(packed.to_vector<float>()[0] == 0);
  copy_into_slice(a, a.rows(0, 1), 0, 1, 0);
  CHECK(same_bytes(a.rows(0, 1), a.rows(1, 1)));
}

TEST_CASE("misuse: slices and factors that do not fit") {
  const Tensor t = Tensor::zeros({4, 3});
  CHECK(refusal([&] {
          copy_into_slice(t, Tensor::zeros({2, 3}), 0, 3, 0);
        }) == "copy_into_slice: [2, 3] from 3 on along axis 0 is no part of [4, 3]");
  CHECK(refusal([&] {
          copy_from_slice(Tensor::zeros({4, 2}), t, -1, 2, 0);
        }) == "copy_from_slice: [4, 2] from 2 on along axis -1 is no part of [4, 3]");
  check_refused({{"copy_into_slice",
                  [&] {
                    copy_into_slice(t, Tensor::zeros({2, 2}), 0, 0, 0);
                  }},
                 {"copy_into_slice", [&] { copy_into_slice(t, Tensor::zeros({2}), 0, 0, 0); }},
                 {"copy_into_slice",
                  [&] {
                    copy_into_slice(t, Tensor::zeros({2, 3}), 0, -1, 0);
                  }},
                 {"shape",
                  [&] {
                    copy_into_slice(t, Tensor::zeros({2, 3}), 2, 0, 0);
                  }}},
                "");
  CHECK(refusal([&] {
          copy_into_slice(t, Tensor::zeros({2, 3}, DType::f64), 0, 0, 0);
        }) == "copy_into_slice: f32[4, 3] and f64[2, 3] do not mix; convert one with to()");
  const Tensor d = Tensor::zeros({4}, DType::f64);
  CHECK(refusal([&] { scale_rows(d, Matrix(t)); }) ==
        "scale_rows: the factors are f64 on cpu, but [4, 3] is f32 on cpu");
  CHECK(refusal([&] { scale_each(t, t, d.rows(0, 1)); }) ==
        "scale_each: the factors are f64 on cpu, but [4, 3] is f32 on cpu");
  CHECK(refusal([&] {
          unary_grad(UnaryOp::relu, t, Tensor({4, 2}), t, 0, 0);
        }) == "unary_grad: dx is [4, 3] but what goes in is [4, 2] and [4, 3]");
}
