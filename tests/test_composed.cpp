// What engine/composed.cpp spells out against the kernels: the CPU's own in every build, and each
// further device's where there is one.
#include <cmath>

#include <doctest/doctest.h>

#include "tests/ways.h"

using namespace borealis;

TEST_CASE("composed: sums of squares, and what is made of them") {
  for (const double size : {1.0, 1e30})
    for (const int64_t count : {0, 1, 70000})
      compare("sum_squares", [=](const Way& way) {
        const Tensor y = Tensor::full({1}, not_a_number, DType::f64, way.device);
        CALL(sum_squares, y, affine(way.normal({count}), size, 0));
        return Results{y};
      });
  struct Norm {
    double scale, eps, floor;
  };
  for (const Norm n : {Norm{1, 0, 0}, {0.4, 1e-6, 0.3}, {2, 0.1, 0}, {1, 0, 0.7}, {0.5, 0.25, 100}})
    for (const double size : {1.0, 1e-12})
      compare("inverse_norm", [=](const Way& way) {
        const Tensor squares = affine(way.of({0, 0.25, 4, 1, not_a_number, infinity, 0.01}), size, 0),
                     d = squares.like();
        CALL(inverse_norm, d, squares, n.scale, n.eps, n.floor);
        return Results{d};
      });
  for (const double beta : {0.5, 1.0})
    compare("rebalance", [=](const Way& way) {
      const Tensor d = way.positive({6});
      CALL(rebalance, d, way.of({0, 0.25, 4, 1, not_a_number, 0.01}), 0.5, beta, 0.1);
      return Results{d};
    });
}

TEST_CASE("composed: softmax's relatives, what is not seen, and rows of −∞") {
  const RowsArgs plain{.rows = 6, .cols = 5}, causal{.rows = 6, .cols = 5, .causal_rows = 3, .causal_offset = 1},
      short_keys{.rows = 6, .cols = 5, .causal_rows = 3, .causal_offset = -1}, empty{.rows = 3, .cols = 0},
      none{.rows = 0, .cols = 4};
  for (const RowsArgs& args : {plain, causal, short_keys, empty, none})
    for (const double beta : {0.0, 0.5})
      compare("rows, offset " + std::to_string(args.causal_offset), [&, beta](const Way& way) {
        const Shape shape{args.rows, args.cols};
        // What a row does not see is NaN, and must not matter; the second row is −∞.
        const auto seen = [&](const Tensor& t) {
          const Tensor host = t.to(Device{}).to(DType::f64).clone();
          for (int64_t r = 0; r < args.rows; ++r)
            for (int64_t j = 0; j < args.cols; ++j)
              if (args.causal_rows && j > r % args.causal_rows + args.causal_offset)
                host.data<double>()[r * args.cols + j] = not_a_number;
          return host.to(way.dtype).to(way.device);
        };
        Tensor x = way.normal(shape);
        if (x.numel()) x.rows(1, 1).fill(-infinity);
        x = seen(x);
        const Tensor y = way.fresh(shape), lse = way.fresh({args.rows}), dy = seen(way.normal(shape, 2));
        const Tensor dx = way.old(shape, beta), dz = way.old(shape, beta);
        CALL(log_softmax, y, x, args);
        CALL(log_softmax_grad, dx, y, dy, args, beta);
        backend(way.device).logsumexp(lse, x, args);
        CALL(logsumexp_grad, dz, x, lse, way.normal({args.rows}, 4), args, beta);
        return Results{y, dx, dz};
      });
}

