#include "tests/op_cases.h"

#include <numeric>

namespace borealis {

namespace {

using Vars = std::vector<Var>;
using Function = std::function<Var(const Vars&)>;

std::string text(const Shape& shape) {
  std::ostringstream out;
  out << shape;
  return out.str();
}

// Ids in [0, limit), some of them more than once; `skipped` of them are −1.
Tensor ids(const Shape& shape, int64_t limit, int64_t skipped = 0) {
  const Tensor t(shape, DType::i32);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<int32_t>()[i] = i < skipped ? -1 : static_cast<int32_t>(i * i * 7 % limit);
  return t;
}

// A tensor on the device that asks for it, moved there once: what is timed is the op.
class Everywhere {
 public:
  explicit Everywhere(const Tensor& t) : home_(t), there_(t) {}
  const Tensor& on(Device device) const {
    if (!(there_.device() == device)) there_ = home_.to(device);
    return there_;
  }

 private:
  Tensor home_;
  mutable Tensor there_;
};

// The nano preset: B blocks of T tokens, C channels.
constexpr int64_t B = 12, T = 64, C = 128, M = B * T, heads_of_nano = 4, vocab = 65;
const Shape x_of_nano{M, C}, h_of_nano{M, 4 * C};

double linear_flops(int64_t in, int64_t out) { return 2.0 * M * static_cast<double>(in * out); }

// Two products of half a T×T triangle for each channel.
double attention_flops(int64_t batch, int64_t t, int64_t c) { return 2 * static_cast<double>(batch * t * t * c); }

class Table {
 public:
  std::vector<OpCase> rows;
  std::vector<TimedCase> timed;

  void add(const std::string& op, const std::string& what, const std::vector<OpInput>& inputs, const Function& f) {
    rows.push_back({op, what, inputs, f});
  }
  void time(const std::string& op, const std::string& variant, const std::vector<OpInput>& inputs, const Function& f,
            double flops = 0) {
    timed.push_back({{op, variant, inputs, f}, flops});
  }

  // One input, in shapes from a single number to more than one parallel piece.
  void pointwise(const std::string& op, Values values, const std::function<Var(const Var&)>& f,
                 const std::string& variant = "") {
    time(op, variant, {{h_of_nano, values}}, [f](const Vars& x) { return f(x[0]); });
    for (const Shape& s : {Shape{}, Shape{1}, Shape{7, 5, 3}, Shape{257, 131}})
      add(op, text(s), {{s, values}}, [f](const Vars& x) { return f(x[0]); });
  }

  // A function behind a bias.
  void with_bias(const std::string& op, const Function& f, const std::string& variant = "bias") {
    time(op, variant, {{h_of_nano}, {{h_of_nano[-1]}}}, f);
    for (const Shape& s : {Shape{1}, Shape{7, 5, 3}, Shape{257, 131}})
      add(op, text(s) + ' ' + variant, {{s, Values::apart}, {{s[-1]}, Values::apart}}, f);
  }

  // Two inputs: equal shapes, all ways of broadcasting, and one Var on both sides.
  void binary(const std::string& op, Values values, const std::function<Var(const Var&, const Var&)>& f) {
    const std::pair<Shape, Shape> shapes[] = {{{1}, {1}},          {{5, 7}, {5, 7}},          {{257, 131}, {257, 131}},
                                              {{3, 5, 7}, {7}},    {{7}, {3, 5, 7}},          {{257, 131}, {131}},
                                              {{4, 1, 3}, {2, 1}}, {{4, 6, 5}, {4, 1, 5}},    {{5, 1}, {1, 7}},
                                              {{}, {3, 4}},        {{2, 3, 1, 5}, {3, 4, 1}}, {{301, 1}, {301, 113}}};
    for (const auto& [a, b] : shapes)
      add(op, text(a) + " with " + text(b), {{a, values}, {b, values}}, [f](const Vars& x) { return f(x[0], x[1]); });
    add(op, "a Var with itself", {{{5, 7}, values}}, [f](const Vars& x) { return f(x[0], x[0]); });
    time(op, "", {{x_of_nano, values}, {x_of_nano, values}}, [f](const Vars& x) { return f(x[0], x[1]); });
  }

