// What the GPU's kernels move: bytes and sectors of 32 bytes against the least that their task asks for. A part of
// watched_tests, where each access of a kernel is counted. BOREALIS_TRAFFIC=FILE also writes the table of cuda/kernels.md.
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iomanip>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "cuda/checked/controls.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "engine/rng.h"

using namespace borealis;

namespace {

const Device gpu{Device::Kind::cuda, 2};

Tensor numbers(const Shape& shape) { return Rng(1).uniform(shape, 0.5, 1.5).to(gpu); }

// Numbers to be read and written, 4 bytes each. A vector that all rows share counts once a row, and a number that a warp shares
// as a sector: they come from the cache.
struct Task {
  std::string what;
  int64_t read, written;
  std::function<void(Backend&)> run;
};

constexpr int64_t rows = 64, cols = 512, n = rows * cols;
constexpr double bytes_allowed = 1.05, sectors_allowed = 1.1;

std::vector<Task> tasks() {
  const Tensor x = numbers({rows, cols}), y = numbers({rows, cols}), z = numbers({rows, cols}),
               w = numbers({rows, cols});
  const Tensor gain = numbers({cols}), bias = numbers({cols}), of_row = numbers({rows}), other = numbers({rows});
  const Tensor column = numbers({cols}), row = numbers({cols}), one = numbers({1}), two = numbers({1});
  const Tensor h = numbers({rows, 2 * cols}), dh = numbers({rows, 2 * cols});
  const Tensor record = Tensor::of<double>({3}, {0, 1, 1}).to(gpu), square = Tensor({1}, DType::f64, gpu);
  const Tensor ids = Tensor::full({rows}, 3, DType::i32, gpu), where({rows}, DType::i32, gpu),
               place({cols}, DType::i32, gpu);
  const Tensor in_heads({2, 4, 32, 128}, DType::f32, gpu), x4 = numbers({2, 32, 4, 128});
  const Tensor cos = numbers({rows, 32}), sin = numbers({rows, 32}), rstds = numbers({rows, 8});
  const auto walk = [](const Shape& a, const Shape& b) { return broadcast("traffic", a, b); };
  const Matrix X(x), Y(y);
  const RowsArgs in_rows{.rows = rows, .cols = cols};
  const NormArgs layer{.rows = rows, .cols = cols, .eps = 1e-5, .center = true};
  const RotaryArgs turn{.t = rows, .heads = 8, .dim = 64, .eps = 1e-6};
  return {
      {"fill", 0, n, [=](Backend& on) { on.fill(y, 1); }},
      {"copy", n, n, [=](Backend& on) { on.copy(y.raw(), x.raw(), n * 4); }},
      {"unary (gelu)", n, n, [=](Backend& on) { on.unary(UnaryOp::gelu_erf, y, x, 0); }},
      {"unary_grad (gelu)", 2 * n, n, [=](Backend& on) { on.unary_grad(UnaryOp::gelu_erf, y, x, z, 0, 0); }},
      {"unary_grad, beta = 1", 3 * n, n, [=](Backend& on) { on.unary_grad(UnaryOp::gelu_erf, y, x, z, 0, 1); }},
      {"affine", n, n, [=](Backend& on) { on.affine(y, x, 2, 1, 0); }},
      {"dropout", n, n, [=](Backend& on) { on.dropout(y, x, {.p = 0.5}, 0); }},
      {"binary", 2 * n, n, [=](Backend& on) { on.binary(BinaryOp::mul, y, x, z, walk(x.shape(), z.shape())); }},
      {"binary, a row with all", 2 * n, n,
       [=](Backend& on) { on.binary(BinaryOp::add, y, x, gain, walk(x.shape(), gain.shape())); }},
      {"binary_grad", 3 * n, n,
       [=](Backend& on) { on.binary_grad(BinaryOp::mul, 0, y, x, z, w, walk(x.shape(), z.shape()), 0); }},
      {"strided_copy (heads first)", n, n,
       [=](Backend& on) {
         on.strided_copy(in_heads, x4, {in_heads.shape(), in_heads.shape().strides(), {32 * 4 * 128, 128, 4 * 128, 1}},
                         0);
       }},
      {"strided_copy (transposed)", n, n,
       [=](Backend& on) {
         on.strided_copy(y, x, {{cols, rows}, {rows, 1}, {1, cols}}, 0);
       }},
      {"sum of rows", n, rows, [=](Backend& on) { on.sum(of_row, x, rows, cols, 1, 1, 0); }},
      {"sum of columns", n, cols, [=](Backend& on) { on.sum(column, x, 1, rows, cols, 1, 0); }},
      {"sum_squares", n, 0, [=](Backend& on) { on.sum_squares(square, x); }},
      {"max of rows", n, 2 * rows, [=](Backend& on) { on.max(of_row, where, x, rows, cols, 1); }},
      {"max of columns", n, 2 * cols, [=](Backend& on) { on.max(column, place, x, 1, rows, cols); }},
      {"max_grad", 16 * n / 32, n, [=](Backend& on) { on.max_grad(y, ids, of_row, rows, cols, 1, 0); }},
      {"softmax", n, n, [=](Backend& on) { on.softmax(y, x, in_rows); }},
      {"softmax_grad", 2 * n, n, [=](Backend& on) { on.softmax_grad(y, x, z, in_rows, 0); }},
      {"log_softmax", n, n, [=](Backend& on) { on.log_softmax(y, x, in_rows); }},
      {"log_softmax_grad", 2 * n, n, [=](Backend& on) { on.log_softmax_grad(y, x, z, in_rows, 0); }},
      {"logsumexp", n, rows, [=](Backend& on) { on.logsumexp(of_row, x, in_rows); }},
      {"logsumexp_grad", n, n, [=](Backend& on) { on.logsumexp_grad(y, x, of_row, other, in_rows, 0); }},
      {"norm", 3 * n, n, [=](Backend& on) { on.norm(y, {}, of_row, other, x, {}, gain, bias, layer); }},
      {"norm of a sum", 4 * n, 2 * n, [=](Backend& on) { on.norm(y, z, of_row, other, x, w, gain, bias, layer); }},
      {"norm_grad, x", 3 * n, n,
       [=](Backend& on) { on.norm_grad(y, 0, {}, 0, {}, 0, x, gain, of_row, other, z, layer); }},
      // 8 rows a block, which leaves two rows behind: here 1/6 of all, of 12288 rows and more 1/36.
      {"norm_grad, x, gain and bias", 3 * n + 2 * rows / 8 * cols, n + 2 * rows / 8 * cols + 2 * cols,
       [=](Backend& on) { on.norm_grad(y, 0, column, 0, row, 0, x, gain, of_row, other, z, layer); }},
      {"embedding", n, n, [=](Backend& on) { on.embedding(y, x, ids, cols); }},
      {"cross_entropy", n, 2 * rows, [=](Backend& on) { on.cross_entropy(one, of_row, two, x, ids, cols, -1, 0); }},
      {"cross_entropy_grad", n, n,
       [=](Backend& on) { on.cross_entropy_grad(y, x, ids, of_row, one, two, cols, -1, 0, 0); }},
      {"rotary", n + 2 * rows * 8 * 32, n, [=](Backend& on) { on.rotary(Y, {}, X, cos, sin, turn); }},
      {"rotary after a norm", n + 2 * rows * 8 * 32, n + 8 * rows,
       [=](Backend& on) { on.rotary(Y, rstds, X, cos, sin, turn); }},
      {"rotary_grad after a norm", 2 * n + 2 * rows * 8 * 32 + 8 * rows, n,
       [=](Backend& on) { on.rotary_grad(Y, Matrix(z), X, rstds, cos, sin, turn, 0); }},
      {"bias_unary (gelu)", 2 * n, n, [=](Backend& on) { on.bias_unary(UnaryOp::gelu_erf, y, x, bias, 0); }},
      {"bias_unary_grad (gelu)", 3 * n, n + cols,
       [=](Backend& on) { on.bias_unary_grad(UnaryOp::gelu_erf, y, 0, column, 0, x, bias, z, 0); }},
      {"swiglu_grad", 3 * n, 2 * n, [=](Backend& on) { on.swiglu_grad(dh, h, x, cols, 0); }},
      {"row_sum_squares", n, rows, [=](Backend& on) { on.row_sum_squares(of_row, X); }},
      {"row_sum_squares of a transpose", n, cols, [=](Backend& on) { on.row_sum_squares(column, X.t()); }},
      {"scale_rows", n, n, [=](Backend& on) { on.scale_rows(Y, X, of_row); }},
      {"scale_rows of a transpose", 2 * n, n, [=](Backend& on) { on.scale_rows(Y.t(), X.t(), column); }},
      {"matrix_affine", n, n, [=](Backend& on) { on.matrix_affine(Y, X, 2, 0); }},
      {"scale_each", n, n, [=](Backend& on) { on.scale_each(Y, X, one); }},
      {"adamw", 4 * n, 3 * n,
       [=](Backend& on) {
         on.adamw(x, y, z, w, {1e-3, 0.9, 0.99, 1e-8, 0.1}, record);
       }},
      {"descend", 2 * n, n, [=](Backend& on) { on.descend(x, y, 0.1, 1, 0.1, record); }},
      {"momentum", 2 * n, 2 * n, [=](Backend& on) { on.momentum(x, y, z, 0.9, 1, true); }},
      {"second_moment", 3 * n, 2 * n, [=](Backend& on) { on.second_moment(x, y, z, 0.9, 1e-8); }},
  };
}

}  // namespace

