// Each kernel that a device has of its own against the CPU's: sizes that no block, warp or pack divides, tensors that
// begin between two packs, one at a time, and a gate that is closed. (On the checked devices: cuda:2, whose kernels are
// the GPU's.) Names say which file of cuda/ a case is about: tests/mutate_kernels asks it first.
#include "tests/ways.h"

using namespace borealis;

namespace {

struct RowShape {
  int64_t rows, cols;
  How how;
  bool is_long() const { return how == How::f32; }
};
// For a warp each, a block each, and longer than a block holds; in packs and not.
const std::vector<RowShape> row_shapes{{11, 8, How::thorough},  {9, 37, How::both_types}, {2, 1036, How::f32},
                                       {2, 1027, How::f32},     {1, 8204, How::f32},      {1, 8203, How::f32},
                                       {0, 8, How::both_types}, {3, 0, How::both_types}};

std::string text(const RowShape& s) { return " [" + std::to_string(s.rows) + ", " + std::to_string(s.cols) + "]"; }

}  // namespace

TEST_CASE("kernels of rows.cu: softmax and its relatives") {
  for (const RowShape& s : row_shapes)
    for (const bool causal : {false, true})
      for (const double beta : {0.0, 0.5}) {
        if (s.is_long() && !(causal && beta == 0)) continue;
        RowsArgs args{.rows = s.rows, .cols = s.cols};
        if (causal) args.causal_rows = 4, args.causal_offset = s.cols - 3;
        check("rows" + text(s), s.how, [&, beta](const Way& way) {
          const Shape shape{s.rows, s.cols};
          // Long ones far apart, so that each of the largest matters; and what is not seen is larger than all.
          const Tensor numbers = Rng(1).normal(shape, s.is_long() ? 60 : 1, DType::f32);
          for (int64_t r = 0; causal && s.cols && r < s.rows; ++r)
            for (int64_t j = s.cols - 2 + r % 4; j < s.cols; ++j) numbers.data<float>()[r * s.cols + j] = 1e30f;
          const Tensor x = way.placed(numbers.to(way.dtype)), dy = way.normal(shape, 2), d = way.normal({s.rows}, 3);
          const Tensor y = way.fresh(shape), z = way.fresh(shape), lse = way.fresh({s.rows});
          const Tensor dx = way.old(shape, beta), dz = way.old(shape, beta), dl = way.old(shape, beta);
          OWN(softmax, y, x, args);
          OWN(softmax_grad, dx, y, dy, args, beta);
          OWN(log_softmax, z, x, args);
          OWN(log_softmax_grad, dz, z, dy, args, beta);
          if (s.cols) OWN(logsumexp, lse, x, args);
          if (s.cols) OWN(logsumexp_grad, dl, x, lse, d, args, beta);
          return s.cols ? Results{y, dx, z, dz, lse, dl} : Results{y, dx, z, dz};
        });
      }
}

