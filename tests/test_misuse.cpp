// Misuse of what was never made, of ids and of names: one sentence each time, never a crash, never
// silence.
#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "autograd/parameter.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "nn/layers.h"
#include "tests/compare.h"
#include "tests/refusal.h"

using namespace borealis;

namespace {

Var zeros(const Shape& shape) { return Tensor::zeros(shape); }

}  // namespace

TEST_CASE("misuse: a tensor or matrix that was never made") {
  const Tensor none, x = Tensor::zeros({2, 2}), ids = Tensor::zeros({2}, DType::i32);
  const Matrix no_matrix, X = x;
  check_refused({{"device", [&] { none.device(); }},
                 {"raw", [&] { none.raw(); }},
                 {"device", [&] { none.like(); }},
                 {"clone", [&] { none.clone(); }},
                 {"to", [&] { none.to(DType::f32); }},
                 {"to", [&] { none.to(Device{}); }},
                 {"to", [&] { none.to_vector<float>(); }},
                 {"copy", [&] { x.copy_from(none); }},
                 {"copy", [&] { none.copy_from(none); }},
                 {"fill", [&] { none.fill(1); }},
                 {"item", [&] { none.item(); }},
                 {"data", [&] { none.data<float>(); }},
                 {"reshape", [&] { none.reshape({0}); }},
                 {"rows", [&] { none.rows(0, 0); }},
                 {"flat_view", [&] { none.flat_view(0, {0}); }},
                 {"device", [&] { unary(UnaryOp::relu, none); }},
                 {"unary_grad", [&] { unary_grad(UnaryOp::relu, none, none, none, 0, 0); }},
                 {"add", [&] { binary("add", BinaryOp::add, x, none); }},
                 {"device", [&] { sum(none, {}); }},
                 {"axpby", [&] { axpby(none, 1, none, 0); }},
                 {"device", [&] { permute(none, {}); }},
                 {"copy_into_slice", [&] { copy_into_slice(none, none, 0, 0, 0); }},
                 {"matrix", [&] { const Matrix m(none); }},
                 {"matrix", [&] { Matrix::strided(none, 0, 0, 0, 0); }},
                 {"device", [&] { no_matrix.device(); }},
                 {"matrix", [&] { no_matrix.view(); }},
                 {"matrix", [&] { no_matrix.at(0); }},
                 {"matrix", [&] { no_matrix.tensor(); }},
                 {"device", [&] { no_matrix.like(); }},
                 {"gemm", [&] { gemm(no_matrix, no_matrix, no_matrix); }},
                 {"gemm", [&] { gemm(X, X.like(), no_matrix.t()); }},
                 {"gemm", [&] { no_matrix* no_matrix; }},
                 {"gemm", [&] { gemm_symmetric(no_matrix, X, X); }},
                 {"axpby", [&] { axpby(no_matrix, 1, no_matrix, 0); }},
                 {"row_sum_squares", [&] { row_sum_squares(no_matrix); }},
                 {"scale_rows", [&] { scale_rows(none, X); }},
                 {"scale_rows", [&] { scale_rows(x, no_matrix); }},
                 {"scale_each", [&] { scale_each(X, X, none); }},
                 {"var", [&] { const Var v(none); }},
                 {"var", [&] { Var::leaf(none); }},
                 {"var", [&] { relu(none); }},
                 {"assign", [&] { Var::leaf(Tensor::zeros({})).assign(none); }},
                 {"move_to", [&] { Var::leaf(x).move_to(x.clone(), none); }},
                 {"mine", [&] { record("mine", none, {zeros({2})}, [](Backward&) {}); }},
                 {"embedding", [&] { embedding(x, none); }},
                 {"cross_entropy", [&] { cross_entropy(x, none); }},
                 {"rotary",
                  [&] {
                    rotary(zeros({1, 2, 4}), 1, {});
                  }},
                 {"gradcheck", [&] { gradcheck([](const std::vector<Var>& v) { return v[0]; }, {none}); }}},
                "was never made");
}