TEST_CASE("composed: functions behind a bias, and SwiGLU's gradient") {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {70, 3}, {3, 130}, {0, 4}, {3, 0}})
    for (const double beta : {0.0, 0.5}) {
      for (const UnaryOp op : {UnaryOp::gelu_erf, UnaryOp::relu_squared, UnaryOp::soft_cap})
        compare("bias_unary", [=, rows = rows, cols = cols](const Way& way) {
          const Shape shape{rows, cols}, vector{cols};
          const auto old = [&](const Shape& s) { return beta == 0 ? way.fresh(s) : way.normal(s, 5); };
          const Tensor x = way.normal(shape), bias = way.normal(vector, 2), dy = way.normal(shape, 3);
          const Tensor y = way.fresh(shape), dx = old(shape), dbias = old(vector), alone = old(shape),
                       vector_alone = old(vector);
          CALL(bias_unary, op, y, x, bias, 1.5);
          CALL(bias_unary_grad, op, dx, beta, dbias, beta, x, bias, dy, 1.5);
          CALL(bias_unary_grad, op, alone, beta, {}, 0, x, bias, dy, 1.5);
          CALL(bias_unary_grad, op, {}, 0, vector_alone, beta, x, bias, dy, 1.5);
          return Results{y, dx, dbias, alone, vector_alone};
        });
      if (cols == 0) continue;
      compare("swiglu_grad", [=, rows = rows, cols = cols](const Way& way) {
        const Shape both{rows, 2 * cols};
        const Tensor dh = beta == 0 ? way.fresh(both) : way.normal(both, 3);
        CALL(swiglu_grad, dh, way.normal(both), way.normal({rows, cols}, 2), cols, beta);
        return Results{dh};
      });
    }
}

TEST_CASE("composed: norms") {
  for (const bool center : {false, true})
    for (const bool scaled : {false, true})
      for (const double beta : {0.0, -0.5})
        for (const NormArgs& args : {NormArgs{3, 17, 1e-5, center}, {70, 3, 0.5, center}, {0, 4, 1e-5, center}})
          compare(center ? "layer norm" : "RMS norm", [=](const Way& way) {
            const Shape shape{args.rows, args.cols}, vector{args.cols};
            const Tensor x = way.normal(shape), y = way.fresh(shape), mean = center ? way.fresh({args.rows}) : Tensor(),
                         rstd = way.fresh({args.rows}), gain = scaled ? way.normal(vector, 2) : Tensor(),
                         bias = scaled ? way.normal(vector, 3) : Tensor(), dy = way.normal(shape, 4);
            const auto old = [&](const Shape& s) { return beta == 0 ? way.fresh(s) : way.normal(s, 5); };
            const Tensor branch = way.normal(shape, 6), s = way.fresh(shape), of_sum = way.fresh(shape);
            CALL(norm, of_sum, s, mean, rstd, x, branch, gain, bias, args);
            const Tensor dx = old(shape), dgain = old(vector), dbias = old(vector), alone = old(shape),
                         vector_alone = old(vector);
            CALL(norm, y, {}, mean, rstd, x, {}, gain, bias, args);
            CALL(norm_grad, dx, beta, dgain, beta, dbias, beta, x, gain, mean, rstd, dy, args);
            CALL(norm_grad, alone, beta, {}, 0, {}, 0, x, gain, mean, rstd, dy, args);
            CALL(norm_grad, {}, 0, vector_alone, beta, {}, 0, x, gain, mean, rstd, dy, args);
            Results all{y, s, of_sum, rstd, dx, dgain, dbias, alone, vector_alone};
            if (center) all.push_back(mean);
            return all;
          });
}

TEST_CASE("composed: cross-entropy, whatever the targets and the logits") {
  struct Loss {
    std::string what;
    std::vector<int32_t> targets;
    int64_t ignored;
  };
  constexpr int32_t largest = std::numeric_limits<int32_t>::max(), smallest = std::numeric_limits<int32_t>::min();
  constexpr int64_t no_id = std::numeric_limits<int64_t>::min();
  for (const Loss& loss : {Loss{"all count", {0, 4, 2, 2, 1}, -1},
                           {"some count", {-1, 4, 2, -1, 1}, -1},
                           {"none counts", {3, 3, 3, 3, 3}, 3},
                           {"far away", {largest, 1, 2, 3, largest}, largest},
                           {"far below", {smallest, 1, 2, 3, 4}, smallest},
                           {"beside the ignored", {1, 2, 3, 4, largest - 1}, largest},
                           {"too large", {0, 5, 1, 2, 3}, -1},
                           {"negative", {0, -1, 1, 2, 3}, -100},
                           {"nothing ignored", {0, 1, 1, 2, 3}, no_id},
                           {"no rows", {}, -1}})
    for (const double special : {0.0, -infinity, not_a_number})
      for (const double beta : {0.0, 0.5})
        for (const double cap : {0.0, 1.5})
          compare("cross_entropy, " + loss.what, [&, special, beta, cap](const Way& way) {
            const auto rows = static_cast<int64_t>(loss.targets.size());
            const Tensor logits = way.normal({rows, 5}), targets = way.ids(loss.targets);
            if (rows && special != 0) logits.flat_view(3, {1}).fill(special);
            const Tensor y = way.fresh({1}), lse = way.fresh({rows}), count = way.fresh({1});
            const Tensor dx = beta == 0 ? way.fresh({rows, 5}) : way.normal({rows, 5}, 2);
            CALL(cross_entropy, y, lse, count, logits, targets, 5, loss.ignored, cap);
            CALL(cross_entropy_grad, dx, logits, targets, lse, count, way.of({-0.7}), 5, loss.ignored, cap, beta);
            return Results{y, lse, count, dx};
          });
}

