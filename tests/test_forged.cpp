// Checkpoints that lie: each is refused in one sentence, before it costs time or memory.
#include <functional>
#include <limits>

#include <nlohmann/json.hpp>

#include "demos/run/checkpoint.h"
#include "demos/run/training.h"
#include "engine/safetensors.h"
#include "nn/weights.h"
#include "tests/programs.h"

using namespace borealis;
using nlohmann::json;

namespace {

// An untrained run of the smallest size.
Checkpoint honest(GptConfig config) {
  TrainOptions o;
  o.model = config;
  o.model.vocab = 5;
  o.model.block_size = 8;
  o.model.n_layer = 1;
  o.model.n_head = 2;
  o.model.n_embd = 16;
  Rng rng(1);
  const Gpt model(o.model, rng);
  const Optimizer optimizer(model.parameters(), optimizer_config(o));
  return {o, 3, Vocabulary("\nabcd"), 17, to_file(model.parameters()), optimizer.state().tensors};
}

// The same file with something changed.
using Change = std::function<void(TensorFile&)>;
void forge(const std::string& from, const std::string& to, const Change& change) {
  TensorFile file = read_safetensors(from);
  change(file);
  write_safetensors(to, file);
}

Change option(const std::string& key, const json& value) {
  return [=](TensorFile& file) {
    json options = json::parse(file.metadata.at("options"));
    options[key] = value;
    file.metadata["options"] = options.dump();
  };
}

Change text(const std::string& key, const std::string& value) {
  return [=](TensorFile& file) { file.metadata[key] = value; };
}

Change weight(const std::string& name, const Tensor& t) {
  return [=](TensorFile& file) { file.tensors[name] = t; };
}

Change both(const Change& a, const Change& b) {
  return [=](TensorFile& file) { a(file), b(file); };
}

// A program with one second of processor time and 200 MB of addresses, so of memory too.
// AddressSanitizer needs more of both.
Outcome run_in_bounds(const std::string& program_and_flags) {
#ifdef __SANITIZE_ADDRESS__
  const std::string bounds = "ulimit -t 60; ";
#else
  const std::string bounds = "ulimit -t 1; ulimit -v 195000; ";
#endif
  return shell(bounds + BOREALIS_PROGRAMS + "/" + program_and_flags);
}

void refuses(const std::string& command, const std::string& expected) {
  INFO(command);
  const Outcome o = run_in_bounds(command);
  INFO(o.text);
  CHECK(o.status == 1);
  CHECK(o.says(expected));
  CHECK(o.lines() == 1);
}

std::string sampling_from(const std::string& path) {
  return "sample_gpt --threads 1 --max_new_tokens 5 --checkpoint " + path;
}

// A file of this header and so many zeros.
std::string file_of(const std::string& header, size_t numbers) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  return bytes + header + std::string(numbers, '\0');
}

}  // namespace

TEST_CASE("forged checkpoints: the honest ones are read") {
  const Folder f;
  for (const GptConfig& config : {GptConfig::gpt2(), GptConfig::modern()}) {
    write_checkpoint(f / "good", honest(config));
    const Outcome o = run_in_bounds(sampling_from(f / "good"));
    INFO(o.text);
    CHECK(o.status == 0);
    CHECK(o.text.size() == 1 + 5 + 1);
  }
}

