// The texts of refused ops: part of the interface, above all for those who learn. Each is one
// sentence with the op, what is wrong, the shapes and, where there is one, the cure.
#include <functional>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "engine/backend.h"
#include "engine/matrix.h"
#include "tests/refusal.h"

using namespace borealis;

namespace {

Var zeros(const Shape& shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); }
Tensor ids(const Shape& shape) { return Tensor::zeros(shape, DType::i32); }

}  // namespace

TEST_CASE("errors: ops name themselves, the fault and every shape") {
  Rng rng(1);
  const RotaryTable table = rotary_table(8, 4);
  const struct {
    std::function<void()> f;
    std::string text;
  } cases[] = {
      {[] {
         zeros({4, 6, 5}) + zeros({6, 4});
       },
       "add: [4, 6, 5] and [6, 4] do not broadcast: sizes 5 and 4 differ and neither is 1 (axes "
       "are matched "
       "from the last)"},
      {[] { zeros({3}) * zeros({3}, DType::f64); }, "mul: f32[3] and f64[3] do not mix; convert one with to()"},
      {[] { zeros({3}) / 0.0; }, "div: division of [3] by the constant 0"},
      {[] {
         matmul(zeros({8, 64}), zeros({128, 256}));
       },
       "matmul: inner sizes differ: a is [8, 64], b is [128, 256]"},
      {[] {
         matmul(zeros({2, 8, 64}), zeros({3, 64, 5}));
       },
       "matmul: takes [m, k] [k, n] or equal batches of them, got [2, 8, 64] and [3, 64, 5]"},
      {[] {
         linear(zeros({8, 128, 384}), zeros({1536, 256}));
       },
       "linear: x is [8, 128, 384] but w is [1536, 256] ([out, in]): the last size of x must equal "
       "in"},
      {[] {
         linear(zeros({8, 4}), zeros({3, 4}), zeros({4}));
       },
       "linear: bias is [4] but w is [3, 4] ([out, in]): bias must be [out]"},
      {[] {
         reshape(zeros({2, 3}), {4, 2});
       },
       "reshape: [2, 3] has 6 numbers, but [4, 2] has 8"},
      {[] {
         permute(zeros({2, 3}), {0, 0});
       },
       "permute: the order of 2 axes must name each axis of [2, 3] once"},
      {[] {
         transpose(zeros({2, 3}), 0, 5);
       },
       "shape: axis 5 does not exist in [2, 3]"},
      {[] {
         slice(zeros({2, 3}), 1, 2, 2);
       },
       "slice: 2 … 4 is outside axis 1 of [2, 3]"},
      {[] {
         concat({zeros({2, 3}), zeros({2, 4})}, 0);
       },
       "concat: [2, 3] and [2, 4] differ in more than axis 0"},
      {[] { concat({}, 0); }, "concat: takes at least one tensor"},
      {[] {
         mean(zeros({0, 3}));
       },
       "mean: [0, 3] has no numbers to average"},
      {[] {
         max(zeros({0, 3}), 0);
       },
       "max: axis 0 of [0, 3] is empty"},
      {[] {
         layer_norm(zeros({2, 3}), zeros({2}));
       },
       "layer_norm: x is [2, 3] but gain or bias is [2]: it must be [3]"},
      {[] {
         rms_norm(zeros({2, 3}), {}, -1);
       },
       "rms_norm: eps must not be negative, got -1"},
      {[] {
         add_layer_norm(zeros({2, 3}), zeros({3}));
       },
       "layer_norm: x is [2, 3] but its branch is [3]"},
      {[] {
         gelu(zeros({2, 3}), Gelu::erf, zeros({2}));
       },
       "gelu: x is [2, 3] but the bias is [2]: it must be [last size of x]"},
      {[] { relu(zeros({}), zeros({1})); }, "relu: x is [] but the bias is [1]: it must be [last size of x]"},
      {[] {
         swiglu(zeros({2, 3}));
       },
       "swiglu: the last size of [2, 3] does not split into two halves"},
      {[] {
         cross_entropy(zeros({1, 7}), ids({1}), -1, -2);
       },
       "cross_entropy: the cap must be a number of at least 0, got -2"},
      {[] {
         causal_attention(zeros({1, 2, 12}), 1, {.qk_norm_eps = -1});
       },
       "attention: qk_norm_eps must not be negative, got -1"},
      {[] {
         causal_attention(zeros({1, 2, 4}), zeros({1, 2, 4}), zeros({1, 2, 4}), 1, {.qk_norm_eps = 0});
       },
       "attention: only q and k that are packed with v are normed and turned; for separate ones call rms_norm, rotary"},
      {[] {
         Rng counted(1, 5);
         counted.follow(Tensor::zeros({3}, DType::f64));
       },
       "rng: its steps were counted here, up to 5; follow a record from 0 on"},
      {[] {
         Rng follows(1);
         follows.follow(Tensor::zeros({3}, DType::f64));
         follows.set_step(1);
       },
       "rng: it follows a step's record, so no step can be set"},
      {[&] { rng.follow(Tensor::zeros({3})); }, "rng: a step's record is f64[3], but this is f32[3]"},
      {[&] {
         causal_attention(zeros({1, 9, 12}), 1, {.rotation = table});
       },
       "rotary: the table [8, 2] does not serve positions 0 … 9 of [1, 9, 12] with 1 heads"},
      {[] { soft_cap(zeros({2}), 0); }, "soft_cap: the cap must be positive, got 0"},
      {[&] { dropout(zeros({2}), 1, rng); }, "dropout: p must be in [0, 1), got 1"},
      {[] {
         embedding(zeros({2, 3, 4}), ids({2}));
       },
       "embedding: the table must be [V, C], got [2, 3, 4]"},
      {[] {
         embedding(zeros({5, 3}), Tensor::of<int32_t>({2}, {1, 5}));
       },
       "embedding: the ids [2]: 5 at place 1 is outside 0 … 4"},
      {[] {
         embedding(zeros({5, 3}), Tensor::zeros({2}));
       },
       "embedding: the ids must be i32, got f32[2]"},
      {[] {
         cross_entropy(zeros({2, 3, 7}), ids({5}));
       },
       "cross_entropy: the logits are [2, 3, 7] but the targets are [5]: there must be one target "
       "for each row "
       "of logits"},
      {[] {
         cross_entropy(zeros({2, 7}), Tensor::of<int32_t>({2}, {-2, 1}));
       },
       "cross_entropy: the targets [2]: -2 at place 0 is outside 0 … 6"},
      {[&] {
         rotary(zeros({1, 9, 4}), 1, table);
       },
       "rotary: the table [8, 2] does not serve positions 0 … 9 of [1, 9, 4] with 1 heads"},
      {[&] {
         rotary(zeros({1, 8, 4}), 1, {table.cos, table.sin.to(DType::f64)});
       },
       "rotary: f32[1, 8, 4] and f64[8, 2] do not mix; convert one with to()"},
      {[] { rotary_table(8, 6); }, "rotary: the head size must be a multiple of 4, got 6"},
      {[] {
         causal_attention(zeros({2, 8, 16}), 1);
       },
       "attention: packed qkv must be [B, T, 3C], got [2, 8, 16]"},
      {[] {
         causal_attention(zeros({2, 8, 15}), 2);
       },
       "attention: [2, 8, 15] does not split into 2 heads"},
      {[] {
         causal_attention(zeros({2, 8, 12}), 2, {.dropout = 0.5});
       },
       "attention: dropout needs a random number generator"},
      {[] {
         causal_attention(zeros({2, 9, 4}), zeros({2, 8, 4}), zeros({2, 8, 4}), 1);
       },
       "attention: q must be [B, Tq, C] and k, v [B, Tk, C] with Tq ≤ Tk, got [2, 9, 4], [2, 8, "
       "4], [2, 8, 4]"},
      {[] {
         zeros({8, 128}).backward();
       },
       "backward: nothing here needs a gradient (no parameter went in, or NoGrad was on)"},
      {[] {
         Var::leaf(Tensor::zeros({8, 128})).backward();
       },
       "backward: the loss must be a single number, got [8, 128]"},
      {[] { Var().value(); }, "var: this Var holds no value"},
      {[] {
         zeros({2, 3}).item();
       },
       "item: [2, 3] is not a single number"},
      {[] {
         Tensor::of<float>({3}, {1, 2});
       },
       "tensor: [3] takes 3 values, got 2"},
      {[] { Tensor::zeros({3}).data<double>(); }, "tensor: asked for f64, but [3] holds f32"},
      {[] { Shape{1, 2, 3, 4, 5, 6, 7}; }, "shape: 7 axes, but at most 6 are supported"},
      {[] { parse_device("gpu"); }, "device: 'gpu' is not a device; use cpu, cuda or cuda:N"},
      {[] {
         backend({Device::Kind::cuda, 99});
       },
       cuda_count() > 0 ? "cuda:99: is not there; the last one is cuda:" + std::to_string(cuda_count() - 1)
                        : "cuda:99: this build has no CUDA backend; use the device cpu"},
  };
  for (const auto& c : cases) CHECK(refusal(c.f) == c.text);
}

