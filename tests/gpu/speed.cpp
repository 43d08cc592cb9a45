// How fast the device is, beside what it could do: the ceilings of its memory and of its products, measured through our own
// backend, and the times that follow from them for what each kernel has to move or to compute.
#include <algorithm>
#include <functional>
#include <stdexcept>

#include "demos/run/progress.h"
#include "demos/run/training.h"
#include "engine/backend.h"
#include "engine/math.h"
#include "engine/matrix.h"
#include "optim/polar.h"
#include "tests/gpu/rows.h"
#include "tests/op_cases.h"

namespace borealis::gpu {

namespace {

// Seconds of f(), called over and over without waiting in between: the median of five rounds, each of at least a few
// milliseconds; of fewer where one call takes long.
double seconds_of(Device device, const std::function<void()>& f) {
  Backend& on = backend(device);
  const auto time = [&](int64_t times) {
    const Stopwatch clock;
    for (int64_t i = 0; i < times; ++i) f();
    on.synchronize();
    return clock.seconds() / static_cast<double>(times);
  };
  time(1);                       // memory and kernels are there from the second time on
  const double about = time(2);  // which is made of what the first left
  const auto times = std::clamp(static_cast<int64_t>(0.005 / about), int64_t{1}, int64_t{1000});
  std::vector<double> rounds;
  while (rounds.size() < (about < 0.5 ? 5 : 1)) rounds.push_back(time(times));
  std::nth_element(rounds.begin(), rounds.begin() + static_cast<std::ptrdiff_t>(rounds.size() / 2), rounds.end());
  return rounds[rounds.size() / 2];
}

Tensor random(const Shape& shape, Device device, DType dtype = DType::f32) {
  const Tensor some = Rng(1).normal({1 << 16}, 1, DType::f32).to(dtype).to(device);  // again and again
  const Tensor t(shape, dtype, device);
  for (int64_t first = 0; first < t.numel(); first += some.numel()) {
    const int64_t count = std::min(some.numel(), t.numel() - first);
    t.flat_view(first, {count}).copy_from(some.flat_view(0, {count}));
  }
  return t;
}

struct Ceilings {
  double bytes = 0, flops = 0, tf32 = 0;  // a second

