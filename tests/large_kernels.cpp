// The GPU's kernels on tensors that this machine could not hold: of more than 2^31 numbers, of which only the ends are
// touched. (Not watched: each two bytes have a shadow.)
#include <functional>

#include <doctest/doctest.h>

#include "cuda/checked/controls.h"
#include "engine/formulas.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "engine/rng.h"
#include "tests/compare.h"

using namespace borealis;
using stand_in::controls;

namespace {

const Device gpu{Device::Kind::cuda, 2};

// The same regions of memory for all.
Tensor huge(size_t which, const Shape& shape, int64_t first = 0) {
  static std::vector<Tensor> all;
  if (all.empty()) {
    controls.memory = size_t{63} << 30;
    backend(gpu).pool().set_cap(controls.memory);
    for (int i = 0; i < 4; ++i) all.push_back(Tensor({2250000000}, DType::f32, gpu));
  }
  return all[which].flat_view(first, shape);
}

// A tensor, of whose leading axis the last `tail` are used; of each, if a number is given, the last so many columns.
struct Large {
  Tensor t;
  int64_t tail = 16, columns = 0;
  bool is_output = false;
  Tensor end() const { return t.rows(t.size(0) - tail, tail); }
  Tensor small(uint64_t seed) const {
    const Shape shape = columns ? Shape{tail, columns} : end().shape();
    return t.dtype() == DType::i32 ? Tensor::full(shape, 1, DType::i32) : Rng(seed).normal(shape, 1, DType::f32);
  }
  void put(const Tensor& values) const {
    if (columns == 0) return end().copy_from(values);
    const int64_t width = t.size(1);
    const Tensor from = end().flat_view(width - columns, {(tail - 1) * width + columns});
    backend(gpu).strided_copy(from, values.to(gpu), {{tail, columns}, {width, 1}, {columns, 1}}, 0);
  }
};
Large out(const Tensor& t, int64_t tail = 16, int64_t columns = 0) { return {t, tail, columns, true}; }

// f on the ends of large tensors makes of them what it makes of small ones.
using Kernel = std::function<void(Backend&, const std::vector<Tensor>&)>;
void check(const std::string& what, const std::vector<Large>& large, const Kernel& f) {
  std::vector<Tensor> big, small;
  for (const Large& l : large) {
    small.push_back(l.small(small.size() + 1));
    l.put(small.back());
    big.push_back(l.t);
  }
  f(backend(Device{}), small);
  controls.ends = 8;
  f(backend(gpu), big);
  controls.ends = 0;
  for (size_t i = 0; i < large.size(); ++i) {
    if (!large[i].is_output) continue;
    INFO(what, ", tensor ", i);
    const Tensor end = large[i].end();
    const int64_t last = std::min<int64_t>(small[i].numel(), 32);
    const auto tail = [last](const Tensor& t) { return t.flat_view(t.numel() - last, {last}); };
    CHECK(relative_error(tail(end), tail(small[i])) <= 2e-5);
  }
}

constexpr int64_t cols = 1000, rows = 2148000, inner = 1 << 20;

Tensor vector_of(Backend& on, int64_t n) { return Rng(9).normal({n}, 1, DType::f32).to(on.device()); }
Tensor per_row(DType dtype = DType::f32) { return Tensor({rows}, dtype, gpu); }

}  // namespace