TEST_CASE("composed: rotary and attention") {
  struct Turn {
    int64_t outer;
    RotaryArgs args;
  };
  for (const auto& [outer, args] : {Turn{2, {.t = 5, .heads = 3, .dim = 8, .offset = 2}},
                                    {1, {.t = 1, .heads = 1, .dim = 4, .eps = 0.1}},
                                    {3, {.t = 2, .heads = 2, .dim = 70}},
                                    {0, {.t = 3, .heads = 2, .dim = 4}}})
    for (const bool norms : {false, true})
      for (const bool turns : {false, true})
        for (const double beta : {0.0, 0.5}) {
          if (!norms && !turns) continue;
          compare("rotary", [=, outer = outer, args = args](const Way& way) {
            const int64_t rows = outer * args.t, cols = args.heads * args.dim, width = cols + 3;
            const Shape table{args.t + args.offset + 1, args.dim / 2};
            const Tensor cos = turns ? way.normal(table, 3) : Tensor(), sin = turns ? way.normal(table, 4) : Tensor();
            const Tensor rstd = norms ? way.fresh({rows, args.heads}) : Tensor();
            // Rows with a gap behind them, and packed ones.
            const auto wide = [&](const Tensor& t) { return Matrix::strided(t, 0, rows, cols, width); };
            const Tensor x = way.normal({rows, width}), y = way.normal({rows, cols}, 2),
                         dy = way.normal({rows, cols}, 5);
            const Tensor dx = way.normal({rows, width}, 6), both = way.normal({rows, width}, 7);
            CALL(rotary, Matrix(y), rstd, wide(x), cos, sin, args);
            CALL(rotary_grad, wide(dx), Matrix(dy), norms ? wide(x).view() : MatrixView{}, rstd, cos, sin, args, beta);
            CALL(rotary_grad, wide(both), wide(both), wide(x), rstd, cos, sin, args, 0);
            return norms ? Results{y, dx, both, rstd} : Results{y, dx, both};
          });
        }

  struct Sizes {
    int64_t B, tq, tk, heads, dim;
  };
  for (const Sizes& s : {Sizes{2, 5, 5, 3, 4},
                         {1, 3, 7, 2, 5},
                         {2, 70, 70, 1, 16},
                         {2, 0, 3, 2, 4},
                         {1, 65, 130, 2, 64},
                         {1, 64, 67, 1, 128},
                         {1, 3, 5, 1, 130}})
    for (const double dropout : {0.0, 0.25})
      for (const double beta : {0.0, 0.5})
        compare("attention", [=](const Way& way) {
          const AttentionArgs args{.scale = 0.3, .offset = s.tk - s.tq, .dropout = {dropout, Rng(7).next_stream()}};
          const Shape of_q{s.B, s.tq, s.heads * s.dim}, of_k{s.B, s.tk, s.heads * s.dim};
          const auto split = [&](const Tensor& t) { return heads(t, 0, s.heads, s.dim); };
          const auto old = [&](const Shape& shape) { return beta == 0 ? way.fresh(shape) : way.normal(shape, 6); };
          const Tensor q = way.normal(of_q, 1), k = way.normal(of_k, 2), v = way.normal(of_k, 3),
                       dy = way.normal(of_q, 4);
          const Tensor y = way.fresh(of_q), lse = way.fresh({s.B, s.heads, s.tq});
          const Tensor dq = old(of_q), dk = old(of_k), dv = old(of_k);
          CALL(attention, split(y), lse, split(q), split(k), split(v), args);
          CALL(attention_grad, split(dq), split(dk), split(dv), beta, split(q), split(k), split(v), split(y), split(dy),
               lse, args);
          return Results{y, lse, dq, dk, dv};
        });
}