  explicit Ceilings(Device device) {
    // Far more than any cache, far less than any card.
    const int64_t count = stand_in ? 1 << 16 : int64_t{1} << 28, n = stand_in ? 64 : 8192;
    const Tensor x = random({count}, device), y = x.like();
    for (const bool kernel : {false, true}) {
      const double seconds =
          seconds_of(device, [&] { kernel ? backend(device).affine(y, x, 1, 0, 0) : y.copy_from(x); });
      bytes = std::max(bytes, 8.0 * static_cast<double>(count) / seconds);
    }
    const Tensor a = random({n, n}, device), b = random({n, n}, device), c = a.like();
    const double work = 2.0 * static_cast<double>(n * n) * static_cast<double>(n);
    flops = work / seconds_of(device, [&] { gemm(c, a, b); });
    tf32 = work / seconds_of(device, [&] { gemm(c, a, b, 1, 0, Precision::tf32); });
  }
  double microseconds(double moved, double computed) const { return 1e6 * std::max(moved / bytes, computed / flops); }
};

double bytes_of(const Tensor& t) { return static_cast<double>(t.numel()) * static_cast<double>(size_of(t.dtype())); }

// The optimizers' kernels on as many numbers as GPT-2 small has, or as fit.
void optimizer_kernels(Device device, const Ceilings& ceilings) {
  const size_t memory = pool(device).cap();
  int64_t n = stand_in ? 1 << 12 : 124'000'000;
  if (memory > 0) n = std::min(n, static_cast<int64_t>(memory / 32));
  Backend& on = backend(device);
  const Tensor w = random({n}, device), m = random({n}, device), v = Tensor::full({n}, 1, DType::f32, device),
               g = random({n}, device), record = Tensor::of<double>({3}, {0, 7, 0.5}).to(device),
               one = Tensor::zeros({1}, DType::f64, device);
  const auto row = [&](const std::string& name, double moved, const std::function<void()>& f) {
    tell(name + ", " + std::to_string(n) + " numbers", 1e6 * seconds_of(device, f), "us",
         ceilings.microseconds(moved * 4 * static_cast<double>(n), 0));
  };
  row("adamw", 7, [&] { on.adamw(w, m, v, g, {1e-6, 0.9, 0.95, 1e-8, 0.1}, record); });
  row("descend", 3, [&] { on.descend(w, g, 1e-6, 1, 0.1, record); });
  row("momentum", 4, [&] { on.momentum(w, m, g, 0.9, 0.1, true); });
  row("second_moment", 5, [&] { on.second_moment(w, v, g, 0.9, 1e-8); });
  row("sum_squares", 1, [&] { on.sum_squares(one, g); });
  const int64_t rows = 3072, cols = 768, count = std::max(int64_t{1}, n / (rows * cols));
  if (n < rows * cols) return;
  const Matrix x = g.flat_view(0, {count, rows, cols}), y = w.flat_view(0, {count, rows, cols});
  const Tensor d({count, rows}, DType::f32, device);
  d.fill(1);
  row("row_sum_squares", 1, [&] { on.row_sum_squares(d, x); });
  row("scale_rows", 2, [&] { on.scale_rows(y, x, d); });
  row("matrix_affine", 2, [&] { on.matrix_affine(y, x, 0.5, 0); });
}

// A training step of a preset, as train_gpt takes it.
class Step {
 public:
  Step(const TrainOptions& o, Device device)
      : o_(o),
        rng_(rng_for(o.seed, Purpose::weights)),
        model_(o.model, rng_, DType::f32, device),
        optimizer_(model_.parameters(), optimizer_config(o)) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < 1 << 16; ++i) tokens.push_back(static_cast<int32_t>(rng_.below(o.model.vocab)));
    text_ = TokenStream(std::move(tokens));
  }
  void operator()() {
    const TokenBatch batch = text_.random_batch(o_.batch_size, o_.model.block_size, rng_, model_.device());
    const Var loss = model_.loss(batch.inputs, batch.targets);
    loss.backward();
    optimizer_.expect_finite(loss.value());
    update();
    optimizer_.zero_grad();
  }
  void update() {  // from gradients that are there
    optimizer_.clip(o_.grad_clip);
    optimizer_.step(1e-3);
  }
  double tokens() const { return static_cast<double>(o_.batch_size * o_.model.block_size); }
  double flops() const { return tokens() * model_.flops_per_token(o_.model.block_size); }

 private:
  TrainOptions o_;
  Rng rng_;
  Gpt model_;
  Optimizer optimizer_;
  TokenStream text_;
};

// f(batch size) with the largest that fits.
void with_batch(std::initializer_list<int64_t> sizes, Device device, const std::function<void(int64_t)>& f) {
  for (const int64_t size : sizes) try {
      return f(size);
    } catch (const std::runtime_error& e) {
      if (size == *(sizes.end() - 1) || std::string(e.what()).find("memory") == std::string::npos) throw;
      pool(device).trim();
    }
}

TrainOptions options_of(const std::string& preset, const std::string& method, int64_t batch) {
  TrainOptions o = preset_of(preset, method);
  o.batch_size = batch;
  if (stand_in) o.model.n_layer = 1, o.model.n_head = 2, o.model.n_embd = 16, o.model.block_size = 8, o.batch_size = 1;
  return o;
}

}  // namespace

void ceilings(const Setting& s) {
  const Ceilings c(s.device);
  tell("copy, read and written", c.bytes * 1e-9, "GB/s");
  tell("product in f32", c.flops * 1e-12, "TFLOP/s");
  tell("product in TF32", c.tf32 * 1e-12, "TFLOP/s");
}