TEST_CASE("kernels of cross_entropy.cu: cross-entropy") {
  for (const RowShape& s : row_shapes) {
    if (s.cols == 0) continue;
    for (const double beta : {0.0, 0.5})
      for (const double cap : {0.0, 1.5}) {
        if (s.is_long() && (beta == 0 || cap == 0)) continue;
        check("cross_entropy" + text(s), s.how, [&, beta, cap](const Way& way) {
          const Shape shape{s.rows, s.cols};
          std::vector<int32_t> places{0, static_cast<int32_t>(s.cols - 1), -1};
          places.resize(static_cast<size_t>(s.rows), 1);
          const Tensor x = way.normal(shape), targets = way.ids(places), loss = way.fresh({1}),
                       lse = way.fresh({s.rows}), count = way.fresh({1}), dx = way.old(shape, beta),
                       dloss = way.of({0.7});
          OWN(cross_entropy, loss, lse, count, x, targets, s.cols, -1, cap);
          OWN(cross_entropy_grad, dx, x, targets, lse, count, dloss, s.cols, -1, cap, beta);
          return Results{loss, lse, count, dx};
        });
      }
  }
  // A target that is none: NaN, and no read beyond the row.
  for (const Device device : with_kernels())
    for (const int32_t target : {-2, 5}) {
      const Way way{device, DType::f32, false};
      const Tensor x = way.normal({1, 5}), targets = way.ids({target}), loss = way.fresh({1}), lse = way.fresh({1}),
                   count = way.fresh({1}), dx = way.fresh({1, 5}), dloss = way.of({0.7});
      OWN(cross_entropy, loss, lse, count, x, targets, 5, -1, 0);
      OWN(cross_entropy_grad, dx, x, targets, lse, count, dloss, 5, -1, 0, 0);
      CHECK(std::isnan(loss.item()));
      CHECK(std::isnan(dx.to_vector<float>()[0]));
    }
  check("cross_entropy, many rows", How::both_types, [](const Way& way) {
    const int64_t rows = 700;
    std::vector<int32_t> places;
    for (int32_t r = 0; r < rows; ++r) places.push_back(r % 5);
    const Tensor x = way.normal({rows, 5}), targets = way.ids(places), loss = way.fresh({1}), lse = way.fresh({rows}),
                 count = way.fresh({1});
    OWN(cross_entropy, loss, lse, count, x, targets, 5, 3, 0);
    return Results{loss, lse, count};
  });
}

TEST_CASE("kernels of norm.cu: norms") {
  for (const RowShape& s : row_shapes)
    for (const bool center : {false, true})
      for (const bool scaled : {false, true})
        for (const double beta : {0.0, 0.5}) {
          if (s.cols == 0 || (beta != 0 && !scaled) || (s.is_long() && (beta == 0 || !center))) continue;
          const NormArgs args{s.rows, s.cols, 1e-5, center};
          check("norm" + text(s), s.how, [&, center, scaled, beta](const Way& way) {
            const Shape shape{s.rows, s.cols}, vector{s.cols};
            const Tensor x = way.normal(shape), branch = way.normal(shape, 2), dy = way.normal(shape, 3),
                         gain = scaled ? way.normal(vector, 4) : Tensor(),
                         bias = scaled ? way.normal(vector, 5) : Tensor(),
                         mean = center ? way.fresh({s.rows}) : Tensor(), rstd = way.fresh({s.rows}),
                         y = way.fresh(shape), of_sum = way.fresh(shape), sum = way.fresh(shape),
                         dx = way.old(shape, beta), dgain = way.old(vector, beta), dbias = way.old(vector, beta);
            OWN(norm, of_sum, sum, mean, rstd, x, branch, gain, bias, args);
            OWN(norm, y, {}, mean, rstd, x, {}, gain, bias, args);
            OWN(norm_grad, dx, beta, dgain, beta, dbias, beta, x, gain, mean, rstd, dy, args);
            return Results{y, of_sum, sum, rstd, dx, dgain, dbias};
          });
        }
  // Sums over many rows, in parts.
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{600, 8}, {4200, 3}})
    check("norm_grad of many rows", How::both_types, [=, rows = rows, cols = cols](const Way& way) {
      const NormArgs args{rows, cols, 1e-5, true};
      const Tensor x = way.normal({rows, cols}), dy = way.normal({rows, cols}, 2), gain = way.normal({cols}, 3),
                   mean = way.normal({rows}, 4), rstd = way.positive({rows}), dgain = way.fresh({cols}),
                   dbias = way.normal({cols}, 5);
      OWN(norm_grad, {}, 0, dgain, 0, dbias, 0.5, x, gain, mean, rstd, dy, args);
      return Results{dgain, dbias};
    });
}