  void arithmetic();
  void functions();
  void products();
  void shapes();
  void reductions();
  void rows_of_numbers();
  void tokens();
  void attention();
};

void Table::arithmetic() {
  binary("operator+", Values::normal, [](const Var& a, const Var& b) { return a + b; });
  time("operator+", "suffix", {{{B, T, C}}, {{T, C}}}, [](const Vars& x) { return x[0] + x[1]; });
  binary("operator-", Values::normal, [](const Var& a, const Var& b) { return 2 * a - b; });
  binary("operator*", Values::normal, [](const Var& a, const Var& b) { return a * b; });
  binary("operator/", Values::positive, [](const Var& a, const Var& b) { return square(a) / b; });
  pointwise(
      "operator-", Values::normal, [](const Var& x) { return -x; }, "negate");
  pointwise(
      "operator+", Values::normal, [](const Var& x) { return x + 0.75; }, "number");
  pointwise(
      "operator+", Values::normal, [](const Var& x) { return 0.75 + x; }, "to_number");
  pointwise(
      "operator-", Values::normal, [](const Var& x) { return x - 0.75; }, "number");
  pointwise(
      "operator-", Values::normal, [](const Var& x) { return 0.75 - x; }, "from_number");
  pointwise(
      "operator*", Values::normal, [](const Var& x) { return x * -1.5; }, "number");
  pointwise(
      "operator*", Values::normal, [](const Var& x) { return -1.5 * x; }, "by_number");
  pointwise(
      "operator/", Values::normal, [](const Var& x) { return x / 3; }, "number");
}

void Table::functions() {
  pointwise("square", Values::normal, [](const Var& x) { return square(x); });
  pointwise("sqrt", Values::positive, [](const Var& x) { return sqrt(x); });
  pointwise("exp", Values::normal, [](const Var& x) { return exp(x); });
  pointwise("log", Values::positive, [](const Var& x) { return log(x); });
  pointwise("tanh", Values::normal, [](const Var& x) { return tanh(x); });
  pointwise("sigmoid", Values::normal, [](const Var& x) { return sigmoid(x); });
  pointwise("relu", Values::apart, [](const Var& x) { return relu(x); });
  pointwise("relu_squared", Values::apart, [](const Var& x) { return relu_squared(x); });
  pointwise("silu", Values::normal, [](const Var& x) { return silu(x); });
  pointwise("gelu", Values::normal, [](const Var& x) { return gelu(x); });
  pointwise(
      "gelu", Values::normal, [](const Var& x) { return gelu(x, Gelu::tanh); }, "tanh");
  pointwise("soft_cap", Values::normal, [](const Var& x) { return soft_cap(x, 1.5); });
  with_bias("relu", [](const Vars& x) { return relu(x[0], x[1]); });
  with_bias("relu_squared", [](const Vars& x) { return relu_squared(x[0], x[1]); });
  with_bias("silu", [](const Vars& x) { return silu(x[0], x[1]); });
  with_bias("gelu", [](const Vars& x) { return gelu(x[0], Gelu::erf, x[1]); });
  with_bias(
      "gelu", [](const Vars& x) { return gelu(x[0], Gelu::tanh, x[1]); }, "bias_tanh");
  add("gelu", "one Var as x and bias", {{{5}}}, [](const Vars& x) { return gelu(x[0], Gelu::erf, x[0]); });
  binary("swiglu", Values::normal, [](const Var& a, const Var& b) { return swiglu(a, b); });
  for (const Shape& s : {Shape{2}, Shape{7, 6}, Shape{3, 5, 14}, Shape{130, 262}})
    add("swiglu", "halves of " + text(s), {{s}}, [](const Vars& x) { return swiglu(x[0]); });
  time("swiglu", "halves", {{h_of_nano}}, [](const Vars& x) { return swiglu(x[0]); });
  pointwise("dropout", Values::normal, [](const Var& x) {
    Rng rng(1);
    return dropout(x, 0.25, rng);
  });
}

void Table::products() {
  const auto matmul2 = [](const Vars& x) { return matmul(x[0], x[1]); };
  struct Sizes {
    int64_t m, k, n;
  };
  for (const auto& [m, k, n] : {Sizes{1, 1, 1}, {1, 7, 1}, {7, 1, 5}, {3, 17, 31}, {64, 64, 64}, {67, 129, 131}})
    add("matmul", text({m, k}) + text({k, n}), {{{m, k}}, {{k, n}}}, matmul2);
  add("matmul", "batches [3, 5, 7][3, 7, 2]", {{{3, 5, 7}}, {{3, 7, 2}}}, matmul2);
  add("matmul", "batches [1, 2, 3][1, 3, 4]", {{{1, 2, 3}}, {{1, 3, 4}}}, matmul2);
  add("matmul", "a Var with itself", {{{5, 5}}}, [](const Vars& x) { return matmul(x[0], x[0]); });
  time("matmul", "", {{x_of_nano}, {{C, 4 * C}}}, matmul2, linear_flops(C, 4 * C));

  struct Layer {
    Shape x;
    int64_t out;
  };
  for (const auto& [x, out] : {Layer{{1}, 1}, {{6}, 4}, {{2, 5, 6}, 4}, {{67, 33}, 130}, {{1, 1, 3}, 7}}) {
    const int64_t in = x[-1];
    add("linear", text(x) + " to " + std::to_string(out), {{x}, {{out, in}}},
        [](const Vars& v) { return linear(v[0], v[1]); });
    add("linear", text(x) + " to " + std::to_string(out) + " with bias", {{x}, {{out, in}}, {{out}}},
        [](const Vars& v) { return linear(v[0], v[1], v[2]); });
  }
  const OpInput w{{4 * C, C}};
  time(
      "linear", "", {{x_of_nano}, w}, [](const Vars& v) { return linear(v[0], v[1]); }, linear_flops(C, 4 * C));
  time(
      "linear", "bias", {{x_of_nano}, w, {{4 * C}}}, [](const Vars& v) { return linear(v[0], v[1], v[2]); },
      linear_flops(C, 4 * C));
}

void Table::shapes() {
  add("reshape", "[2, 3, 4] to [6, 4]", {{{2, 3, 4}}}, [](const Vars& x) { return reshape(x[0], {6, 4}); });
  add("reshape", "[1] to []", {{{1}}}, [](const Vars& x) { return reshape(x[0], {}); });

  const std::pair<Shape, std::vector<int>> orders[] = {{{1}, {0}},
                                                       {{5, 7}, {1, 0}},
                                                       {{3, 4, 5}, {2, 0, 1}},
                                                       {{3, 4, 5}, {0, 2, 1}},
                                                       {{3, 4, 5}, {0, 1, 2}},
                                                       {{2, 3, 4, 5}, {0, 2, 1, 3}},
                                                       {{2, 1, 3, 1, 2, 3}, {5, 3, 1, 0, 2, 4}},
                                                       {{257, 131}, {1, 0}}};
  for (const auto& [shape, order] : orders)
    add("permute", text(shape), {{shape}}, [order = order](const Vars& x) { return permute(x[0], order); });
  add("transpose", "[3, 4, 5], last two", {{{3, 4, 5}}}, [](const Vars& x) { return transpose(x[0]); });
  add("transpose", "[3, 4, 5], 0 and 2", {{{3, 4, 5}}}, [](const Vars& x) { return transpose(x[0], 0, 2); });

  struct Slice {
    Shape shape;
    int axis;
    int64_t first, count;
  };
  for (const auto& [shape, axis, first, count] :
       {Slice{{1}, 0, 0, 1}, {{7, 5}, 0, 2, 3}, {{7, 5}, 1, 4, 1}, {{3, 5, 7}, 1, 1, 3}, {{131, 257}, -1, 3, 250}})
    add("slice", text(shape) + " axis " + std::to_string(axis), {{shape}},
        [axis = axis, first = first, count = count](const Vars& x) { return slice(x[0], axis, first, count); });
  add("slice", "two that overlap", {{{7, 5}}},
      [](const Vars& x) { return slice(x[0], 0, 1, 4) * slice(x[0], 0, 3, 4); });

  add("concat", "one", {{{3, 2}}}, [](const Vars& x) { return concat(x, 0); });
  add("concat", "[1, 5] [4, 5] [2, 5] axis 0", {{{1, 5}}, {{4, 5}}, {{2, 5}}},
      [](const Vars& x) { return concat(x, 0); });
  add("concat", "[3, 1, 5] [3, 4, 5] axis 1", {{{3, 1, 5}}, {{3, 4, 5}}}, [](const Vars& x) { return concat(x, 1); });
  add("concat", "a Var twice, axis -1", {{{3, 4}}}, [](const Vars& x) { return concat({x[0], x[0]}, -1); });

  time("reshape", "", {{x_of_nano}}, [](const Vars& x) { return reshape(x[0], {B, T, C}); });
  const std::vector<int> heads_first{0, 2, 1, 3};
  time("permute", "", {{{B, T, heads_of_nano, C / heads_of_nano}}},
       [heads_first](const Vars& x) { return permute(x[0], heads_first); });
  time("transpose", "", {{x_of_nano}}, [](const Vars& x) { return transpose(x[0]); });
  time("slice", "", {{{M, 3 * C}}}, [](const Vars& x) { return slice(x[0], -1, C, C); });
  time("concat", "", {{x_of_nano}, {x_of_nano}, {x_of_nano}}, [](const Vars& x) { return concat(x, -1); });
}

void Table::reductions() {
  struct Sum {
    Shape shape;
    std::vector<int> axes;
    bool keepdim;
  };
  const Sum sums[] = {{{}, {}, false},
                      {{1}, {0}, true},
                      {{7, 5}, {}, false},
                      {{7, 5}, {0}, false},
                      {{7, 5}, {1}, true},
                      {{3, 5, 7}, {1}, false},
                      {{3, 5, 7}, {0, 2}, false},
                      {{3, 5, 7}, {0, 2}, true},
                      {{3, 5, 7}, {-1, 1}, false},
                      {{2, 3, 1, 5}, {1, 3}, false},
                      {{257, 131}, {0}, false},
                      {{4100, 2}, {0}, false},
                      {{257, 131}, {1}, false},
                      {{257, 131}, {}, true}};
  for (const auto& [shape, axes, keepdim] : sums) {
    std::string what = text(shape) + " axes";
    for (const int a : axes) what += ' ' + std::to_string(a);
    what += keepdim ? " kept" : "";
    add("sum", what, {{shape}}, [axes = axes, keepdim = keepdim](const Vars& x) { return sum(x[0], axes, keepdim); });
    add("mean", what, {{shape}}, [axes = axes, keepdim = keepdim](const Vars& x) { return mean(x[0], axes, keepdim); });
  }
  for (const Shape& s : {Shape{1}, Shape{17}, Shape{3, 5, 7}, Shape{257, 131}})
    for (int axis = 0; axis < s.rank(); ++axis)
      add("max", text(s) + " axis " + std::to_string(axis), {{s, Values::apart}},
          [axis](const Vars& x) { return max(x[0], axis, axis % 2 == 1); });

  const OpInput h{h_of_nano};
  time("sum", "", {h}, [](const Vars& x) { return sum(x[0]); });
  time("sum", "rows", {h}, [](const Vars& x) { return sum(x[0], {0}); });
  time("mean", "cols", {h}, [](const Vars& x) { return mean(x[0], {1}); });
  time("max", "", {h}, [](const Vars& x) { return max(x[0], -1); });
}

void Table::rows_of_numbers() {
  for (const Shape& s : {Shape{2}, Shape{17}, Shape{3, 5, 7}, Shape{3, 257}, Shape{130, 257}})
    for (int axis = 0; axis < s.rank(); ++axis) {
      const std::string what = text(s) + " axis " + std::to_string(axis);
      add("softmax", what, {{s}}, [axis](const Vars& x) { return softmax(x[0], axis); });
      add("log_softmax", what, {{s}}, [axis](const Vars& x) { return log_softmax(x[0], axis); });
      add("logsumexp", what, {{s}}, [axis](const Vars& x) { return logsumexp(x[0], axis); });
    }
  add("softmax", "[3, 1030]", {{{3, 1030}}}, [](const Vars& x) { return softmax(x[0]); });
  add("logsumexp", "[3, 1030]", {{{3, 1030}}}, [](const Vars& x) { return logsumexp(x[0]); });
  add("logsumexp", "[3, 1]", {{{3, 1}}}, [](const Vars& x) { return logsumexp(x[0]); });
  add("softmax", "[3, 5], far apart", {{{3, 5}}}, [](const Vars& x) { return softmax(32 * x[0]); });

  for (const Shape& s : {Shape{3}, Shape{1, 7}, Shape{2, 3, 17}, Shape{300, 131}, Shape{5, 1030}}) {
    const Shape v{s[-1]};
    add("layer_norm", text(s), {{s}}, [](const Vars& x) { return layer_norm(x[0]); });
    add("layer_norm", text(s) + " with gain", {{s}, {v}}, [](const Vars& x) { return layer_norm(x[0], x[1]); });
    add("layer_norm", text(s) + " with gain and bias", {{s}, {v}, {v}},
        [](const Vars& x) { return layer_norm(x[0], x[1], x[2], 1e-3); });
    add("rms_norm", text(s), {{s}}, [](const Vars& x) { return rms_norm(x[0]); });
    add("rms_norm", text(s) + " with gain", {{s}, {v}}, [](const Vars& x) { return rms_norm(x[0], x[1]); });
  }
  for (const Shape& s : {Shape{3}, Shape{2, 3, 17}, Shape{130, 131}}) {
    const Shape v{s[-1]};
    const auto both = [](const Normed& n) { return n.norm + 0.5 * n.sum; };
    add("add_layer_norm", text(s), {{s}, {s}, {v}, {v}},
        [both](const Vars& x) { return both(add_layer_norm(x[0], x[1], x[2], x[3])); });
    add("add_rms_norm", text(s), {{s}, {s}, {v}},
        [both](const Vars& x) { return both(add_rms_norm(x[0], x[1], x[2])); });
    add("add_rms_norm", text(s) + ", its norm alone", {{s}, {s}},
        [](const Vars& x) { return add_rms_norm(x[0], x[1]).norm; });
  }
  add("add_layer_norm", "a Var with itself", {{{4, 5}}},
      [](const Vars& x) { return add_layer_norm(x[0], x[0]).norm + x[0]; });
  time("add_layer_norm", "", {{x_of_nano}, {x_of_nano}, {{C}}, {{C}}},
       [](const Vars& x) { return add_layer_norm(x[0], x[1], x[2], x[3]).norm; });
  time("add_rms_norm", "", {{x_of_nano}, {x_of_nano}, {{C}}},
       [](const Vars& x) { return add_rms_norm(x[0], x[1], x[2]).norm; });
  add("layer_norm", "one Var as gain and bias", {{{4, 5}}, {{5}}},
      [](const Vars& x) { return layer_norm(x[0], x[1], x[1]); });
  add("rms_norm", "[4, 1], eps matters", {{{4, 1}}}, [](const Vars& x) { return rms_norm(x[0], {}, 0.5); });

  time("softmax", "", {{{B * heads_of_nano, T, T}}}, [](const Vars& x) { return softmax(x[0]); });
  time("log_softmax", "", {{{M, vocab}}}, [](const Vars& x) { return log_softmax(x[0]); });
  time("logsumexp", "", {{{M, vocab}}}, [](const Vars& x) { return logsumexp(x[0]); });
  time("layer_norm", "", {{x_of_nano}, {{C}}, {{C}}}, [](const Vars& x) { return layer_norm(x[0], x[1], x[2]); });
  time("rms_norm", "", {{x_of_nano}, {{C}}}, [](const Vars& x) { return rms_norm(x[0], x[1]); });
}

void Table::tokens() {
  struct Lookup {
    Shape table, ids;
  };
  for (const auto& [table, places] : {Lookup{{1, 1}, {1}}, {{5, 3}, {7}}, {{11, 33}, {2, 3, 4}}, {{61, 130}, {300}}})
    add("embedding", text(table) + " by " + text(places), {{table}},
        [picked = ids(places, table[0])](const Vars& x) { return embedding(x[0], picked.to(x[0].device())); });

  struct Loss {
    Shape logits;
    int64_t skipped;
  };
  for (const auto& [logits, skipped] :
       {Loss{{2}, 0}, {{1, 5}, 0}, {{3, 4, 11}, 0}, {{3, 4, 11}, 5}, {{130, 257}, 3}, {{7, 1031}, 0}}) {
    const int64_t V = logits[-1], count = logits.numel() / V;
    add("cross_entropy", text(logits) + ", " + std::to_string(skipped) + " ignored", {{logits}},
        [targets = ids({count}, V, skipped)](const Vars& x) { return cross_entropy(x[0], targets.to(x[0].device())); });
    add("cross_entropy", text(logits) + ", " + std::to_string(skipped) + " ignored, capped", {{logits}},
        [targets = ids({count}, V, skipped)](const Vars& x) {
          return cross_entropy(x[0], targets.to(x[0].device()), -1, 1.5);
        });
  }
  time("embedding", "", {{{vocab, C}}},
       [picked = Everywhere(ids({M}, vocab))](const Vars& x) { return embedding(x[0], picked.on(x[0].device())); });
  const Everywhere targets(ids({M}, vocab));
  time("cross_entropy", "", {{{M, vocab}}},
       [targets](const Vars& x) { return cross_entropy(x[0], targets.on(x[0].device())); });
  time("cross_entropy", "cap", {{{M, vocab}}},
       [targets](const Vars& x) { return cross_entropy(x[0], targets.on(x[0].device()), -1, 15); });
}

void Table::attention() {
  struct Turn {
    Shape x;
    int64_t heads, offset;
  };
  for (const auto& [x, heads, offset] :
       {Turn{{1, 4}, 1, 0}, {{7, 8}, 1, 3}, {{2, 5, 24}, 3, 0}, {{2, 1, 16}, 2, 9}, {{3, 70, 96}, 3, 0}})
    add("rotary", text(x) + " from " + std::to_string(offset), {{x}}, [heads = heads, offset = offset](const Vars& v) {
      const Shape& s = v[0].shape();
      const RotaryTable table = rotary_table(s[-2] + offset, s[-1] / heads, v[0].dtype(), v[0].device());
      return rotary(v[0], heads, table, offset);
    });

  struct Sizes {
    int64_t batch, tq, tk, heads, dim;
  };
  for (const double dropout : {0.0, 0.25}) {
    const std::string how = dropout > 0 ? "dropout " : "";
    const auto options = [dropout](Rng& rng, double scale = 0) {
      return AttentionOptions{.scale = scale, .dropout = dropout, .rng = &rng};
    };
    for (const auto& [b, t, tk, h, d] :
         {Sizes{1, 1, 1, 1, 1}, {1, 2, 2, 1, 4}, {2, 5, 5, 3, 7}, {2, 67, 67, 2, 16}, {1, 130, 130, 1, 33}})
      add("causal_attention", how + "packed " + text({b, t, h, d}), {{{b, t, 3 * h * d}}},
          [options, heads = h](const Vars& x) {
            Rng rng(1);
            return causal_attention(x[0], heads, options(rng));
          });
    for (const auto& [b, tq, tk, h, d] :
         {Sizes{1, 1, 3, 1, 1}, {2, 3, 7, 3, 5}, {1, 1, 67, 2, 8}, {2, 65, 70, 2, 16}, {2, 4, 4, 1, 8}})
      add("causal_attention", how + "apart " + text({b, tq, tk, h, d}),
          {{{b, tq, h * d}}, {{b, tk, h * d}}, {{b, tk, h * d}}}, [options, heads = h](const Vars& x) {
            Rng rng(1);
            return causal_attention(x[0], x[1], x[2], heads, options(rng, 0.12));
          });
    add("causal_attention", how + "one Var as q, k and v", {{{2, 5, 6}}}, [options](const Vars& x) {
      Rng rng(1);
      return causal_attention(x[0], x[0], x[0], 2, options(rng));
    });
  }

  // Queries and keys prepared: both ways, and each alone.
  struct Prepared {
    int64_t batch, t, heads, dim;
    bool norms, turns;
  };
  for (const auto& [b, t, h, d, norms, turns] : {Prepared{1, 1, 1, 4, true, true},
                                                 {2, 5, 3, 8, true, true},
                                                 {2, 67, 2, 20, true, true},
                                                 {2, 5, 3, 7, true, false},
                                                 {2, 5, 3, 8, false, true}})
    add("causal_attention", std::string(norms ? "normed " : "") + (turns ? "turned " : "") + text({b, t, h, d}),
        {{{b, t, 3 * h * d}}}, [h = h, norms = norms, turns = turns](const Vars& x) {
          const Shape& s = x[0].shape();
          AttentionOptions options;
          if (norms) options.qk_norm_eps = 1e-3;
          if (turns) options.rotation = rotary_table(s[1], s[2] / 3 / h, x[0].dtype(), x[0].device());
          return causal_attention(x[0], h, options);
        });
  add("causal_attention", "prepared, beside another use", {{{2, 3, 24}}}, [](const Vars& x) {
    return causal_attention(x[0], 2, {.qk_norm_eps = 1e-3}) * slice(x[0], -1, 8, 8) +
           causal_attention(x[0], 2, {.qk_norm_eps = 1e-3});
  });

  const RotaryTable table = rotary_table(T, C / heads_of_nano);
  const auto angles = [cos = Everywhere(table.cos), sin = Everywhere(table.sin)](Device device) {
    return RotaryTable{cos.on(device), sin.on(device)};
  };
  time("causal_attention", "prepared", {{{B, T, 3 * C}}}, [angles](const Vars& x) {
    return causal_attention(x[0], heads_of_nano, {.qk_norm_eps = 1e-6, .rotation = angles(x[0].device())});
  });
  time("rotary", "", {{{B, T, C}}},
       [angles](const Vars& x) { return rotary(x[0], heads_of_nano, angles(x[0].device())); });
  time(
      "causal_attention", "", {{{B, T, 3 * C}}}, [](const Vars& x) { return causal_attention(x[0], heads_of_nano); },
      attention_flops(B, T, C));
  time(
      "causal_attention", "small", {{{16, 256, 3 * 384}}}, [](const Vars& x) { return causal_attention(x[0], 6); },
      attention_flops(16, 256, 384));
}

Tensor apart(const Shape& shape, Rng& rng) {
  const Tensor t(shape, DType::f64);
  double* x = t.data<double>();
  const int64_t n = t.numel();
  const double gap = std::max(1e-3, 4.0 / static_cast<double>(n));
  for (int64_t i = 0; i < n; ++i) x[i] = gap * (static_cast<double>(i - (n - 1) / 2) + 0.5);
  for (int64_t i = n - 1; i > 0; --i) std::swap(x[i], x[rng.below(i + 1)]);
  return t;
}

const Table& table() {
  static const Table whole = [] {
    Table t;
    t.arithmetic();
    t.functions();
    t.products();
    t.shapes();
    t.reductions();
    t.rows_of_numbers();
    t.tokens();
    t.attention();
    return t;
  }();
  return whole;
}

}  // namespace

const std::vector<OpCase>& op_cases() { return table().rows; }
const std::vector<TimedCase>& timed_cases() { return table().timed; }

std::vector<Tensor> make_inputs(const OpCase& row, DType dtype, Device device) {
  Rng rng(5);  // rows of a single number get 0.66
  std::vector<Tensor> out;
  for (const OpInput& input : row.inputs) {
    const Tensor x = input.values == Values::normal     ? rng.normal(input.shape, 1, DType::f64)
                     : input.values == Values::positive ? rng.uniform(input.shape, 0.5, 2, DType::f64)
                                                        : apart(input.shape, rng);
    out.push_back(x.to(DType::f32).to(dtype).to(device));
  }
  return out;
}

}  // namespace borealis