TEST_CASE("large rows.cu and cross_entropy.cu: rows") {
  // Not in packs: one number behind.
  for (const int64_t first : {0, 1}) {
    const auto at = [&](size_t which) { return huge(which, {rows, cols}, first); };
    const auto args = [](const std::vector<Tensor>& t) { return RowsArgs{.rows = t[0].size(0), .cols = cols}; };
    check("softmax", {out(at(0)), {at(1)}}, [&](Backend& on, const auto& t) { on.softmax(t[0], t[1], args(t)); });
    check("log_softmax", {out(at(0)), {at(1)}},
          [&](Backend& on, const auto& t) { on.log_softmax(t[0], t[1], args(t)); });
    check("softmax_grad", {out(at(0)), {at(1)}, {at(2)}},
          [&](Backend& on, const auto& t) { on.softmax_grad(t[0], t[1], t[2], args(t), 0.5); });
    check("log_softmax_grad", {out(at(0)), {at(1)}, {at(2)}},
          [&](Backend& on, const auto& t) { on.log_softmax_grad(t[0], t[1], t[2], args(t), 0); });
    check("logsumexp", {out(per_row()), {at(1)}},
          [&](Backend& on, const auto& t) { on.logsumexp(t[0], t[1], args(t)); });
    check("logsumexp_grad", {out(at(0)), {at(1)}, {per_row()}, {per_row()}},
          [&](Backend& on, const auto& t) { on.logsumexp_grad(t[0], t[1], t[2], t[3], args(t), 0); });
    check("cross_entropy", {out(per_row()), {at(1)}, {per_row(DType::i32)}}, [&](Backend& on, const auto& t) {
      const Tensor loss({1}, DType::f32, on.device()), count({1}, DType::f32, on.device());
      on.cross_entropy(loss, t[0], count, t[1], t[2], cols, -1, 0);
    });
    check("cross_entropy_grad", {out(at(0)), {at(1)}, {per_row(DType::i32)}, {per_row()}},
          [&](Backend& on, const auto& t) {
            const Tensor one = Tensor::full({1}, 1).to(on.device());
            on.cross_entropy_grad(t[0], t[1], t[2], t[3], one, one, cols, -1, 0, 0);
          });
  }
}

TEST_CASE("large norm.cu and fused.cu: rows") {
  for (const int64_t first : {0, 1}) {
    const auto at = [&](size_t which) { return huge(which, {rows, cols}, first); };
    const auto args = [](const std::vector<Tensor>& t) { return NormArgs{t[0].size(0), cols, 1e-5, true}; };
    check("norm", {out(at(0)), out(at(1)), out(per_row()), out(per_row()), {at(2)}},
          [&](Backend& on, const auto& t) { on.norm(t[0], t[1], t[2], t[3], t[4], t[4], {}, {}, args(t)); });
    check("norm_grad", {out(at(0)), {at(1)}, {at(2)}, {per_row()}, {per_row()}}, [&](Backend& on, const auto& t) {
      on.norm_grad(t[0], 0, {}, 0, {}, 0, t[1], {}, t[3], t[4], t[2], args(t));
    });
    check("bias_unary", {out(at(0)), {at(1)}},
          [&](Backend& on, const auto& t) { on.bias_unary(UnaryOp::tanh, t[0], t[1], vector_of(on, cols), 0); });
    check("bias_unary_grad", {out(at(0)), {at(1)}, {at(2)}}, [&](Backend& on, const auto& t) {
      on.bias_unary_grad(UnaryOp::tanh, t[0], 0, {}, 0, t[1], vector_of(on, cols), t[2], 0);
    });
    check("bias_unary_grad with that of the bias", {out(at(0)), {at(1)}, {at(2)}}, [&](Backend& on, const auto& t) {
      const Tensor dbias({cols}, DType::f32, on.device());
      on.bias_unary_grad(UnaryOp::tanh, t[0], 0, dbias, 0, t[1], vector_of(on, cols), t[2], 0);
    });
    check("swiglu_grad", {out(at(0)), {at(1)}, {huge(2, {rows, cols / 2}, first)}},
          [&](Backend& on, const auto& t) { on.swiglu_grad(t[0], t[1], t[2], cols / 2, 0); });
    check("swiglu_grad of long rows",
          {out(huge(0, {1050, 2 * inner}, first), 1),
           {huge(1, {1050, 2 * inner}, first), 1},
           {huge(2, {1050, inner}, first), 1}},
          [&](Backend& on, const auto& t) { on.swiglu_grad(t[0], t[1], t[2], inner, 0); });
  }
}

