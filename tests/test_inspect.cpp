// inspect as a person meets it: on files with known faults, on a checkpoint, on wrong input.
#include <limits>

#include "engine/safetensors.h"
#include "tests/matrices.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

// [rows, cols], all rows of length 1.
Tensor even(int64_t rows, int64_t cols) {
  const Tensor X = Tensor::zeros({rows, cols});
  for (int64_t i = 0; i < rows; ++i) X.data<float>()[i * cols + i % cols] = 1;
  return X;
}

// The line that begins with this name.
std::string line_of(const Outcome& o, const std::string& name) {
  const size_t begin = ("\n" + o.text).find("\n" + name + " ");
  if (begin == std::string::npos) return "";
  return o.text.substr(begin, o.text.find('\n', begin) - begin);
}

bool has(const std::string& line, const std::string& part) {
  INFO(line);
  return line.find(part) != std::string::npos;
}

// A file whose layers 2 and 10 have weak rows.
std::string sick_file(const Folder& f) {
  TensorFile file;
  const Tensor weak = even(100, 20), zero = even(8, 4), bad = even(3, 3);
  for (int64_t i = 0; i < 10; ++i) weak.rows(i, 1).fill(0);
  for (int64_t i = 4; i < 10; ++i) weak.data<float>()[i * 20] = i < 7 ? .07f : .2f;
  zero.fill(0);
  bad.data<float>()[4] = std::numeric_limits<float>::quiet_NaN();
  file.tensors = {{"transformer.h.10.mlp.c_fc.weight", weak},
                  {"transformer.h.2.mlp.c_fc.weight", even(30, 10)},
                  {"transformer.h.2.attn.c_attn.weight", even(12, 4)},
                  {"zero", zero},
                  {"bad", bad},
                  {"bias", Tensor::zeros({10})},
                  {"ids", Tensor::zeros({4, 4}, DType::i32)},
                  {"optimizer/x/momentum", even(4, 4)}};
  write_safetensors(f / "sick", file);
  return f / "sick";
}

}  // namespace

TEST_CASE("inspect: counts weak rows, matrix by matrix") {
  const Folder f;
  const Outcome o = run("inspect " + sick_file(f));
  INFO(o.text);
  CHECK(o.status == 0);

  // 4 rows of 0, 3 of .07, 3 of .2, 90 of 1: the mean is .9081, the deviation .2770.
  const std::string weak = line_of(o, "h.10.mlp.c_fc");
  CHECK(has(weak, "100x20"));
  CHECK(has(weak, "│▁▁       █       │ 0.00 1.10 1.10 1.10  1.10  0.30 "));
  CHECK(has(weak, "    4    7   10    4  █ "));
  CHECK(has(line_of(o, "h.2.mlp.c_fc"),
            "30x10  │        █        │ 1.00 1.00 1.00 1.00  1.00  0.00     ·    ·    ·    ·  █ 10/10"));
  for (const std::string block : {"q", "k", "v"}) CHECK(has(line_of(o, "h.2.attn.c_attn[" + block + "]"), " 4x4 "));
  CHECK(has(line_of(o, "zero"), "all zero"));
  CHECK(has(line_of(o, "bad"), "holds NaN or infinity"));
  for (const std::string absent : {"bias", "ids", "optimizer/x/momentum"}) CHECK(line_of(o, absent).empty());
  CHECK(o.text.find("h.2.") < o.text.find("h.10."));

  CHECK(o.says("142 rows in 7 matrices; all zero: 1; with NaN or infinity: 1."));
  CHECK(o.says("4 below .05, 7 below .1, 10 below .25, 4 zero."));
  CHECK(o.says("Most in h.10.mlp.c_fc, 10 of 100 below .25."));
  CHECK(o.says("Weakest: row 0 of h.10.mlp.c_fc, 0 of the mean."));
}

TEST_CASE("inspect: numbers whose squares leave the range") {
  const Folder f;
  TensorFile file;
  for (const auto& [name, scale] : {std::pair{"large", 1e200}, std::pair{"small", 1e-200}}) {
    Tensor X = even(30, 10).to(DType::f64);
    for (int64_t i = 0; i < X.numel(); ++i) X.data<double>()[i] *= scale;
    file.tensors[name] = X;
  }
  write_safetensors(f / "odd", file);
  const Outcome o = run("inspect " + (f / "odd"));
  INFO(o.text);
  for (const std::string name : {"large", "small"})
    CHECK(has(line_of(o, name), "│        █        │ 1.00 1.00 1.00 1.00  1.00  0.00     ·    ·    ·    ·  █ 10/10"));
}