// The last device is one with kernels of its own, if there is one: the CPU's take it that each query sees a key.
TEST_CASE("composed: queries that see no key, on a device") {
  const Device device = available_devices().back();
  if (device == Device{}) {
    MESSAGE("skipped: no further device in this build or machine");
    return;
  }
  for (const DType dtype : {DType::f32, DType::f64})
    for (const double dropout : {0.0, 0.25}) {
      const auto f = [&](const Way& way) {
        const AttentionArgs args{.scale = 0.3, .offset = -68, .dropout = {dropout, Rng(7).next_stream()}};
        const Tensor q = way.normal({2, 70, 8}), k = way.normal({2, 5, 8}, 2), v = way.normal({2, 5, 8}, 3),
                     dy = way.normal({2, 70, 8}, 4);
        const Tensor y = way.fresh({2, 70, 8}), lse = way.fresh({2, 70});
        const Tensor dq = way.fresh({2, 70, 8}), dk = way.fresh({2, 5, 8}), dv = way.fresh({2, 5, 8});
        const auto m = [](const Tensor& t) { return Matrix(t); };
        CALL(attention, m(y), lse, m(q), m(k), m(v), args);
        CALL(attention_grad, m(dq), m(dk), m(dv), 0, m(q), m(k), m(v), m(y), m(dy), lse, args);
        return Results{y, lse, dq, dk, dv};
      };
      const Results got = f({device, dtype, false}), expected = f({device, dtype, true});
      CHECK(std::isinf(got[1].to_vector<double>()[0]));
      CHECK(got[0].to_vector<double>()[0] == 0);
      for (size_t i = 0; i < got.size(); ++i) {
        INFO("result ", i, " in ", dtype == DType::f32 ? "f32" : "f64");
        CHECK(difference(got[i], expected[i]).share <= (dtype == DType::f32 ? 2e-5 : 1e-12));
      }
    }
}

TEST_CASE("composed: matrices, however they lie") {
  for (const double beta : {0.0, 0.5})
    compare_pairs("matrix_affine",
                  [beta](const Way& way, const Matrix& y, const Matrix& x) { CALL(matrix_affine, y, x, -0.7, beta); });
  compare_pairs("scale_rows", [](const Way& way, const Matrix& y, const Matrix& x) {
    CALL(scale_rows, y, x, way.normal({6, x.rows()}, 3));
  });
  compare_pairs("scale_each",
                [](const Way& way, const Matrix& y, const Matrix& x) { CALL(scale_each, y, x, way.normal({6}, 3)); });
  for (size_t kind = 0; kind < input_kinds; ++kind)
    compare("row_sum_squares", [kind](const Way& way) {
      const View x = inputs(way, 35, 70, 2)[kind];
      const Tensor r = way.fresh({6, 35});
      CALL(row_sum_squares, r, x.m);
      return Results{r};
    });
  for (size_t kind = 0; kind < output_kinds; ++kind)
    for (const double relative : {0.0, 0.3})
      for (const int64_t n : {1, 5, 0})
        compare("add_to_diagonal", [=](const Way& way) {
          const View a = outputs(way, n, n, 2)[kind];
          CALL(add_to_diagonal, a.m, -0.25, relative);
          return Results{a.base};
        });
}