TEST_CASE("misuse: a Var without a value") {
  const Var none, x = zeros({2, 2});
  const Tensor ids = Tensor::zeros({2}, DType::i32);
  const RotaryTable table = rotary_table(4, 4);
  Rng rng(1);
  check_refused({{"var", [&] { none.value(); }},
                 {"var", [&] { none.shape(); }},
                 {"var", [&] { none.dtype(); }},
                 {"var", [&] { none.device(); }},
                 {"var", [&] { none.item(); }},
                 {"node", [&] { none.node(); }},
                 {"add", [&] { none + x; }},
                 {"add", [&] { x + none; }},
                 {"sub", [&] { x - none; }},
                 {"mul", [&] { none * 2; }},
                 {"div", [&] { none / x; }},
                 {"neg", [&] { -none; }},
                 {"relu", [&] { relu(none); }},
                 {"gelu", [&] { gelu(none); }},
                 {"swiglu", [&] { swiglu(x, none); }},
                 {"swiglu", [&] { swiglu(none); }},
                 {"silu", [&] { silu(none, x); }},
                 {"soft_cap", [&] { soft_cap(none, 1); }},
                 {"dropout", [&] { dropout(none, 0, rng); }},
                 {"matmul", [&] { matmul(x, none); }},
                 {"linear", [&] { linear(none, x); }},
                 {"reshape", [&] { reshape(none, {1}); }},
                 {"permute", [&] { permute(none, {0}); }},
                 {"transpose", [&] { transpose(none); }},
                 {"slice", [&] { slice(none, 0, 0, 0); }},
                 {"concat",
                  [&] {
                    concat({x, none}, 0);
                  }},
                 {"concat", [&] { concat({none}, 0); }},
                 {"sum", [&] { sum(none); }},
                 {"mean", [&] { mean(none); }},
                 {"max", [&] { max(none, 0); }},
                 {"softmax", [&] { softmax(none); }},
                 {"log_softmax", [&] { log_softmax(none); }},
                 {"logsumexp", [&] { logsumexp(none); }},
                 {"layer_norm", [&] { layer_norm(none); }},
                 {"rms_norm", [&] { rms_norm(none); }},
                 {"rms_norm", [&] { add_rms_norm(none, x); }},
                 {"layer_norm", [&] { add_layer_norm(x, none); }},
                 {"embedding", [&] { embedding(none, ids); }},
                 {"cross_entropy", [&] { cross_entropy(none, ids); }},
                 {"rotary", [&] { rotary(none, 1, table); }},
                 {"attention", [&] { causal_attention(none, 1); }},
                 {"attention", [&] { causal_attention(x, x, none, 1); }}},
                "this Var holds no value");
  CHECK(says(refusal([&] { none.backward(); }), "backward: nothing here needs a gradient"));
  CHECK_FALSE(none.grad());
}

TEST_CASE("misuse: gradient rules that reach for what is not there") {
  const Var x = Var::leaf(Tensor::zeros({1})), c = zeros({1});
  const auto backward_of = [&](std::function<void(Backward&)> rule) {
    return refusal([&] { record("mine", x.value(), {x, c}, std::move(rule)).backward(); });
  };
  CHECK(backward_of([](Backward& bw) { bw.slot(1); }) ==
        "mine: input 1 needs no gradient; the rule must ask needs() first");
  CHECK(backward_of([](Backward& bw) { bw.add(2, bw.dy()); }) == "mine: its gradient rule asks for input 2 of 2");
  CHECK(backward_of([](Backward& bw) { bw.needs(-1); }) == "mine: its gradient rule asks for input -1 of 2");
  CHECK(backward_of([](Backward& bw) { bw.add(0, {}); }) == "mine: this tensor was never made");
  CHECK(backward_of({}) == "mine: a gradient is wanted, but the op has no rule for it");
  CHECK(refusal([&] { x.move_to(Tensor({1}), Tensor({2})); }) == "move_to: [1] cannot move to [2]");
}

TEST_CASE("misuse: ids changed between forward and backward reach nothing") {
  const Var table = Var::leaf(Rng(1).normal({5, 3}, 1)), logits = Var::leaf(Rng(2).normal({4, 7}, 1));
  const auto run = [&](int32_t later) {
    const Tensor ids = Tensor::of<int32_t>({4}, {0, 4, 1, 1});
    const Var loss = sum(square(embedding(table, ids))) + cross_entropy(logits, ids);
    ids.fill(later);
    table.zero_grad(), logits.zero_grad();
    loss.backward();
    return std::pair(table.grad().clone(), logits.grad().clone());
  };
  const auto [dtable, dlogits] = run(1);
  for (const int32_t wild : {-1, 1 << 28, -(1 << 28)}) {
    const auto [again_table, again_logits] = run(wild);
    CHECK(same_bytes(again_table, dtable));
    CHECK(same_bytes(again_logits, dlogits));
  }
  CHECK(refusal([] {
          embedding(zeros({0, 3}), Tensor::zeros({1}, DType::i32));
        }) == "embedding: the ids [1]: 0 at place 0 is outside 0 … -1");
}

TEST_CASE("misuse: blocks without names of their own") {
  Parameter p{.name = "qkv", .var = zeros({6, 2}), .blocks = 3, .block_names = {"q", "k"}};
  const char* const text = "parameter: 'qkv' has 3 blocks but 2 names for them";
  CHECK(refusal([&] { check_blocks(p); }) == text);
  CHECK(refusal([&] { block_name(p, 2); }) == text);
  p.block_names.push_back("v");
  CHECK(block_name(p, 2) == "v");
  CHECK(refusal([&] { block_name(p, 3); }) == "parameter: 'qkv' has 3 blocks, and none of number 3");
  p.blocks = 0;
  CHECK(says(refusal([&] { check_blocks(p); }), "no 0 blocks of equal rows"));
  CHECK(refusal([&] { check_blocks({.name = "w", .var = {}}); }) == "w: this Var holds no value");
  Rng rng(1);
  const Init init{rng};
  CHECK(refusal([&] { Linear("mlp", 2, 6, init, {.blocks = 3, .block_names = {"a"}}); }) ==
        "parameter: 'mlp.weight' has 3 blocks but 1 names for them");
}