TEST_CASE("kernels of fused.cu: functions behind a bias, and SwiGLU's gradient") {
  for (const RowShape& s : row_shapes)
    for (const double beta : {0.0, 0.5}) {
      if (s.is_long() && beta == 0) continue;
      check("bias_unary" + text(s), s.how, [&, beta](const Way& way) {
        const Shape shape{s.rows, s.cols}, vector{s.cols}, both{s.rows, 2 * s.cols};
        const Tensor x = way.normal(shape), bias = way.normal(vector, 2), dy = way.normal(shape, 3),
                     y = way.fresh(shape), dx = way.old(shape, beta), dbias = way.old(vector, beta),
                     alone = way.old(shape, beta), vector_alone = way.old(vector, beta), h = way.normal(both, 4),
                     dh = way.old(both, beta);
        OWN(bias_unary, UnaryOp::silu, y, x, bias, 0);
        OWN(bias_unary_grad, UnaryOp::silu, dx, beta, dbias, beta, x, bias, dy, 0);
        OWN(bias_unary_grad, UnaryOp::silu, alone, beta, {}, 0, x, bias, dy, 0);
        OWN(bias_unary_grad, UnaryOp::silu, {}, 0, vector_alone, beta, x, bias, dy, 0);
        OWN(swiglu_grad, dh, h, dy, s.cols, beta);
        return Results{y, dx, dbias, alone, vector_alone, dh};
      });
    }
}

TEST_CASE("kernels of pointwise.cu: one formula at every element") {
  for (const int64_t count : {0, 1, 7, 12, 1030})
    for (const double beta : {0.0, 0.5})
      check("pointwise, " + std::to_string(count), thorough_if(count == 12), [=](const Way& way) {
        const Shape shape{count};
        const Tensor x = way.normal(shape), dy = way.normal(shape, 2), copied = way.fresh(shape),
                     filled = way.fresh(shape), y = way.fresh(shape), dx = way.old(shape, beta),
                     scaled = way.old(shape, beta), dropped = way.old(shape, beta);
        const Tensor wide = way.fresh(shape, DType::f64), narrow = way.fresh(shape, DType::f32),
                     whole = way.fresh(shape, DType::i32);
        OWN(copy, copied.raw(), x.raw(), static_cast<size_t>(count) * size_of(way.dtype));
        OWN(fill, filled, -0.25);
        OWN(cast, wide, x);
        OWN(cast, narrow, x);
        OWN(cast, whole, x);
        OWN(unary, UnaryOp::tanh, y, x, 0);
        OWN(unary_grad, UnaryOp::tanh, dx, y, dy, 0, beta);
        OWN(affine, scaled, x, 0.5, -1, beta);
        OWN(dropout, dropped, x, {.p = 0.4, .stream = Rng(5).next_stream()}, beta);
        return Results{copied, filled, wide, narrow, whole, y, dx, scaled, dropped};
      });
  check("copy of bytes", How::both_types, [](const Way& way) {
    const Tensor x = way.normal({300}), y = way.normal({300}, 2);
    const auto at = [](const Tensor& t, size_t byte) { return static_cast<std::byte*>(t.raw()) + byte; };
    OWN(copy, at(y, 3), at(x, 3), 1);  // what is most of an f32
    OWN(copy, at(y, 96), at(x, 208), 779);
    return Results{y};
  });
}