TEST_CASE("kernels: bytes and sectors against the least") {
  std::ofstream table;
  if (const char* file = std::getenv("BOREALIS_TRAFFIC")) table.open(file);
  Backend& on = backend(gpu);
  for (const Task& task : tasks()) {
    stand_in::traffic.clear();
    task.run(on);
    on.synchronize();
    stand_in::Traffic sum;
    for (const auto& [name, t] : stand_in::traffic) {
      sum.launches += t.launches, sum.read += t.read, sum.written += t.written;
      sum.read_sectors += t.read_sectors, sum.written_sectors += t.written_sectors, sum.conflicts += t.conflicts;
      sum.widest_read = std::max(sum.widest_read, t.widest_read),
      sum.widest_write = std::max(sum.widest_write, t.widest_write);
    }
    const double least = static_cast<double>(4 * (task.read + task.written));
    const double bytes = static_cast<double>(sum.read + sum.written) / least;
    const double sectors = static_cast<double>(32 * (sum.read_sectors + sum.written_sectors)) / least;
    INFO(task.what, ": ", sum.read, " + ", sum.written, " bytes, ", sum.read_sectors, " + ", sum.written_sectors,
         " sectors");
    CHECK(bytes <= bytes_allowed);
    CHECK(sectors <= sectors_allowed);
    CHECK(sum.conflicts == 0);
    if (table)
      table << "| " << task.what << " | " << sum.launches << " | " << sum.widest_read << " / " << sum.widest_write
            << " | " << std::fixed << std::setprecision(2) << bytes << " | " << sectors << " | " << sum.conflicts
            << " |\n";
  }
}
