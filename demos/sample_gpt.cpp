// Prints text from a checkpoint, character by character.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "demos/run/flags.h"
#include "engine/backend.h"
#include "engine/parallel.h"
#include "nn/checkpoint.h"
#include "nn/sampling.h"

using namespace borealis;

namespace {

int run(int argc, char** argv) {
  CLI::App app{"Prints text from a checkpoint.", "sample_gpt"};
  app.option_defaults()->take_last();
  std::string checkpoint = "out/ckpt.safetensors", start, device = "cpu";
  SamplingOptions o;
  int threads = 0;
  app.add_option("--checkpoint", checkpoint, "file that train_gpt or save() wrote")->capture_default_str();
  app.add_option("--start", start,
                 "text to go on from (a line break, or where the model knows none, its first character)");
  app.add_option("--max_new_tokens,--max-new-tokens", o.max_new_tokens)->capture_default_str();
  app.add_option("--temperature", o.temperature, "0: always the likeliest character")->capture_default_str();
  app.add_option("--top_k,--top-k", o.top_k, "draw among the likeliest; 0: among all")->capture_default_str();
  app.add_option("--seed", o.seed)->capture_default_str();
  app.add_option("--device", device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", threads, "0: one per core")->check(CLI::Range(0, 1024))->capture_default_str();
  parse_flags(app, argc, argv);
  check(o);
  set_threads(threads);
  const Device where = parse_device(device);
  backend(where);  // says at once if this build has no such device

  const auto [model, vocabulary] = load(checkpoint, where);
  const auto print = [](const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0) fail_runtime("sample_gpt: the text cannot be written (", std::strerror(errno), ")");
  };
  const std::string first = first_text(start, vocabulary);
  const std::vector<int32_t> tokens = vocabulary.encode(first);
  print(first);
  sample(model, tokens, o, [&, &known = vocabulary](int32_t token) { print(known.decode(token)); });
  std::printf("\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program("sample_gpt", run, argc, argv); }