TEST_CASE("composed: factors and leverage scores") {
  for (size_t kind = 0; kind < output_kinds; ++kind)
    for (const int64_t n : {1, 6, 64, 131}) {
      compare("cholesky", [=](const Way& way) {
        const View a = outputs(way, n, n, 1)[kind];
        axpby(a.m, 1, definite(way, n), 0);
        add_to_diagonal(a.m.at(4), -1000);  // this one fails at once, a larger one on the way too
        if (n >= 64) add_to_diagonal(a.m.at(2), -0.5 * static_cast<double>(n));
        CALL(cholesky, a.m);
        return Results{a.base};
      });
      compare("solve_lower", [=](const Way& way) {
        const Matrix L = definite(way, n);
        backend(way.device).cholesky(L);
        const View x = outputs(way, 9, n, 2)[kind], l = outputs(way, n, n, 1)[3 - kind];
        axpby(l.m, 1, L, 0);
        CALL(solve_lower, x.m, l.m);
        return Results{x.base};
      });
      compare("leverage_scores", [=](const Way& way) {
        const View z = outputs(way, 9, n, 2)[kind];
        axpby(z.m.at(3), 0, z.m.at(2), 0);
        const Tensor h = way.fresh({6, 9});
        CALL(leverage_scores, h, z.m, 1e-2);
        return Results{h};
      });
    }
  for (size_t y = 0; y < output_kinds; ++y)
    for (size_t x = 0; x < input_kinds; ++x)
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{7, 3}, {3, 7}, {0, 4}})
        compare("polar_svd", [=, rows = rows, cols = cols](const Way& way) {
          const View u = outputs(way, rows, cols, 1)[y], in = inputs(way, rows, cols, 2)[x];
          CALL(polar_svd, u.m, in.m);
          return Results{u.base};
        });
}

TEST_CASE("composed: the leverage scores of a batch are its polar factors' row lengths, and a ridge takes its part") {
  const Tensor z = normal({3, 40, 6}, DType::f64), u = z.like(), h({3, 40}, DType::f64);
  backend(z.device()).polar_svd(Matrix(u), Matrix(z));
  const Tensor lengths = row_sum_squares(u);
  backend(z.device()).leverage_scores(h, Matrix(z), 0);
  CHECK(relative_error(h, lengths) < 1e-13);
  backend(z.device()).leverage_scores(h, Matrix(affine(u, 3, 0)), 0.25);  // its Gram matrix is 9 I, and ρ = 9/4
  CHECK(relative_error(h, affine(lengths, 0.8, 0)) < 1e-13);
}

TEST_CASE("composed: the parts of optimizers") {
  for (const double decay : {0.0, 0.1})
    for (const double step : {1, 7})
      compare("adamw", [=](const Way& way) {
        const Tensor w = way.normal({300}), m = way.normal({300}, 2), v = way.positive({300}, 3);
        CALL(adamw, w, m, v, way.normal({300}, 4),
             {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-3, .weight_decay = decay}, way.record(0, step, 0.5));
        return Results{w, m, v};
      });
  for (const double decay : {0.0, 0.1})
    compare("descend", [=](const Way& way) {
      const Tensor w = way.normal({300});
      CALL(descend, w, way.normal({300}, 2), 0.2, 3, decay, way.record(0, 7, 0.5));
      return Results{w};
    });
  for (const double stopped : {0.0, 2.0})
    for (const double number : {1.0, 0.0, -1e30, infinity, -infinity, not_a_number})
      compare("stop_unless_finite", [=](const Way& way) {
        const Tensor record = way.record(stopped, 7, 0.5);
        CALL(stop_unless_finite, record, way.of({number}));
        CHECK(record.rows(0, 1).item() == (stopped > 0 ? stopped : std::isfinite(number) ? 0 : 8));
        return Results{record};
      });
  for (const bool nesterov : {false, true})
    for (const double mu : {0.0, 0.9})
      compare("momentum", [=](const Way& way) {
        const Tensor x = way.fresh({300}), m = way.normal({300}, 2);
        CALL(momentum, x, m, way.normal({300}, 4), mu, 0.3, nesterov);
        return Results{x, m};
      });
  for (const bool one : {false, true})
    for (const double eps : {0.0, 1e-2})
      compare("second_moment", [=](const Way& way) {
        const Tensor v = way.of({0, 0, 1, 2, 3}), g = way.of({0, -1, 0, 2, 3}), x = one ? g : way.normal({5});
        CALL(second_moment, x, v, g, 0.9, eps);
        return Results{x, v};
      });
}
