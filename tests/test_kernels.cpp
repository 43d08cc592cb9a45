// Each kernel that a device has of its own against the CPU's: sizes that no block, warp or pack divides, tensors that
// begin between two packs, one at a time, and a gate that is closed. (On the checked devices: cuda:2, whose kernels are
// the GPU's.) Names say which file of cuda/ a case is about: tests/mutate_kernels asks it first.
#include "tests/matrices.h"
#include "tests/ways.h"

using namespace borealis;

namespace {

std::vector<Device> with_kernels() {
  std::vector<Device> devices = available_devices();
  devices.erase(devices.begin(), BOREALIS_CHECKED ? devices.end() - 1 : devices.begin() + 1);
  return devices;
}

// As the CPU. Small ones thoroughly: wherever the tensors begin, and not at all behind a closed gate; long ones in f32
// alone.
enum class How { thorough, both_types, f32 };
void check(const std::string& what, How how, const Run& f) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    if (how == How::f32 && dtype == DType::f64) continue;
    const Way here{Device{}, dtype, false};
    const Results expected = f(here);
    for (const Device device : with_kernels()) {
      Way way{device, dtype, false};
      way.closed = how == How::thorough;
      check_close(what, way, f(way), expected);
      for (int k = Way::all; how == How::thorough && k < static_cast<int>(here.made->size()); ++k) {
        Way other{device, dtype, false};
        other.shifted = k;
        check_close(what, other, f(other), expected);
      }
    }
  }
}
How thorough_if(bool small) { return small ? How::thorough : How::both_types; }

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
      for (const bool bad : {false, true})
        for (const Device device : with_kernels()) {
          Tensor x = Tensor::full({mid, inner}, -infinity), y({inner}, DType::f32, device),
                 index({inner}, DType::i32, device);
          for (const int64_t m : {mid / 2, mid - 1})
            for (int64_t j = 0; j < inner; ++j)
              x.data<float>()[m * inner + j] = bad ? static_cast<float>(not_a_number) : 2;
          for (const bool empty_handed : {false, true}) {
            if (empty_handed) x = Tensor::full({mid, inner}, -infinity);
            backend(device).max(y, index, x.to(device), 1, mid, inner);
            const float top = y.to(Device{}).data<float>()[0];
            INFO("max of ", mid, " by ", inner);
            CHECK((empty_handed ? top == -infinity : bad ? top != top : top == 2));
            CHECK(index.to(Device{}).data<int32_t>()[inner - 1] == (empty_handed ? 0 : mid / 2));
          }
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

TEST_CASE("kernels of rotary.cu: rotary") {
  for (const auto& [heads, dim] : {std::pair<int64_t, int64_t>{3, 8}, {1, 70}, {2, 64}, {9, 16}})
    for (const bool norms : {false, true})
      for (const bool turns : {false, true})
        for (const double beta : {0.0, 0.5}) {
          if (!norms && !turns) continue;
          check("rotary", thorough_if(dim == 8), [=, heads = heads, dim = dim](const Way& way) {
            const RotaryArgs args{.t = 5, .heads = heads, .dim = dim, .offset = 2, .eps = 1e-5};
            const int64_t rows = 2 * args.t, cols = heads * dim;
            const Tensor cos = turns ? way.normal({args.t + 2, dim / 2}, 3) : Tensor(),
                         sin = turns ? way.normal({args.t + 2, dim / 2}, 4) : Tensor(),
                         rstd = norms ? way.fresh({rows, heads}) : Tensor();
            const Tensor x = way.normal({rows, cols}), y = way.fresh({rows, cols}), dy = way.normal({rows, cols}, 5),
                         dx = way.old({rows, cols}, beta);
            OWN(rotary, Matrix(y), rstd, Matrix(x), cos, sin, args);
            OWN(rotary_grad, Matrix(dx), Matrix(dy), norms ? Matrix(x).view() : MatrixView{}, rstd, cos, sin, args,
                beta);
            return norms ? Results{y, dx, rstd} : Results{y, dx};
          });
        }
}

TEST_CASE("kernels of attention.cu: attention") {
  struct Case {
    int64_t tq, tk, heads, dim, gap;
    double dropout, beta;
    How how;
  };
  for (const Case& c : {Case{5, 9, 1, 8, 0, 0, 0.5, How::thorough},
                        {5, 9, 1, 8, 1, 0, 0.5, How::both_types},
                        {5, 9, 2, 3, 0, 0.25, 0, How::both_types},
                        {66, 70, 1, 12, 0, 0.25, 0, How::both_types},
                        {33, 35, 2, 36, 0, 0, 0.5, How::both_types},
                        {3, 66, 1, 72, 0, 0.25, 0, How::both_types},
                        {64, 64, 1, 16, 0, 0, 0, How::both_types},
                        {0, 3, 2, 4, 0, 0, 0, How::both_types}})
    check("attention of " + std::to_string(c.tq), c.how, [=](const Way& way) {
      const AttentionArgs args{.scale = 0.3, .offset = c.tk - c.tq, .dropout = {c.dropout, Rng(7).next_stream()}};
      const int64_t width = c.heads * c.dim + c.gap;
      const Shape of_q{1, c.tq, width}, of_k{1, c.tk, width};
      const auto split = [&](const Tensor& t) { return heads(t, 0, c.heads, c.dim); };
      const Tensor q = way.normal(of_q, 1), k = way.normal(of_k, 2), v = way.normal(of_k, 3), dy = way.normal(of_q, 4);
      const Tensor y = c.gap ? way.normal(of_q, 5) : way.fresh(of_q), lse = way.fresh({1, c.heads, c.tq});
      const Tensor dq = way.old(of_q, c.beta), dk = way.old(of_k, c.beta), dv = way.old(of_k, c.beta);
      OWN(attention, split(y), lse, split(q), split(k), split(v), args);
      OWN(attention_grad, split(dq), split(dk), split(dv), c.beta, split(q), split(k), split(v), split(y), split(dy),
          lse, args);
      return Results{y, lse, dq, dk, dv};
    });
}

TEST_CASE("kernels of matrix.cu: matrices, in packs and not") {
  struct Case {
    int64_t rows, cols, gap, between;  // between rows, and between matrices
    bool inner;                        // which batch dimension has both
    bool places;
  };
  for (const Case& c : {Case{5, 8, 4, 0, false, true},
                        {8, 8, 3, 0, false, false},
                        {8, 6, 2, 0, false, false},
                        {8, 8, 0, 1, false, false},
                        {8, 8, 0, 1, true, false},
                        {33, 37, 0, 0, false, false},
                        {3, 1036, 0, 0, false, false},
                        {0, 4, 0, 0, false, false},
                        {4, 0, 3, 0, false, false}})
    for (const bool turned : {false, true}) {
      if (turned && c.rows == 0) continue;
      check("matrices", thorough_if(c.places), [&, turned](const Way& way) {
        const int64_t width = c.cols + c.gap, one = c.rows * width + c.between;
        const auto lie = [&](const Tensor& t) {
          const Batch both = c.inner ? Batch{{1, 2}, {0, one}} : Batch{{2, 1}, {one, 0}};
          const Matrix m = Matrix::strided(t, 0, c.rows, c.cols, width, both);
          return turned ? m.t() : m;
        };
        const Shape all{c.rows ? 2 * one - c.gap - c.between : 0};  // nothing behind the last row
        const auto memory = [&](uint64_t seed) { return way.normal(all, seed); };
        const auto written = [&](uint64_t seed) { return c.gap + c.between == 0 ? way.fresh(all) : memory(seed); };
        const Tensor x = memory(1), y = written(2), z = memory(3), w = written(4), u = written(5),
                     squares = way.fresh({2, turned ? c.cols : c.rows}),
                     d = way.normal({2, turned ? c.cols : c.rows}, 6), factor = way.normal({2}, 7);
        OWN(row_sum_squares, squares, lie(x));
        OWN(scale_rows, lie(y), lie(x), d);
        OWN(matrix_affine, lie(z), lie(x), -0.7, 0.5);
        OWN(matrix_affine, lie(u), lie(x), -0.7, 0);
        OWN(scale_each, lie(w), lie(x), factor);
        return Results{squares, y, z, u, w};
      });
    }
  for (const int64_t n : {0, 1, 37, 300})
    for (const double relative : {0.0, 0.3})
      check("add_to_diagonal", thorough_if(n == 37), [=](const Way& way) {
        const Tensor a = way.normal({2, n, n});
        OWN(add_to_diagonal, Matrix(a), -0.25, relative);
        return Results{a};
      });
}

TEST_CASE("kernels of factor.cu: factors") {
  for (const int64_t n : {0, 1, 9, 45, 70})
    for (const bool definite : {true, false})
      check("cholesky of " + std::to_string(n), thorough_if(n == 9), [=](const Way& way) {
        const Tensor g = normal({3, n + 5, n}, way.dtype), sum({3, n, n}, way.dtype);
        if (n) gemm(Matrix(sum), Matrix(g).t(), Matrix(g), 1, 0);
        if (n) add_to_diagonal(Matrix(sum), 1);
        if (n && !definite) add_to_diagonal(Matrix(sum).at(1), -1000);
        const Tensor a = way.placed(sum), x = way.normal({3, 11, n}, 2), l = way.placed(sum);
        OWN(cholesky, Matrix(a));
        OWN(solve_lower, Matrix(x), Matrix(l));
        return Results{a, x};
      });
}

TEST_CASE("kernels of factor.cu and sums.h: how many launches") {
  for (const Device device : with_kernels()) {
    const auto launches = [device](auto f) {
      const int64_t before = backend(device).counters().launches;
      f(backend(device));
      return backend(device).counters().launches - before;
    };
    const auto zeros = [device](const Shape& shape) { return Tensor::full(shape, 0, DType::f32, device); };
    const Tensor sum = zeros({64}), none = zeros({0, 9, 9}), small = zeros({2, 64, 64}), large = zeros({2, 65, 65}),
                 empty = zeros({2, 0, 64}), x = zeros({2, 3, 64});
    CHECK(launches([&](Backend& on) { on.cholesky(Matrix(none)); }) == 0);
    CHECK(launches([&](Backend& on) { on.cholesky(Matrix(small)); }) == 1);
    // Two blocks, what one means for the other, a product, and what is left.
    CHECK(launches([&](Backend& on) { on.cholesky(Matrix(large)); }) == 5);
    CHECK(launches([&](Backend& on) { on.solve_lower(Matrix(empty), Matrix(small)); }) == 0);
    CHECK(launches([&](Backend& on) { on.solve_lower(Matrix(x), Matrix(small)); }) == 1);
    CHECK(launches([&](Backend& on) { on.sum(sum, x, 1, 6, 64, 1, 0); }) == 1);
  }
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
TEST_CASE("kernels of blas.cpp: products") {
  const int64_t M = 5, K = 7, N = 3;
  const auto lie = [](const Tensor& t, int64_t rows, int64_t cols, int64_t gap, int layout) {
    const int64_t width = cols + gap, one = rows * width;
    const Batch batches[] = {
        {}, {{2, 3}, {3 * one, one}}, {{2, 3}, {one, 2 * one}}, {{6, 1}, {one, 0}}, {{1, 6}, {0, one}}};
    return Matrix::strided(t, 0, rows, cols, width, batches[layout]);
  };
  for (const int of_c : {0, 1, 2, 3, 4})
    for (const int of_a : {0, 1, 2, 3, 4})
      for (const int of_b : {0, 1, 2, 3, 4})
        for (const int turned : {0, 1, 2, 3}) {
          const auto alike = [=](int of) { return of == 0 || of == of_c || (of_c >= 1 && of_c <= 2 && of <= 2); };
          if (!alike(of_a) || !alike(of_b)) continue;
          check("gemm of layouts " + std::to_string(100 * of_c + 10 * of_a + of_b), How::both_types,
                [=](const Way& way) {
                  const Tensor a = way.normal({6 * (M + 2) * (K + 2)}), b = way.normal({6 * (K + 1) * (N + 6)}, 2),
                               c = way.normal({6 * M * (N + 1)}, 3), fresh = way.fresh({6 * M * (N + 1)});
                  const Matrix A = turned % 2 ? lie(a, K, M, 2, of_a).t() : lie(a, M, K, 2, of_a),
                               B = turned / 2 ? lie(b, N, K, 1, of_b).t() : lie(b, K, N, 1, of_b);
                  Backend& on = backend(way.device);
                  on.gemm(lie(c, M, N, 1, of_c), A, B, -0.7, 0.5, false, Precision::exact);
                  on.gemm(lie(fresh, M, N, 1, of_c), A, B, 1, 0, false, Precision::exact);
                  return Results{c, fresh};
                });
        }
  check("gemm of one row and column", How::both_types, [](const Way& way) {
    const Tensor a = way.normal({1, 9}), b = way.normal({9, 1}, 2), c = way.fresh({1, 1}), d = way.fresh({9, 9}),
                 nothing = way.normal({3, 4}), empty = way.normal({0}),
                 wide = way.placed(Tensor::full({1, 1}, not_a_number, DType::f64));
    Backend& on = backend(way.device);
    on.gemm(Matrix(c), Matrix(a), Matrix(b), 2, 0, false, Precision::exact);
    on.gemm(Matrix(d), Matrix(b), Matrix(a), 2, 0, false, Precision::exact);
    on.gemm(Matrix(nothing), Matrix::strided(empty, 0, 3, 0, 0, {}), Matrix::strided(empty, 0, 0, 4, 4, {}), 2, 0.5,
            false, Precision::exact);
    on.gemm(Matrix(wide), Matrix(a), Matrix(b), 1, 0, false, Precision::exact);
    // A single row's stride is never used: on a device it may be anything.
    const auto row = [&](const Tensor& t, int64_t n) {
      return MatrixView{t.raw(), t.dtype(), 1, n, way.device == Device{} ? n : 2, 1};
    };
    const Tensor square = way.normal({9, 9}, 3), e = way.fresh({9}), f = way.fresh({9});
    on.gemm(row(e, 9), row(a, 9), Matrix(square), 1, 0, false, Precision::exact);
    on.gemm(MatrixView{f.raw(), f.dtype(), 9, 1, 1, 1}, Matrix(square), row(a, 9).t(), 1, 0, false, Precision::exact);
    on.gemm(Matrix(d), row(b, 9).t(), row(a, 9), 1, 1, false, Precision::exact);
    return Results{c, d, nothing, wide, e, f};
  });
}