void kernels(const Setting& s) {
  const Ceilings ceilings(s.device);
  optimizer_kernels(s.device, ceilings);
  for (const TimedCase& row : timed_cases()) {
    std::vector<Var> inputs;
    for (const Tensor& input : make_inputs(row, DType::f32, s.device)) inputs.push_back(Var::leaf(input));
    const Tensor dy = Tensor::full(row.f(inputs).shape(), 1, DType::f32, s.device);
    double moved = bytes_of(dy);
    for (const Var& input : inputs) moved += bytes_of(input.value());
    const std::string name = row.op + (row.what.empty() ? "" : ' ' + row.what);
    const double forward = seconds_of(s.device, [&] { row.f(inputs); });
    const double both = seconds_of(s.device, [&] {
      const Var y = row.f(inputs);
      for (const Var& input : inputs) input.zero_grad();
      y.backward(dy);
    });
    tell(name + ", forward", 1e6 * forward, "us", ceilings.microseconds(moved, row.flops));
    tell(name + ", both", 1e6 * both, "us", ceilings.microseconds(2 * moved, 3 * row.flops));
  }
}

void polar_buckets(const Setting& s) {
  const Ceilings ceilings(s.device);
  const int64_t n = stand_in ? 8 : 768;
  for (const auto& [count, rows] : {std::pair<int64_t, int64_t>{48, n}, {24, 4 * n}}) {
    const Tensor x = random({count, rows, n}, s.device);
    const std::string name = std::to_string(count) + " x [" + std::to_string(rows) + ", " + std::to_string(n) + "], ";
    for (const Polar method : {Polar::quintic5, Polar::polar_express8, Polar::cans12}) {
      const double flops =
          static_cast<double>(count) * polar_flops(method, static_cast<double>(rows), static_cast<double>(n));
      tell(name + borealis::name(method), 1e3 * seconds_of(s.device, [&] { polar(x, method); }), "ms",
           1e-3 * ceilings.microseconds(0, flops));
    }
    if (rows == n) continue;
    const Tensor z = x.clone();
    tell(name + "leverage scores",
         1e3 * seconds_of(s.device,
                          [&] {
                            z.copy_from(x);
                            leverage_scores(z, 1e-6);
                          }),
         "ms");
  }
}

void aurora_ratio(const Setting& s) {
  for (const std::string preset : {"nano", "gpt2-124m"})
    with_batch({12, 4, 1}, s.device, [&](int64_t batch) {
      double whole[2], update[2];
      for (const bool is_aurora : {false, true}) {
        Step step(options_of(preset, is_aurora ? "aurora" : "adamw", batch), s.device);
        whole[is_aurora] = seconds_of(s.device, std::ref(step));
        update[is_aurora] = seconds_of(s.device, [&] { step.update(); });
      }
      const std::string name = preset + ", batch " + std::to_string(batch);
      tell(name + ", step of Aurora", 1e3 * whole[1], "ms", 1e3 * whole[0], "against AdamW's");
      tell(name + ", Aurora's over AdamW's", whole[1] / whole[0], "");
      tell(name + ", update of Aurora", 1e3 * update[1], "ms", 1e3 * update[0], "against AdamW's");
    });
}

void tokens(const Setting& s) {
  const Ceilings ceilings(s.device);
  for (const std::string preset : {"small", "gpt2-124m"})
    with_batch({preset == "small" ? 64 : 12, 4, 1}, s.device, [&](int64_t batch) {
      Step step(options_of(preset, "adamw", batch), s.device);
      const double seconds = seconds_of(s.device, std::ref(step));
      tell(preset + ", batch " + std::to_string(batch) + ", f32", step.tokens() / seconds, "tokens/s",
           step.tokens() * ceilings.flops / step.flops(), "against the products alone at the ceiling");
    });
}

}  // namespace borealis::gpu
