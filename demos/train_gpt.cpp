// Trains a compact GPT on a text, from bytes to a sample. All that a run does, in the order it
// happens.
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "demos/diagnosis.h"
#include "demos/progress.h"
#include "demos/sampling.h"
#include "demos/training.h"
#include "engine/files.h"
#include "engine/gemm.h"
#include "engine/parallel.h"
#include "nn/weights.h"
#include "optim/clip.h"

using namespace borealis;
namespace fs = std::filesystem;

namespace {

volatile std::sig_atomic_t interrupted = 0;

// Makes the output folder, and sets aside what an earlier run left there.
void prepare_folder(const RunOptions& run) {
  std::error_code trouble;
  fs::create_directories(run.out_dir, trouble);
  if (trouble)
    fail_runtime(run.out_dir, ": cannot be made (", trouble.message(),
                 "); choose another --out_dir");
  if (run.resume) return;
  for (const std::string file : {"ckpt.safetensors", "log.jsonl"}) {
    const fs::path old = fs::path(run.out_dir) / file;
    if (!fs::exists(old)) continue;
    fs::rename(old, fs::path(run.out_dir) / ("previous." + file), trouble);
    if (trouble) fail_runtime(old.string(), ": cannot be set aside (", trouble.message(), ")");
  }
}

// As Linux tells it.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

// What belongs to this machine and moment, apart from the checkpoint.
void write_run_file(const RunOptions& run, const std::string& source, double seconds) {
  const nlohmann::json j = {{"data", source},
                            {"out_dir", run.out_dir},
                            {"device", run.device},
                            {"machine", processor_name()},
                            {"threads", threads()},
                            {"gemm", gemm_provider()},
                            {"written", std::time(nullptr)},
                            {"seconds", seconds}};
  write_file_atomically(run.out_dir + "/run.json",
                        [&](std::ostream& out) { out << j.dump(2) << '\n'; });
}

// Goes through a step that went wrong once more and says where it went wrong first.
[[noreturn]] void explain(const Gpt& model, const TokenBatch& b, const TrainOptions& t,
                          int64_t step) {
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

int run(int argc, char** argv) {
  Options o = parse_train_options(argc, argv);
  TrainOptions& t = o.train;
  const std::string checkpoint_path = o.run.out_dir + "/ckpt.safetensors";
  const Checkpoint saved = o.run.resume ? read_checkpoint(checkpoint_path) : Checkpoint{};
  check(t);
  if (o.run.resume && saved.step >= t.max_iters)
    fail(checkpoint_path, ": all ", saved.step, " steps are done; give a larger --max_iters");
  const Device device = parse_device(o.run.device);
  backend(device);  // says at once if this build has no such device
  set_threads(o.run.threads);

  // The text.
  const std::string source = o.run.data.empty() ? "the project's own sources" : o.run.data;
  const Corpus corpus(o.run.data.empty() ? own_sources() : read_text(o.run.data),
                      t.model.block_size, source);
  t.model.vocab = corpus.vocabulary.size();
  check_memory(t);
  if (o.run.resume && corpus.fingerprint != saved.fingerprint)
    fail(source, ": is not the text that ", checkpoint_path,
         " was trained on; give that one with --data");

  // The model and its optimizers.
  Rng weights = rng_for(t.seed, Purpose::weights);
  const Gpt model(t.model, weights, DType::f32, device);
  Optimizers optimizers(model.parameters(), t);
  if (o.run.resume) {
    from_file(model.parameters(), saved.weights, checkpoint_path);
    optimizers.load_state(saved.optimizer, saved.step);
  }
  prepare_folder(o.run);
  write_run_file(o.run, source, 0);
  JsonLog log(o.run.out_dir + "/log.jsonl",
              o.run.resume ? std::optional(saved.step) : std::nullopt);
  std::printf(
      "%s: %lld bytes, %lld of them different; a model of %.2fM parameters; %s; %d threads\n",
      source.c_str(), static_cast<long long>(corpus.train.size() + corpus.val.size()),
      static_cast<long long>(t.model.vocab), static_cast<double>(model.parameter_count()) / 1e6,
      t.optimizer.c_str(), threads());

  const auto save = [&](int64_t step) {
    write_checkpoint(checkpoint_path, {t, step, corpus.vocabulary.bytes(), corpus.fingerprint,
                                       to_file(model.parameters()), optimizers.state()});
  };
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { interrupted = 1; });
  const Anomaly watch(o.run.anomaly);
  const Stopwatch total;
  ProgressLine progress(saved.step);
  Diagnosis diagnosis(model, optimizers, probe_batch(corpus.val, t).inputs);
  double train_loss = 0, seconds_since_log = 0;
  int64_t steps_since_log = 0;

  int64_t step = saved.step;
  while (step < t.max_iters && !interrupted) {
    const Stopwatch clock;
    const bool measure = o.run.diagnose > 0 && (step + 1) % o.run.diagnose == 0;

    // One step: a batch, its loss, the gradient, an update.
    Rng batches = rng_for(t.seed, Purpose::batches, step),
        dropout = rng_for(t.seed, Purpose::dropout, step);
    const TokenBatch batch = corpus.train.random_batch(t.batch_size, t.model.block_size, batches);
    const Var loss = model.loss(batch.inputs, batch.targets, &dropout);
    loss.backward();
    const Tensor grad_norm = clip_grad_norm(optimizers.arena(), t.grad_clip);
    train_loss = loss.item();
    if (!std::isfinite(train_loss) || !std::isfinite(grad_norm.item()))
      explain(model, batch, t, step);
    const LearningRates rates = learning_rates(t, step);
    if (measure) diagnosis.before_step();
    optimizers.step(rates);
    optimizers.arena().zero_grad();

    ++step;
    ++steps_since_log;
    seconds_since_log += clock.seconds();

    // What the run tells and keeps.
    const bool evaluate = step % t.eval_interval == 0 && step < t.max_iters;
    if (step % o.run.log_interval == 0 || measure || evaluate || step == t.max_iters) {
      StepReport r;
      r.step = step;
      r.max_iters = t.max_iters;
      r.train_loss = train_loss;
      if (evaluate) {
        r.val_loss = estimate_loss(model, corpus.val, t, step);
        if (!std::isfinite(*r.val_loss)) explain(model, batch, t, step);
      }
      r.lr = rates.hidden_matrix;
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
      seconds_since_log = 0;
      steps_since_log = 0;
    }
    if (evaluate) save(step);
  }
  progress.finish();
  if (step < t.max_iters) {
    save(step);
    write_run_file(o.run, source, total.seconds());
    std::printf("stopped at step %lld; go on with --init_from resume --out_dir %s\n",
                static_cast<long long>(step), o.run.out_dir.c_str());
    return 130;
  }

  // Checked before it is saved: the last update has not been looked at yet.
  const double val_loss = full_loss(model, corpus.val, t.batch_size);
  if (!std::isfinite(val_loss))
    explain(model, corpus.train.windows(0, 1, t.model.block_size), t, step);
  save(step);
  write_run_file(o.run, source, total.seconds());
  log.write({{"final", true},
             {"step", step},
             {"val_loss", val_loss},
             {"train_loss", train_loss},
             {"seconds", total.seconds()}});
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_DFL);  // all is saved
  std::printf("val loss %.4f over the whole validation split, after %s\n", val_loss,
              duration(total.seconds()).c_str());
  std::printf("--- sample ---\n");
  sample(model, corpus.vocabulary, {.seed = t.seed}, [](char byte) {
    std::fputc(byte, stdout);
    std::fflush(stdout);
  });
  std::printf("\n--- %s; more with sample_gpt --checkpoint %s ---\n", checkpoint_path.c_str(),
              checkpoint_path.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