TEST_CASE("kernels of strided.cu: broadcasts, and copies between arrays that lie in different ways") {
  struct Case {
    Shape shape;
    Shape::Strides a, b;  // of a's and b's numbers
    int64_t of_a, of_b;
    bool places;
  };
  for (const Case& c : {Case{{3, 8}, {8, 1}, {8, 1}, 24, 24, true},
                        {{3, 8}, {8, 1}, {0, 1}, 24, 8, true},
                        {{3, 8}, {1, 0}, {8, 1}, 3, 24, true},
                        {{3, 8}, {1, 3}, {9, 1}, 24, 27, false},
                        {{5, 3, 7}, {21, 7, 1}, {1, 0, 5}, 105, 35, false},
                        {{2, 9, 44}, {0, 44, 1}, {396, 44, 1}, 396, 792, true},
                        {{40, 35}, {35, 1}, {1, 41}, 1400, 41 * 35, true},
                        {{3, 33, 9}, {297, 9, 1}, {297, 1, 33}, 891, 891, false},
                        {{9, 2, 64}, {128, 64, 1}, {1, 9 * 64, 9}, 1152, 1152, false},
                        {{0, 12, 10}, {120, 10, 1}, {120, 1, 12}, 0, 0, false},
                        {{}, {}, {}, 1, 1, false},
                        {{4, 0}, {0, 1}, {0, 1}, 0, 0, false}})
    for (const double beta : {0.0, 0.5})
      check("binary", thorough_if(c.places), [&, beta](const Way& way) {
        const Tensor a = way.normal({c.of_a}), b = way.positive({c.of_b}), dy = way.normal(c.shape, 2),
                     y = way.fresh(c.shape), da = way.old(c.shape, beta), db = way.old(c.shape, beta),
                     dense = way.old(c.shape, beta), sparse = way.normal({c.of_b}, 3);
        const Broadcast walk{c.shape, c.a, c.b};
        OWN(binary, BinaryOp::div, y, a, b, walk);
        OWN(binary_grad, BinaryOp::div, 0, da, a, b, dy, walk, beta);
        OWN(binary_grad, BinaryOp::div, 1, db, a, b, dy, walk, beta);
        OWN(strided_copy, dense, b, {c.shape, c.shape.strides(), c.b}, beta);
        if (c.of_b == c.shape.numel()) OWN(strided_copy, sparse, dy, {c.shape, c.b, c.shape.strides()}, beta);
        return Results{y, da, db, dense, sparse};
      });
}

TEST_CASE("kernels of reduce.cu: reductions") {
  struct Case {
    int64_t outer, mid, inner;
    bool places;
  };
  for (const Case& c : {Case{3, 12, 1, true},
                        {2, 5003, 1, false},
                        {2, 8196, 1, true},
                        {9, 12, 8, true},
                        {2, 9, 37, false},
                        {3, 600, 4, true},
                        {2, 4200, 3, false},
                        {0, 3, 4, false},
                        {2, 0, 3, false},
                        {2, 0, 1, false}})
    for (const double beta : {0.0, 0.5}) {
      const int64_t in = c.outer * c.mid * c.inner, out = c.outer * c.inner;
      check("sum of " + std::to_string(c.mid), thorough_if(c.places), [&, beta](const Way& way) {
        const Tensor x = way.normal({in}), y = way.old({out}, beta);
        OWN(sum, y, x, c.outer, c.mid, c.inner, 0.3, beta);
        return Results{y};
      });
      if (c.mid == 0) continue;
      check("max of " + std::to_string(c.mid), thorough_if(c.mid == 12), [&, beta](const Way& way) {
        const Tensor x = way.normal({in}), y = way.fresh({out}), dx = way.old({in}, beta), dy = way.normal({out}, 2),
                     index = way.ids(std::vector<int32_t>(static_cast<size_t>(out), -1));
        OWN(max, y, index, x, c.outer, c.mid, c.inner);
        OWN(max_grad, dx, index, dy, c.outer, c.mid, c.inner, beta);
        return Results{y, index, dx};
      });
    }
  // The first of equals; a NaN is larger than all.
  for (const int64_t inner : {1, 3})
    for (const int64_t mid : {5, 40, 9000})
      for (const double largest : {2.0, not_a_number, -infinity})
        for (const Device device : with_kernels()) {
          const Tensor x = Tensor::full({mid, inner}, -infinity), y({inner}, DType::f32, device),
                       index({inner}, DType::i32, device);
          for (const int64_t m : {mid / 2, mid - 1}) x.rows(m, 1).fill(largest);
          backend(device).max(y, index, x.to(device), 1, mid, inner);
          const float top = y.to_vector<float>().back();
          INFO("max of ", mid, " by ", inner, ", the largest ", largest);
          CHECK((std::isnan(largest) ? std::isnan(top) : top == static_cast<float>(largest)));
          CHECK(index.to_vector<int32_t>().back() == (largest == -infinity ? 0 : mid / 2));
        }
  for (const int64_t count : {0, 1, 8, 9001})
    check("sum_squares", thorough_if(count == 8), [=](const Way& way) {
      const Tensor x = way.normal({count}), y = way.placed(Tensor::full({1}, not_a_number, DType::f64));
      OWN(sum_squares, y, x);
      return Results{y};
    });
  for (const Device device : with_kernels())
    for (const int64_t count : {0, 1, 300, 300000})
      for (const int64_t bad : {int64_t{-1}, int64_t{0}, count - 1}) {
        const Tensor x = Tensor::full({count}, 1);
        if (bad >= 0 && count > 0) x.data<float>()[bad] = static_cast<float>(infinity);
        CHECK(backend(device).all_finite(x.to(device)) == (bad < 0 || count == 0));
      }
}