TEST_CASE("large tables.cu") {
  for (const int64_t first : {0, 1}) {
    check("embedding", {out(huge(0, {rows, cols}, first)), {per_row(DType::i32)}},
          [&](Backend& on, const auto& t) { on.embedding(t[0], vector_of(on, 3 * cols), t[1], cols); });
    check("embedding of a large table", {out(Tensor({1, cols}, DType::f32, gpu), 1), {huge(1, {rows, cols}, first)}},
          [&](Backend& on, const auto& t) {
            const Tensor id = Tensor::full({1}, static_cast<double>(t[1].size(0) - 3), DType::i32).to(on.device());
            on.embedding(t[0], t[1], id, cols);
          });
  }
  check("embedding_grad", {out(Tensor({3, inner}, DType::f32, gpu), 3), {huge(1, {2100, inner})}},
        [&](Backend& on, const auto& t) {
          const int64_t n = t[1].size(0);
          std::vector<int32_t> ids(static_cast<size_t>(n), 0);
          for (size_t i = ids.size() - 16; i < ids.size(); ++i) ids[i] = 2;
          on.embedding_grad(t[0], Tensor::of<int32_t>({n}, ids).to(on.device()), t[1], inner, 0);
        });
  check("embedding_grad of a large table", {out(huge(0, {2100, inner}), 1)}, [&](Backend& on, const auto& t) {
    const Tensor id = Tensor::full({1}, static_cast<double>(t[0].size(0) - 1), DType::i32).to(on.device());
    on.embedding_grad(t[0], id, vector_of(on, inner), inner, 0);
  });
}

TEST_CASE("large reduce.cu and sums.h: sums") {
  for (const int64_t first : {0, 1}) {
    check("sum of rows", {out(Tensor({rows}, DType::f32, gpu)), {huge(1, {rows, cols}, first)}},
          [](Backend& on, const auto& t) { on.sum(t[0], t[1], t[1].size(0), cols, 1, 1, 0); });
    check("sum of columns",
          {out(Tensor({16, inner + 8}, DType::f32, gpu), 1, 32), {huge(1, {16 * 130, inner + 8}, first), 130, 32}},
          [](Backend& on, const auto& t) { on.sum(t[0], t[1], t[0].size(0), 130, t[1].size(1), 1, 0); });
    check("sum of one", {out(huge(0, {2100, inner}, first), 1), {huge(1, {2100, inner}, first), 1}},
          [](Backend& on, const auto& t) { on.sum(t[0], t[1], t[0].size(0), 1, inner, 2, 0); });
    check("sum of one onto another", {out(huge(0, {2100, inner}, first), 1), {huge(1, {2100, inner}, first), 1}},
          [](Backend& on, const auto& t) { on.sum(t[0], t[1], t[0].size(0), 1, inner, 2, 0.5); });
    constexpr int64_t n = (int64_t{1} << 31) + 80;
    check("sum of a long row", {out(huge(0, {n}, first), 64), {huge(1, {n}, first), 64}},
          [](Backend& on, const auto& t) { on.sum(t[0], t[1], 1, 1, t[1].numel(), 2, 0); });
  }
}

TEST_CASE("large reduce.cu: maxima") {
  check("max of rows", {out(per_row()), {huge(1, {rows, cols})}}, [](Backend& on, const auto& t) {
    on.max(t[0], Tensor({t[0].numel()}, DType::i32, on.device()), t[1], t[0].numel(), cols, 1);
  });
  constexpr int64_t mid = 33, wide = (int64_t{1} << 26) + 8;
  const Tensor x = huge(0, {mid, wide}), dx = huge(2, {mid, wide}), y = huge(1, {wide}),
               index = Tensor({wide}, DType::i32, gpu);
  x.flat_view(mid * wide - 1, {1}).fill(3);
  y.flat_view(wide - 1, {1}).fill(7);
  controls.ends = 2;
  backend(gpu).max(huge(1, {wide}, wide), index, x, 1, mid, wide);
  backend(gpu).max_grad(dx, index, y, 1, mid, wide, 0);
  controls.ends = 0;
  CHECK(huge(1, {1}, 2 * wide - 1).item() == 3);
  CHECK(index.flat_view(wide - 1, {1}).item() == mid - 1);
  CHECK(dx.flat_view(mid * wide - 1, {1}).item() == 7);
  CHECK(dx.flat_view(mid * wide - 2, {1}).item() == 0);
}