TEST_CASE("inspect: options") {
  const Folder f;
  const std::string file = sick_file(f);
  CHECK(!line_of(run("inspect --all " + file), "optimizer/x/momentum").empty());
  const Outcome one = run("inspect --only h.10 --threshold 0.5,0.01 --max-side 19 " + file);
  INFO(one.text);
  CHECK(has(line_of(one, "matrix"), "<.01  <.5   =0"));
  CHECK(has(line_of(one, "h.10.mlp.c_fc"), "    4   10    4    -/20"));
  CHECK(one.says("100 rows in 1 matrix."));

  const Outcome columns = run("inspect --columns --only mlp " + file);
  CHECK(has(line_of(columns, "h.10.mlp.c_fc"), "20x100"));
  CHECK(columns.says("30 columns in 2 matrices."));
}

TEST_CASE("inspect: weights stored as [in, out]") {
  const Folder f;
  TensorFile file;
  file.tensors = {{"h.0.attn.c_attn.weight", packed(Matrix(even(12, 4)).t())}};
  write_safetensors(f / "gpt2", file);
  CHECK(run("inspect " + (f / "gpt2")).says("h.0.attn.c_attn is wider than tall"));
  const Outcome o = run("inspect --columns " + (f / "gpt2"));
  INFO(o.text);
  CHECK(!o.says("wider than tall"));
  CHECK(has(line_of(o, "h.0.attn.c_attn[v]"), " 4x4 "));
}

TEST_CASE("inspect: names what it skips, and shows no control characters") {
  const Folder f;
  TensorFile file;
  file.tensors = {{"w\x1b[2J", even(4, 4)},
                  {"ids\x07", Tensor::zeros({4}, DType::i32)},
                  {"cube", Tensor::zeros({2, 3, 4})},
                  {"vector", Tensor::zeros({3})},
                  {"optimizer/cube", Tensor::zeros({2, 3, 4})}};
  write_safetensors(f / "odd", file);
  const Outcome o = run("inspect " + (f / "odd"));
  INFO(o.text);
  CHECK(o.status == 0);
  CHECK(!line_of(o, "w\\x1b[2J").empty());
  CHECK(o.says("\nSkipped: cube f32[2, 3, 4], ids\\x07 i32[4]\n"));
  CHECK(o.text.find('\x1b') == std::string::npos);
  for (const std::string command : {"inspect ", "sample_gpt --checkpoint ", "train_gpt --data "}) {
    const Outcome gone = run(command + "'" + (f / "gone\x1b[2J\tx'"));
    INFO(gone.text);
    CHECK(gone.says("gone\\x1b[2J\\x09x"));
    CHECK(gone.text.find('\x1b') == std::string::npos);
    CHECK(gone.lines() == 1);
  }

  for (int i = 0; i < 12; ++i) file.tensors[std::to_string(i)] = Tensor::zeros({1, 1, 1});
  write_safetensors(f / "odd", file);
  CHECK(run("inspect " + (f / "odd")).says(", 7 f32[1, 1, 1] and 4 more\n"));
  CHECK(!run("inspect --only w " + (f / "odd")).says("Skipped"));
}

TEST_CASE("inspect: reads a checkpoint of train_gpt") {
  const Folder f;
  std::string text;
  for (int i = 0; i < 400; ++i) text += "line " + std::to_string(i * i % 97) + " of many lines\n";
  write(f / "text", text);
  REQUIRE(run("train_gpt --n_layer 1 --n_head 2 --n_embd 16 --block_size 8 --batch_size 4 "
              "--optimizer muon --max_iters 2 --eval_iters 1 --data " +
              (f / "text") + " --out_dir " + (f / "out"))
              .status == 0);
  const Outcome o = run("inspect " + (f / "out/ckpt.safetensors"));
  INFO(o.text);
  CHECK(o.status == 0);
  for (const std::string name : {"h.0.attn.c_attn[q]", "h.0.attn.c_proj", "h.0.mlp.c_fc", "wte"})
    CHECK(!line_of(o, name).empty());
  CHECK(!o.says("optimizer/"));
}

TEST_CASE("inspect: wrong input gets one clear sentence") {
  const Folder f;
  const std::string good = sick_file(f);
  write(f / "text", "this is no safetensors file");
  write_safetensors(f / "vectors", {.metadata = {}, .tensors = {{"x", Tensor::zeros({3})}}});
  const auto refuses = [](const std::string& flags, const std::string& expected) {
    const Outcome o = run("inspect " + flags);
    INFO(o.text);
    CHECK(o.status == 1);
    CHECK(o.says(expected));
    CHECK(o.lines() == 1);
  };
  refuses("", "FILE is required");
  refuses(f / "missing", "does not exist");
  refuses(f.path.string(), "is a directory");
  refuses(f / "text", "no safetensors file");
  refuses(f / "vectors", "holds 1 tensors, but no matrix");
  refuses(good + " --only nothing", "no matrix whose name contains 'nothing'");
  refuses(good + " --threshold -1", "--threshold -1: must be a number above 0");
  refuses(good + " --threshold many", "--threshold");
  refuses(good + " --colour", "--colour");
}
