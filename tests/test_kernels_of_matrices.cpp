// As test_kernels.cpp, for kernels that take matrices: attention and what it does first, factors, products.
#include "tests/matrices.h"
#include "tests/ways.h"

using namespace borealis;

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