TEST_CASE("large map.h and pointwise.cu: every element") {
  constexpr int64_t n = (int64_t{1} << 31) + 80;
  for (const int64_t first : {0, 1}) {
    const auto at = [&](size_t which) { return huge(which, {n}, first); };
    check("affine", {out(at(0), 64), {at(1), 64}},
          [](Backend& on, const auto& t) { on.affine(t[0], t[1], 2, 1, 0.5); });
    check("descend", {out(at(0), 64), {at(1), 64}}, [](Backend& on, const auto& t) {
      on.descend(t[0], t[1], 0.1, 2, 0.1, Tensor::of<double>({3}, {0, 1, 1}).to(on.device()));
    });
  }
  for (const int64_t first : {0, 1}) {
    const Tensor x = huge(0, {n}, first), y = huge(1, {n}, first);
    x.flat_view(n - 8, {8}).fill(1);
    controls.ends = 2;
    backend(gpu).dropout(y, x, {.p = 0.5}, 0);
    controls.ends = 0;
    for (const float v : y.flat_view(n - 8, {8}).to_vector<float>()) CHECK((v == 0 || v == 2));
  }
  // More bytes than 2^32, between two packs: a thread each.
  constexpr size_t bytes = (size_t{1} << 32) + 7;
  const auto byte = [](size_t which, size_t at) { return static_cast<std::byte*>(huge(which, {1}).raw()) + at; };
  huge(1, {2}, (1 << 30) + 1).fill(5);
  controls.ends = 2;
  backend(gpu).copy(byte(0, 1), byte(1, 1), bytes);
  controls.ends = 0;
  CHECK(huge(0, {1}, (1 << 30) + 1).item() == 5);
}

TEST_CASE("large walk.h: broadcasts and strides") {
  for (const int64_t first : {0, 1}) {
    const auto at = [&](size_t which) { return huge(which, {2100, inner}, first); };
    check("binary", {out(at(0), 1), {at(1), 1}}, [](Backend& on, const auto& t) {
      on.binary(BinaryOp::mul, t[0], t[1], vector_of(on, inner), {t[0].shape(), {inner, 1}, {0, 1}});
    });
    check("strided_copy", {out(at(0), 1), {at(1), 1}}, [](Backend& on, const auto& t) {
      on.strided_copy(t[0], t[1], {{t[0].size(0), inner / 2}, {inner, 2}, {inner, 2}}, 0);
    });
  }
  constexpr int64_t n = (int64_t{1} << 32) + 80;
  // Between two packs: a thread each.
  const Tensor all({n + 1}, DType::f32, gpu);
  check("strided_copy of more than 2^32", {out(all.flat_view(1, {n}), 64)}, [](Backend& on, const auto& t) {
    on.strided_copy(t[0], vector_of(on, 1), {t[0].shape(), {1}, {0}}, 0.5);
  });
}

TEST_CASE("large factor.cu and matrix.cu: strides") {
  constexpr int64_t far = (int64_t{1} << 30) + 4;
  const double values[3][3] = {{4, 1, 2}, {1, 5, 3}, {2, 3, 6}};
  for (const bool turned : {false, true}) {
    const auto view = [&](size_t which) {
      const MatrixView m{huge(which, {1}).raw(), DType::f32, 3, 3, far, 1};
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t j = 0; j < 3; ++j) huge(which, {1}, turned ? j * far + i : i * far + j).fill(values[i][j]);
      return turned ? m.t() : m;
    };
    const auto numbers = [&](size_t which) {
      std::vector<float> all;
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t j = 0; j < 3; ++j)
          all.push_back(huge(which, {1}, turned ? j * far + i : i * far + j).to_vector<float>()[0]);
      return Tensor::of<float>({3, 3}, all);
    };
    const auto small = [&] {
      std::vector<float> all;
      for (const auto& row : values)
        for (const double v : row) all.push_back(static_cast<float>(v));
      return Tensor::of<float>({3, 3}, all);
    };
    const auto of = [](const Tensor& t) { return MatrixView{t.raw(), DType::f32, 3, 3, 3, 1}; };
    Backend &on = backend(gpu), &cpu = backend(Device{});
    const Tensor l = small(), x = small(), a = small(), squares({3});
    const MatrixView L = view(0), X = view(1), A = view(2);
    on.add_to_diagonal(A, 1, 0.5), cpu.add_to_diagonal(of(a), 1, 0.5);
    CHECK(relative_error(numbers(2), a) <= 1e-6);
    on.cholesky(L), cpu.cholesky(of(l));
    CHECK(relative_error(numbers(0), l) <= 1e-6);
    on.solve_lower(X, L), cpu.solve_lower(of(x), of(l));
    CHECK(relative_error(numbers(1), x) <= 1e-6);
    const Tensor found({3}, DType::f32, gpu);
    on.row_sum_squares(found, X), cpu.row_sum_squares(squares, of(x));
    CHECK(relative_error(found, squares) <= 1e-6);
  }
}

