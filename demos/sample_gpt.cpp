// Prints text from a checkpoint of train_gpt, byte by byte.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "demos/run/checkpoint.h"
#include "demos/run/flags.h"
#include "demos/run/sampling.h"
#include "engine/backend.h"
#include "engine/parallel.h"
#include "nn/weights.h"

using namespace borealis;

namespace {

int run(int argc, char** argv) {
  CLI::App app{"Prints text from a checkpoint of train_gpt.", "sample_gpt"};
  app.option_defaults()->take_last();
  std::string checkpoint = "out/ckpt.safetensors", device = "cpu";
  SamplingOptions o;
  int threads = 0;
  app.add_option("--checkpoint", checkpoint, "file that train_gpt wrote")->capture_default_str();
  app.add_option(
      "--start", o.start,
      "text to go on from (a line break, or where the model knows none, its first byte)");
  app.add_option("--max_new_tokens,--max-new-tokens", o.max_new_tokens)->capture_default_str();
  app.add_option("--temperature", o.temperature, "0: always the likeliest byte")
      ->capture_default_str();
  app.add_option("--top_k,--top-k", o.top_k, "draw among the likeliest; 0: among all")
      ->capture_default_str();
  app.add_option("--seed", o.seed)->capture_default_str();
  app.add_option("--device", device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", threads, "0: one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  parse_flags(app, argc, argv);
  check(o);
  set_threads(threads);
  const Device where = parse_device(device);
  backend(where);  // says at once if this build has no such device

  const Checkpoint c = read_checkpoint(checkpoint);
  Rng unused(0);  // draws weights that the file's replace
  const Gpt model(c.options.model, unused, DType::f32, where);
  from_file(model.parameters(), c.weights, checkpoint);

  const ByteVocabulary vocabulary(c.vocabulary);
  o.start = first_text(o, vocabulary);
  std::fwrite(o.start.data(), 1, o.start.size(), stdout);
  sample(model, vocabulary, o, [](char byte) {
    std::fputc(byte, stdout);
    if (std::fflush(stdout) != 0)
      fail_runtime("sample_gpt: the text cannot be written (", std::strerror(errno), ")");
  });
  std::printf("\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_program("sample_gpt", run, argc, argv);
}
