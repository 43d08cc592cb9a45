// Trains a compact GPT on a text, from text to a sample. All that a run does, in the order it
// happens.
#include <cmath>
#include <cstdio>
#include <ctime>
#include <optional>

#include <nlohmann/json.hpp>

#include "demos/run/compare.h"
#include "demos/run/default_text.h"
#include "demos/run/diagnosis.h"
#include "demos/run/interrupt.h"
#include "demos/run/program.h"
#include "demos/run/progress.h"
#include "demos/run/run_folder.h"
#include "demos/run/training.h"
#include "engine/cpu/gemm.h"
#include "engine/machine.h"
#include "engine/parallel.h"
#include "nn/sampling.h"
#include "nn/weights.h"

using namespace borealis;

namespace {

// What belongs to this machine and moment, apart from the checkpoint.
nlohmann::json about(const RunOptions& run, const std::string& source, double seconds) {
  return {
      {"data", source},       {"out_dir", run.out_dir},  {"device", run.device},          {"machine", processor_name()},
      {"threads", threads()}, {"gemm", gemm_provider()}, {"written", std::time(nullptr)}, {"seconds", seconds}};
}

// Goes through a step that went wrong once more and says where it went wrong first. Nothing has changed since.
[[noreturn]] void explain(const Gpt& model, const TokenBatch& b, const TrainOptions& t, int64_t step) {
  std::string where = "no single op of the model stands out";
  zero_grad(model.parameters());
  try {
    const Anomaly watch;
    Rng dropout = rng_for(t.seed, Purpose::dropout, step);
    model.loss(b.inputs, b.targets, &dropout).backward();
  } catch (const std::runtime_error& e) {
    where = e.what();
  }
  fail_runtime("train_gpt: the loss or its gradient is not finite at step ", step, ": ", where,
               "\nTry a lower learning rate; what was saved before is unharmed.");
}

double loss_of(const Gpt& model, const TokenBatch& b) {
  const NoGrad off;
  return model.loss(b.inputs, b.targets).item();
}

// All is saved by now, so neither a signal nor a failure loses anything.
void print_sample(const Gpt& model, const Vocabulary& vocabulary, uint64_t seed) {
  struct Interrupted {};
  std::printf("--- sample ---\n");
  try {
    const std::vector<int32_t> start = vocabulary.encode(first_text("", vocabulary));
    sample(model, start, {.seed = seed}, [&](int32_t token) {
      const std::string& piece = vocabulary.decode(token);
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      send_output();
      if (interruption()) throw Interrupted{};
    });
  } catch (const Interrupted&) {
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
  }
  std::printf("\n");
}

int run(int argc, char** argv) {
  take_signals();
  std::optional<RunFolder> taken;
  Options o = parse_train_options(argc, argv, [&](const std::string& out_dir) { taken.emplace(out_dir).take(); });
  TrainOptions& t = o.train;
  RunFolder& folder = taken ? *taken : taken.emplace(o.run.out_dir);
  const std::string checkpoint_path = folder / "ckpt.safetensors", log_path = folder / "log.jsonl";
  const Checkpoint saved = o.run.resume ? read_checkpoint(checkpoint_path) : Checkpoint{};
  LogSoFar history = o.run.resume ? read_log(log_path, saved.step) : LogSoFar{};
  check(t);
  if (saved.step > t.max_iters || (saved.step == t.max_iters && history.finished))
    fail(checkpoint_path, ": all ", saved.step, " steps are done; give a larger --max_iters");
  const Device device = parse_device(o.run.device);
  backend(device);  // says at once if this build has no such device
  set_threads(o.run.threads);

  // The text.
  const std::string source = o.run.data.empty() ? "this project's prose" : o.run.data;
  std::string text = o.run.data.empty() ? default_text() : read_text(o.run.data);
  const uint64_t fingerprint = fingerprint_of(text);
  if (o.run.resume && fingerprint != saved.fingerprint)
    fail(source, ": is not the text that ", checkpoint_path, " was trained on; give that one with --data");
  const Corpus corpus(text, t.model.block_size, source, o.run.resume ? saved.vocabulary : Vocabulary(text));
  text = {};  // from here on there are tokens only
  t.model.vocab = corpus.vocabulary.size();
  check_memory(t, device);
  if (!o.run.compare.empty()) {
    compare_step(t, corpus.train, o.run.compare);
    return 0;
  }

  // The model and its optimizer.
  Rng weights = rng_for(t.seed, Purpose::weights);
  const Gpt model(t.model, weights, DType::f32, device);
  Optimizer optimizer(model.parameters(), optimizer_config(t));
  if (o.run.resume) {
    from_file(model.parameters(), saved.weights, checkpoint_path);
    optimizer.load_state({saved.step, saved.optimizer}, checkpoint_path);
  }
  Diagnosis diagnosis(model, optimizer, probe_batch(corpus.val, t, device).inputs);
  const TokenBatch first_batch = corpus.train.windows(0, 1, t.model.block_size, device);

  // A validation that an interruption cut short is made up for.
  if (history.unvalidated && validates_at(t, saved.step)) {
    const double val_loss = *estimate_loss(model, corpus.val, t, saved.step);
    if (!std::isfinite(val_loss)) explain(model, first_batch, t, saved.step);
    complete(history, val_loss);
  }

  // From here on there is something to lose.
  defer_signals();
  folder.take();
  if (o.run.resume)
    folder.write_about(about(o.run, source, 0));
  else if (const int number = folder.set_earlier_aside(about(o.run, source, 0)))
    std::printf("an earlier run in %s is set aside as previous.%d.*\n", o.run.out_dir.c_str(), number);
  RunLog log(log_path, history);
  if (corpus.vocabulary.of_bytes() && !o.run.resume)
    std::printf("%s: is no valid UTF-8, so a token is a byte of it, not a character\n", source.c_str());
  std::printf("%s: %lld %s, %lld of them different; a model of %.2fM parameters; %s; %d threads\n", source.c_str(),
              static_cast<long long>(corpus.train.size() + corpus.val.size()), corpus.vocabulary.unit(),
              static_cast<long long>(t.model.vocab), static_cast<double>(model.parameter_count()) / 1e6,
              t.optimizer.c_str(), threads());

  const Anomaly watch(o.run.anomaly);
  const Stopwatch total;
  ProgressLine progress(saved.step);
  int64_t step = saved.step;
  double train_loss = history.train_loss;
  double seconds_since_log = 0;
  int64_t steps_since_log = 0;
  Tensor last_loss, grad_norm;  // of the last step, on the device until somebody looks

  const auto batch_of = [&](int64_t number) {
    Rng batches = rng_for(t.seed, Purpose::batches, number);
    return corpus.train.random_batch(t.batch_size, t.model.block_size, batches, device);
  };
  // Looks at what the steps so far have left on the device, and so waits for it.
  const auto look = [&] {
    if (const int64_t stopped = optimizer.stopped_at()) explain(model, batch_of(stopped - 1), t, stopped - 1);
    if (last_loss) train_loss = last_loss.item();
  };

  // Worse than guessing by this much, nothing is left of what was learned.
  const double hopeless = std::log(static_cast<double>(t.model.vocab)) + 1;
  double saved_loss = o.run.resume ? history.loss.value_or(0) : INFINITY;
  const auto save = [&](double loss) {
    if (loss > hopeless && saved_loss <= hopeless) {
      const std::string kept = folder.keep_checkpoint();
      progress.finish();
      std::printf("loss %.4g is worse than guessing; the checkpoint before is kept in %s\n", loss, kept.c_str());
    }
    write_checkpoint(checkpoint_path,
                     {t, step, corpus.vocabulary, fingerprint, to_file(model.parameters()), optimizer.state().tensors});
    saved_loss = loss;
  };

  while (step < t.max_iters && !interruption()) {
    const Stopwatch clock;
    const bool measure = o.run.diagnose > 0 && (step + 1) % o.run.diagnose == 0;

    // One step: a batch, its loss, the gradient, an update. Nothing here waits for the device, unless the step is measured.
    Rng dropout = rng_for(t.seed, Purpose::dropout);
    dropout.follow(optimizer.arena().record());
    const TokenBatch batch = batch_of(step);
    const Var loss = model.loss(batch.inputs, batch.targets, &dropout);
    loss.backward();
    last_loss = loss.value();
    optimizer.expect_finite(last_loss);
    grad_norm = optimizer.clip(t.grad_clip);
    const double factor = rate_factor(t, step);
    if (measure) diagnosis.before_step();
    optimizer.step(factor);
    optimizer.zero_grad();

    ++step;
    ++steps_since_log;
    const bool evaluate = validates_at(t, step);
    const bool tells = step % o.run.log_interval == 0 || measure || evaluate || step == t.max_iters;
    if (tells) look();
    seconds_since_log += clock.seconds();

    // What the run tells and keeps.
    if (tells) {
      StepReport r;
      r.step = step;
      r.max_iters = t.max_iters;
      r.train_loss = train_loss;
      if (evaluate) r.val_loss = estimate_loss(model, corpus.val, t, step);
      if (r.val_loss && !std::isfinite(*r.val_loss)) explain(model, batch, t, step);
      r.lr = optimizer.rates().hidden_matrix * factor;
      r.grad_norm = grad_norm.item();
      r.ms = 1e3 * seconds_since_log / static_cast<double>(steps_since_log);
      r.tokens_per_s = static_cast<double>(t.batch_size * t.model.block_size) / r.ms * 1e3;
      if (measure) {
        diagnosis.after_step();
        r.diagnosis = diagnosis.census().to_json();
        r.picture = diagnosis.census().picture();
      }
      log.write(r);
      progress.show(r);
      if (r.val_loss) save(*r.val_loss);
      seconds_since_log = 0;
      steps_since_log = 0;
    }
  }

  // The end, or an interruption. Nothing has looked at the last update yet.
  look();
  std::optional<double> val_loss;
  if (step == t.max_iters) val_loss = full_loss(model, corpus.val, t.batch_size);
  const double loss_now = val_loss ? *val_loss : loss_of(model, first_batch);
  progress.finish();
  if (!std::isfinite(loss_now)) explain(model, first_batch, t, step);
  save(loss_now);
  folder.write_about(about(o.run, source, total.seconds()));
  if (!val_loss) {
    std::printf("stopped at step %lld; go on with --init_from resume --out_dir %s\n", static_cast<long long>(step),
                o.run.out_dir.c_str());
    return 128 + interruption();
  }
  log.write({{"final", true},
             {"step", step},
             {"val_loss", *val_loss},
             {"train_loss", train_loss},
             {"seconds", total.seconds()}});
  std::printf("val loss %.4f over the whole validation split, after %s\n", *val_loss,
              duration(total.seconds()).c_str());
  print_sample(model, corpus.vocabulary, t.seed);
  std::printf("--- %s; more with sample_gpt --checkpoint %s ---\n", checkpoint_path.c_str(), checkpoint_path.c_str());
  return interruption() ? 128 + interruption() : 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program("train_gpt", run, argc, argv); }