TEST_CASE("forged checkpoints: what is claimed costs nothing before it is refused") {
  const Folder f;
  write_checkpoint(f / "good", honest(GptConfig::gpt2()));
  write_checkpoint(f / "modern", honest(GptConfig::modern()));

  const std::string deep(150000, '['), end(150000, ']');
  write(f / "deep", file_of("{\"w\":{\"dtype\":" + deep + end + ",\"shape\":[1],\"data_offsets\":[0,4]}}", 4));
  for (const std::string& program : {sampling_from(f / "deep"), "inspect " + (f / "deep")})
    refuses(program, "has a header that nests too deep, in the entry 'w'");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  write(f / "deep", file_of(objects, 0));
  refuses(sampling_from(f / "deep"), "has a header that nests too deep, in the entry 'a'");

  const auto sized = [&](const std::string& base, const Change& change, const std::string& expected) {
    forge(f / base, f / "out/ckpt.safetensors", change);
    refuses(sampling_from(f / "out/ckpt.safetensors"), expected);
    refuses("train_gpt --threads 1 --init_from resume --out_dir " + (f / "out"), expected);
  };
  std::filesystem::create_directory(f / "out");
  sized("good", option("n_embd", 8192), "a model of 805535744 parameters, but weights of 3");
  sized("good", option("n_layer", 1'000'000), "parameters, but weights of 3");
  sized("good", option("block_size", 1'000'000), "parameters, but weights of 3");
  sized("good", option("mlp_expansion", 1024.0), "parameters, but weights of 3");
  sized("modern", both(option("n_layer", 1'048'576), option("n_embd", 1'048'576)),
        "a model of 9223372036854775807 parameters");
  sized("good", both(option("n_layer", 1000), weight("w", Tensor::zeros({4'000'000}))),
        "a model of 1000 layers, but weights of 17 tensors");
  sized("modern",
        both(both(option("block_size", 1'000'000), option("n_embd", 64)), weight("w", Tensor::zeros({200'000}))),
        "block_size = 1000000 is too much for rotary positions of 32 channels");
}

TEST_CASE("forged checkpoints: a description that does not hold together is refused") {
  const Folder f;
  write_checkpoint(f / "good", honest(GptConfig::gpt2()));
  const std::pair<Change, const char*> cases[] = {
      {text("vocabulary", "[10,97,97,99,100]"), "the bytes of the vocabulary do not ascend"},
      {text("vocabulary", "[97,10,98,99,100]"), "the bytes of the vocabulary do not ascend"},
      {text("vocabulary", "[10,97]"), "2 different characters for a model of 5"},
      {text("vocabulary", "[10,97,98,99,256]"), "the vocabulary holds what is no byte"},
      {text("vocabulary", "[10,97,98,99,100.0]"), "the vocabulary holds what is no byte"},
      {text("vocabulary", "[10,97,98,[99],100]"), "a list or object inside another"},
      {text("vocabulary", "[10,97"), "what should be JSON is none"},
      {text("vocabulary", R"(["\n","a","b","c","→→"])"), "holds what is no character"},
      {text("vocabulary", R"(["\n","a","b","c",""])"), "holds what is no character"},
      {text("vocabulary", R"(["\n","a","b","→",99])"), "holds what is no character"},
      {text("vocabulary", R"([10,"a","b","c","→"])"), "holds what is no character"},
      {text("vocabulary", R"(["\n","a","b","→","c"])"), "characters of the vocabulary do not ascend"},
      {text("vocabulary", R"(["\n","→"])"), "2 different characters for a model of 5"},
      {text("vocabulary", "{}"), "0 different characters for a model of 5"},
      {text("step", "12abc"), "step '12abc' is no count"},
      {text("step", "-1"), "step '-1' is no count"},
      {text("step", "1e3"), "step '1e3' is no count"},
      {text("step", " 1"), "step ' 1' is no count"},
      {text("step", ""), "step '' is no count"},
      {text("step", "99999999999999999999"), "is no count"},
      {text("step", "2001"), "step 2001 of 2000"},
      {text("text_fingerprint", "17x"), "text_fingerprint '17x' is no count"},
      {text("text_fingerprint", "-1"), "text_fingerprint '-1' is no count"},
      {text("options", "{}"), "the options lack "},
      {text("options", "[1]"), "the options are no JSON object"},
      {text("options", std::string(100000, '[')), "a list or object inside another"},
      {text("options", R"({"n_layer":1,"n_layer":2})"), "'n_layer' comes twice"},
      {text("options", "{"), "what should be JSON is none"},
      {option("n_head", 0), "n_head = 0 makes no model"},
      {option("n_layer", -1), "n_layer = -1 makes no model"},
      {option("n_embd", 16.5), "option n_embd is of another type"},
      {option("n_embd", 1e300), "option n_embd is of another type"},
      {option("vocab", "5"), "option vocab is of another type"},
      {option("seed", -1), "option seed is of another type"},
      {option("dropout", nullptr), "option dropout is of another type"},
      {option("learning_rate", -1.0), "--learning_rate -1"},
      {option("bias", 1), "option bias is of another type"},
      {option("style", "rnn"), "style: there is no 'rnn'"},
      {option("mlp", "\x1b[31m"), "mlp: there is no '\\x1b[31m'"},
      {option("n_embd", 15), "n_embd = 15 is not divisible by n_head = 2"},
      {[](TensorFile& file) { file.metadata.erase("step"); }, "it has no step"},
      {weight("optimizer/x/m", Tensor::zeros({1}, DType::i32)), "'optimizer/x/m' holds integers"},
  };
  for (const auto& [change, expected] : cases) {
    forge(f / "good", f / "bad", change);
    CHECK_THROWS_WITH_AS(read_checkpoint(f / "bad"), doctest::Contains(expected), std::runtime_error);
    CHECK_THROWS_WITH(read_checkpoint(f / "bad"), doctest::Contains("its description is damaged"));
  }
  forge(f / "good", f / "bad", option("vocab", 6));
  refuses(sampling_from(f / "bad"), "bad: its description is damaged (5 different characters for a model of 6)");
}

TEST_CASE("forged checkpoints: an optimizer's state that is not the run's, or no numbers") {
  const Checkpoint good = honest(GptConfig::gpt2());
  Rng rng(1);
  const Gpt model(good.options.model, rng);
  Optimizer optimizer(model.parameters(), optimizer_config(good.options));
  const auto refuses_state = [&](const std::function<void(std::map<std::string, Tensor>&)>& change,
                                 const char* expected) {
    auto state = good.optimizer;
    change(state);
    CHECK_THROWS_WITH_AS(optimizer.load_state({3, state}, "FILE"), doctest::Contains(expected), std::runtime_error);
    CHECK_THROWS_WITH(optimizer.load_state({3, state}, "FILE"), doctest::Contains("FILE: "));
  };
  const std::string first = good.optimizer.begin()->first;
  refuses_state([](auto& s) { s["left/over"] = Tensor::zeros({1}); },
                "has 'left/over', which this optimizer does not keep");
  refuses_state([&](auto& s) { s.erase(first); }, "the saved state has no '");
  refuses_state([&](auto& s) { s[first] = Tensor::zeros({3, 1, 2}); }, "[3, 1, 2]");
  refuses_state([&](auto& s) { s[first] = Tensor::full(s[first].shape(), std::numeric_limits<double>::infinity()); },
                "holds NaN or infinity");
  optimizer.load_state({3, good.optimizer}, "FILE");
}

TEST_CASE("forged checkpoints: weights that are another model's, or no numbers") {
  const Folder f;
  const std::string norm = "transformer.ln_f.weight";
  write_checkpoint(f / "good", honest(GptConfig::gpt2()));
  const Tensor nan = Tensor::full({16}, std::numeric_limits<double>::quiet_NaN());
  const std::pair<Change, const char*> cases[] = {
      {weight("transformer.h.1.attn.c_attn.weight", Tensor::zeros({48, 16})),
       "has 1 tensor that the model does not take, 'transformer.h.1.attn.c_attn.weight'"},
      {weight("bad\x1b]0;name\x07", Tensor::zeros({1})), "'bad\\x1b]0;name\\x07'"},
      {weight("ln_f.weight", Tensor::zeros({16})), "does not take, 'ln_f.weight'"},
      {both(weight("w", Tensor::zeros({16})), [&](TensorFile& file) { file.tensors.erase(norm); }),
       "has no tensor 'transformer.ln_f.weight'"},
      {weight(norm, Tensor::zeros({4, 4})), "is [4, 4] but the model's is [16]"},
      {weight(norm, nan), "'transformer.ln_f.weight' holds NaN or infinity"},
      {weight(norm, Tensor::full({16}, 1e200, DType::f64)), "holds NaN or infinity"},
      {weight(norm, Tensor::zeros({16}, DType::i32)), "holds integers, which are no weights"},
      {weight(norm, Tensor::full({16}, 3e38)), "the model's logits hold NaN or infinity"},
  };
  for (const auto& [change, expected] : cases) {
    forge(f / "good", f / "bad", change);
    const Outcome o = run_in_bounds(sampling_from(f / "bad"));
    INFO(o.text);
    CHECK(o.status == 1);
    CHECK(o.says(expected));
  }
}