namespace {

// n numbers to a matrix, one below the other.
MatrixView columns_of(const Tensor& t, int64_t n) {
  return {t.raw(), DType::f32, n, 1, 1, 1, {{t.numel() / n, 1}, {n, 0}}};
}

}  // namespace

TEST_CASE("large attention.cu: many heads, and rows far from each other") {
  constexpr int64_t heads = (int64_t{1} << 29) + 16, rows_of_head = 4;
  const auto at = [](size_t which) { return huge(which, {heads, rows_of_head}); };
  const AttentionArgs args{.scale = 0.3};
  check("attention", {{at(0)}, out(at(1)), out(at(2))}, [&](Backend& on, const auto& t) {
    const MatrixView q = columns_of(t[0], 4);
    on.attention(columns_of(t[1], 4), t[2], q, q, q, args);
  });
  // All gradients into one place: the last that is written is that of the keys.
  check("attention_grad", {{at(0)}, {at(1)}, {at(2)}, out(at(3))}, [&](Backend& on, const auto& t) {
    const MatrixView q = columns_of(t[0], 4), y = columns_of(t[1], 4), d = columns_of(t[3], 4);
    on.attention_grad(d, d, d, 0, q, q, q, y, y, t[2], args);
  });

  // Which probability is dropped follows from its place among all. One key for each head.
  const RandomStream stream = Rng(3).next_stream();
  const Tensor keys = huge(0, {heads}), y = at(1), lse = at(2);
  keys.flat_view(heads - 8, {8}).fill(1);
  controls.ends = 8;
  backend(gpu).attention(columns_of(y, 4), lse, columns_of(at(3), 4), columns_of(keys, 1), columns_of(keys, 1),
                         {.dropout = {.p = 0.5, .stream = stream}});
  controls.ends = 0;
  const std::vector<float> found = y.flat_view(4 * heads - 32, {32}).to_vector<float>();
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t place = 4 * heads - 32 + i;
    const uint32_t word = stream.block(static_cast<uint32_t>(place / 4)).word[place % 4];
    CHECK(found[static_cast<size_t>(i)] == formulas::Dropout<float>{0.5}.factor(word));
  }

  constexpr int64_t far = (int64_t{1} << 30) + 4;
  const auto apart = [](size_t which) { return MatrixView{huge(which, {1}).raw(), DType::f32, 3, 1, far, 1}; };
  const auto near = [](const Tensor& t) { return MatrixView{t.raw(), DType::f32, 3, 1, 1, 1}; };
  const Tensor small = Rng(4).normal({3}, 1, DType::f32), expected({3}), of_cpu({3}), of_gpu({3}, DType::f32, gpu);
  for (int64_t i = 0; i < 3; ++i) huge(0, {1}, i * far).copy_from(small.flat_view(i, {1}));
  backend(Device{}).attention(near(expected), of_cpu, near(small), near(small), near(small), args);
  backend(gpu).attention(apart(1), of_gpu, apart(0), apart(0), apart(0), args);
  for (int64_t i = 0; i < 3; ++i) CHECK(relative_error(huge(1, {1}, i * far), expected.flat_view(i, {1})) <= 2e-5);
}