TEST_CASE("kernels of tables.cu: embeddings") {
  for (const int64_t cols : {8, 37, 1028})
    for (const double beta : {0.0, 0.5})
      check("embedding", thorough_if(cols == 8), [=](const Way& way) {
        constexpr int64_t rows = 11, n = 70;
        std::vector<int32_t> which;
        for (int32_t i = 0; i < n; ++i) which.push_back(i * i % 13 - 1);  // −1, 11: what the table has not
        const Tensor table = way.normal({rows, cols}), ids = way.ids(which), y = way.fresh({n, cols}),
                     dtable = way.old({rows, cols}, beta), dy = way.normal({n, cols}, 2);
        OWN(embedding, y, table, ids, cols);
        OWN(embedding_grad, dtable, ids, dy, cols, beta);
        return Results{y, dtable};
      });
  // More ids than are sorted at a time, some of them often.
  check("embedding of many", How::both_types, [](const Way& way) {
    constexpr int64_t rows = 301, n = 2600, cols = 40;
    std::vector<int32_t> which;
    for (int32_t i = 0; i < n; ++i) which.push_back(i % 9 == 0 ? 7 : i * 37 % 305 - 2);
    const Tensor dtable = way.fresh({rows, cols}), dy = way.normal({n, cols}, 2);
    OWN(embedding_grad, dtable, way.ids(which), dy, cols, 0);
    return Results{dtable};
  });
  check("embedding of nothing", How::both_types, [](const Way& way) {
    const Tensor table = way.normal({3, 4}), none = way.ids({}), y = way.fresh({0, 4}), dtable = way.fresh({3, 4}),
                 empty = way.fresh({0, 4});
    OWN(embedding, y, table, none, 4);
    OWN(embedding, empty, way.fresh({3, 0}), way.ids({0, 1}), 0);
    OWN(embedding_grad, dtable, none, y, 4, 0);
    OWN(embedding_grad, empty, way.ids({0}), table, 4, 0);
    return Results{y, dtable};
  });
}

TEST_CASE("kernels of optim.cu: the parts of optimizers") {
  for (const int64_t count : {0, 1, 12, 1030})
    check("optimizers, " + std::to_string(count), thorough_if(count == 12), [=](const Way& way) {
      const Shape shape{count};
      const Tensor g = way.normal(shape), w = way.normal(shape, 2), m = way.normal(shape, 3), v = way.positive(shape),
                   u = way.normal(shape, 4), x = way.fresh(shape), n = way.normal(shape, 5), z = way.normal(shape, 6),
                   s = way.positive(shape, 7), d = way.fresh(shape), e = way.positive(shape, 8),
                   record = way.record(0, 7, 0.5), fine = way.record(0, 7, 1), bad = way.record(0, 7, 1);
      OWN(adamw, w, m, v, g, {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3, .weight_decay = 0.1}, record);
      OWN(descend, u, g, 0.2, 3, 0.1, record);
      OWN(momentum, x, n, g, 0.9, 0.3, true);
      OWN(second_moment, z, s, g, 0.9, 1e-2);
      OWN(inverse_norm, d, v, 0.4, 1e-6, 0.3);
      OWN(rebalance, e, v, 0.5, 0.5, 0.1);
      backend(way.device).stop_unless_finite(fine, way.of({1e30}));
      backend(way.device).stop_unless_finite(bad, way.of({infinity}));
      return Results{w, m, v, u, x, n, z, s, d, e, fine, bad};
    });
}

// Batches that lie evenly and not, rows with gaps, factors and their transposes.