TEST_CASE("errors: calls on matrices name themselves, the fault and every size") {
  const auto matrix = [](int64_t rows, int64_t cols, int64_t count = 1, DType dtype = DType::f32) {
    return Matrix(Tensor::zeros({count, rows, cols}, dtype));
  };
  const auto factors = [](int64_t count, DType dtype = DType::f32) { return Tensor::zeros({count}, dtype); };
  const Matrix none, A = matrix(2, 3), B = matrix(3, 4), C = matrix(2, 4), wide = matrix(3, 2);
  const Matrix two = matrix(2, 3, 2), three = matrix(2, 3, 3), other = matrix(2, 3, 1, DType::f64);
  const struct {
    std::function<void()> f;
    const char* text;
  } cases[] = {
      {[&] { gemm(none, A, B); }, "gemm: this matrix was never made"},
      {[&] { gemm(C, none, B); }, "gemm: this matrix was never made"},
      {[&] { gemm(C, A, none); }, "gemm: this matrix was never made"},
      {[&] { gemm(C, B, A); }, "gemm: the sizes do not fit: [2, 4] = [3, 4] * [2, 3]"},
      {[&] { gemm(A, A, B); }, "gemm: the sizes do not fit: [2, 3] = [2, 3] * [3, 4]"},
      {[&] { gemm(B, A, B); }, "gemm: the sizes do not fit: [3, 4] = [2, 3] * [3, 4]"},
      {[&] { gemm(matrix(2, 4, 2), three, B); }, "gemm: the batches differ: 2 x [2, 4] and 3 x [2, 3]"},
      {[&] { gemm(matrix(2, 4, 2), A, matrix(3, 4, 3)); }, "gemm: the batches differ: 2 x [2, 4] and 3 x [3, 4]"},
      {[&] { gemm(C, other, B); }, "gemm: [2, 4] f32 = [2, 3] f64 * [3, 4] f32: types or devices do not mix"},
      {[&] { gemm(C, A, matrix(3, 4, 1, DType::f64)); },
       "gemm: [2, 4] f32 = [2, 3] f32 * [3, 4] f64: types or devices do not mix"},
      {[&] { gemm_symmetric(C, A, B); }, "gemm_symmetric: the result must be square, got [2, 4]"},
      {[&] { none* A; }, "gemm: this matrix was never made"},
      {[&] { axpby(none, 1, A, 0); }, "axpby: this matrix was never made"},
      {[&] { axpby(A, 1, none, 0); }, "axpby: this matrix was never made"},
      {[&] { axpby(A, 1, wide, 0); }, "axpby: the sizes differ: [2, 3] and [3, 2]"},
      {[&] { axpby(A, 1, C, 0); }, "axpby: the sizes differ: [2, 3] and [2, 4]"},
      {[&] { axpby(two, 1, three, 0); }, "axpby: the sizes differ: 2 x [2, 3] and 3 x [2, 3]"},
      {[&] { axpby(A, 1, other, 0); }, "axpby: f32 on cpu and f64 on cpu do not mix"},
      {[&] { row_sum_squares(none); }, "row_sum_squares: this matrix was never made"},
      {[&] { scale_rows(A, factors(2), wide); }, "scale_rows: the sizes differ: [2, 3] and [3, 2]"},
      {[&] { scale_rows(matrix(2, 3), factors(3), A); },
       "scale_rows: d is [3], but must be one factor for each row of [2, 3]"},
      {[&] { scale_rows(factors(2, DType::f64), A); },
       "scale_rows: the factors are f64 on cpu, but [2, 3] is f32 on cpu"},
      {[&] { scale_rows(factors(2), none); }, "scale_rows: this matrix was never made"},
      {[&] { scale_each(A, wide, factors(1)); }, "scale_each: the sizes differ: [2, 3] and [3, 2]"},
      {[&] { scale_each(two, two, factors(3)); }, "scale_each: [3] factors for 2 x [2, 3]"},
      {[&] { scale_each(A, A, factors(1, DType::f64)); },
       "scale_each: the factors are f64 on cpu, but [2, 3] is f32 on cpu"},
      {[&] { add_to_diagonal(A, 1); }, "add_to_diagonal: [2, 3] is not square"},
      {[&] { add_to_diagonal(none, 1); }, "add_to_diagonal: this matrix was never made"},
      {[&] { leverage_scores(A, 0); }, "leverage_scores: [2, 3] is wide, but must be tall"},
      {[&] { leverage_scores(none, 0); }, "leverage_scores: this matrix was never made"},
      {[&] { gram(none); }, "gram: this matrix was never made"},
      {[&] { copy(none); }, "copy: this matrix was never made"},
      {[&] { frobenius_squares(none); }, "frobenius_squares: this matrix was never made"},
      {[&] { inverse_norm(Tensor()); }, "inverse_norm: this tensor was never made"},
      {[&] {
         heads(Tensor::zeros({1, 2, 6}), 4, 2, 2);
       },
       "matrix: 2 x 2 with rows 6 apart does not fit into [1, 2, 6]"},
      {[&] { Matrix(Tensor::zeros({3})); }, "matrix: [3] is not a matrix or a batch of them"},
      {[&] { two.at(2); }, "matrix: number 2 of a batch of 2"},
      {[&] { two.at(-1); }, "matrix: number -1 of a batch of 2"},
      {[&] { A.t().tensor(); }, "matrix: [3, 2] is not contiguous, so it is no Tensor"},
  };
  for (const auto& c : cases) CHECK(refusal(c.f) == c.text);
}