TEST_CASE("large attention.cu: long sequences") {
  constexpr int64_t n = 2200000000;
  const auto column = [](const Tensor& t) { return MatrixView{t.raw(), DType::f32, t.numel(), 1, 1, 1}; };
  const Tensor few = Rng(4).normal({3}, 1, DType::f32), there = few.to(gpu);

  // Queries, of which the last three see keys: the last all three.
  const AttentionArgs late{.scale = 0.3, .offset = 3 - n}, args{.scale = 0.3};
  const Tensor q = huge(0, {n}), y = huge(1, {n}), lse = huge(2, {n}), dq = huge(3, {n}), dk({3}, DType::f32, gpu),
               dv({3}, DType::f32, gpu);
  q.flat_view(n - 3, {3}).copy_from(few);
  const Tensor y_({3}), lse_({3}), dq_({3}), dk_({3}), dv_({3});
  backend(Device{}).attention(column(y_), lse_, column(few), column(few), column(few), args);
  backend(Device{}).attention_grad(column(dq_), column(dk_), column(dv_), 0, column(few), column(few), column(few),
                                   column(y_), column(few), lse_, args);
  controls.ends = 8;
  backend(gpu).attention(column(y), lse, column(q), column(there), column(there), late);
  backend(gpu).attention_grad(column(dq), column(dk), column(dv), 0, column(q), column(there), column(there), column(y),
                              column(q), lse, late);
  controls.ends = 0;
  CHECK(relative_error(y.flat_view(n - 3, {3}), y_) <= 2e-5);
  CHECK(relative_error(lse.flat_view(n - 3, {3}), lse_) <= 2e-5);
  CHECK(relative_error(dq.flat_view(n - 3, {3}), dq_) <= 2e-5);
  CHECK(relative_error(dk, dk_) <= 2e-5);
  CHECK(relative_error(dv, dv_) <= 2e-5);

  // Keys, of which all but three are seen by nobody.
  const Tensor k = huge(0, {n}), all_dk = huge(1, {n}), all_dv = huge(2, {n}), of_three({3}, DType::f32, gpu);
  k.flat_view(0, {3}).copy_from(few);
  for (const Tensor& d : {all_dk, all_dv}) d.flat_view(n - 3, {3}).fill(7);
  controls.ends = 8;
  backend(gpu).attention_grad(column(of_three), column(all_dk), column(all_dv), 0, column(there), column(k), column(k),
                              column(y_.to(gpu)), column(there), lse_.to(gpu), args);
  controls.ends = 0;
  CHECK(relative_error(of_three, dq_) <= 2e-5);
  for (const Tensor& d : {all_dk, all_dv}) CHECK(d.flat_view(n - 1, {1}).item() == 0);
}

TEST_CASE("large factor.cu and strided.cu: blocks of rows far from each other") {
  constexpr int64_t n = 65, far = 34700000;
  Backend &on = backend(gpu), &cpu = backend(Device{});
  for (const bool turned : {false, true}) {
    const Shape::Strides apart = turned ? Shape::Strides{1, far} : Shape::Strides{far, 1};
    const auto put = [&](size_t which, const Tensor& t) {
      const Tensor all = huge(which, {(n - 1) * far + n});
      on.strided_copy(all, t.to(gpu), {t.shape(), apart, t.shape().strides()}, 0);
      return MatrixView{all.raw(), DType::f32, n, n, apart[0], apart[1]};
    };
    const auto get = [&](const MatrixView& m) {
      const Tensor y({n, n}, DType::f32, gpu);
      on.strided_copy(y, {m.data, DType::f32, m.extent()}, {y.shape(), y.shape().strides(), apart}, 0);
      return y.to(Device{});
    };
    const Tensor g = Rng(5).normal({n, n}, 1, DType::f32), l({n, n}), x = Rng(6).normal({n, n}, 1, DType::f32);
    gemm(Matrix(l), Matrix(g).t(), Matrix(g), 1, 0);
    add_to_diagonal(Matrix(l), 1);
    const MatrixView L = put(0, l), X = put(1, x);
    CHECK(relative_error(get(L), l) == 0);
    on.cholesky(L), cpu.cholesky(Matrix(l));
    CHECK(relative_error(get(L), l) <= 1e-5);
    on.solve_lower(X, L), cpu.solve_lower(Matrix(x), Matrix(l));
    CHECK(relative_error(get(X), x) <= 1e-4);
  }
}
