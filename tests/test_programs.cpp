// train_gpt and sample_gpt as a person meets them: good runs, wrong input, and what they leave
// behind.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "demos/run/checkpoint.h"
#include "engine/backend.h"
#include "engine/cpu/gemm.h"
#include "engine/safetensors.h"
#include "engine/version.h"
#include "nn/text.h"
#include "tests/programs.h"

using namespace borealis;
namespace fs = std::filesystem;

TEST_CASE("train_gpt: logs, checkpoints and samples, and sample_gpt goes on from there") {
  const Folder f;
  write(f / "text", some_text());
  for (const std::string style : {"gpt2", "modern"}) {
    const std::string out = f / style;
    const Outcome o = run("train_gpt --data " + (f / "text") + " --style " + style + tiny_model +
                          " --optimizer aurora --max-iters 12 --diagnose 4 --out_dir " + out);
    INFO(o.text);
    REQUIRE(o.status == 0);
    CHECK(o.says("12/12"));
    CHECK(o.says("--- sample ---"));

    const auto log = log_of(out);
    REQUIRE(log.size() == 13);
    for (size_t i = 0; i + 1 < log.size(); ++i) {
      CHECK(log[i]["step"] == i + 1);
      for (const char* key : {"train_loss", "lr", "grad_norm", "ms", "tokens_per_s"}) CHECK(log[i].contains(key));
      CHECK(log[i].contains("val_loss") == ((i + 1) % 5 == 0));
      CHECK(log[i].contains("matrices") == ((i + 1) % 4 == 0));
    }
    // Six matrices in one block: q, k, v, the attention's projection, and the MLP's two.
    CHECK(log[3]["matrices"].size() == 6);
    for (const auto& [name, m] : log[11]["matrices"].items()) {
      CHECK(m["row_norm_cv"].is_number());
      CHECK(m["polar_error"].is_number());
    }
    CHECK(log.back()["final"] == true);
    for (const char* key : {"val_loss", "train_loss", "seconds"}) CHECK(log.back()[key].is_number());
    CHECK(nlohmann::json::parse(read(out + "/run.json")).contains("threads"));

    const std::string sample = "sample_gpt --checkpoint " + out + "/ckpt.safetensors --start line --seed 5";
    const Outcome once = run(sample + " --max_new_tokens 30"), again = run(sample + " --max-new-tokens 30");
    CHECK(once.status == 0);
    CHECK(once.text.size() == 4 + 30 + 1);
    CHECK(once.text.rfind("line", 0) == 0);
    CHECK(once.text == again.text);
    CHECK(run(sample + " --max_new_tokens 20 --temperature 0 --top_k 1").status == 0);
  }
}

TEST_CASE("train_gpt: the checkpoint is the same for any number of threads") {
  const Folder f;
  write(f / "text", some_text());
  for (const std::string settings : {" --style gpt2 --optimizer adamw", " --style gpt2 --optimizer aurora",
                                     " --style modern --optimizer adamw", " --style modern --optimizer aurora"}) {
    std::string first;
    for (const std::string threads : {"1", "2", "3", "8"}) {
      const std::string out = f / threads;
      const Outcome o =
          run("train_gpt --data " + (f / "text") + settings +
              " --n_layer 2 --dropout 0.1 --max_iters 3 --eval_iters 1 --out_dir " + out + " --threads " + threads);
      INFO(settings, ", ", threads, " threads, ", borealis::gemm_provider(), "\n", o.text);
      REQUIRE(o.status == 0);
      const std::string bytes = read(out + "/ckpt.safetensors");
      if (first.empty()) first = bytes;
      CHECK(bytes == first);
    }
  }
}

TEST_CASE("train_gpt: a run that was killed and resumed ends with the same bytes") {
  const Folder f;
  write(f / "text", some_text());
  const std::string common =
      "train_gpt --data " + (f / "text") + tiny_model + " --optimizer aurora --dropout 0.1 --max_iters 300 --out_dir ";
  REQUIRE(run(common + (f / "whole")).status == 0);

  const std::string checkpoint = f / "killed/ckpt.safetensors";
  shell(std::string(BOREALIS_PROGRAMS) + "/" + common + (f / "killed") + " & while [ ! -f " + checkpoint +
        " ]; do sleep 0.01; done; kill -9 $!; wait");
  REQUIRE(fs::exists(checkpoint));
  const Outcome resumed =
      run("train_gpt --init_from resume --data " + (f / "text") + " --log_interval 1 --out_dir " + (f / "killed"));
  INFO(resumed.text);
  REQUIRE(resumed.status == 0);
  CHECK(read(checkpoint) == read(f / "whole/ckpt.safetensors"));

  const auto a = log_of(f / "whole"), b = log_of(f / "killed");
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i]["train_loss"] == b[i]["train_loss"]);
    CHECK(a[i].value("val_loss", 0.0) == b[i].value("val_loss", 0.0));
  }
}

TEST_CASE("train_gpt: a resumed run keeps its settings unless they are overruled") {
  const Folder f;
  write(f / "text", some_text());
  const std::string common = " --data " + (f / "text") + " --out_dir " + (f / "out");
  REQUIRE(run("train_gpt" + common + tiny_model + " --max_iters 3").status == 0);
  const Outcome longer = run("train_gpt --init_from resume --max_iters 5 --log_interval 1" + common);
  INFO(longer.text);
  CHECK(longer.status == 0);
  CHECK(longer.says("5/5"));
  const auto log = log_of(f / "out");
  REQUIRE(log.size() == 6);
  CHECK(log[4]["lr"] > 0.0);  // the schedule was stretched with the run
  CHECK(run("train_gpt --init_from resume" + common).says("all 5 steps are done"));
  write(f / "other", some_text() + "more");
  const Outcome other =
      run("train_gpt --init_from resume --max_iters 9 --data " + (f / "other") + " --out_dir " + (f / "out"));
  CHECK(other.status == 1);
  CHECK(other.says("is not the text that"));
}

TEST_CASE("train_gpt: every optimizer of the list trains and resumes, and the track's preset") {
  const Folder f;
  write(f / "text", some_text());
  const Outcome list = run("train_gpt --list_optimizers");
  REQUIRE(list.status == 0);
  std::istringstream lines(list.text);
  std::string line;
  std::getline(lines, line);
  CHECK(line.starts_with("optimizer "));
  int rows = 0;
  for (; std::getline(lines, line); ++rows) {
    const std::string name = line.substr(0, line.find(' '));
    const std::string command =
        "train_gpt --data " + (f / "text") + tiny_model + " --optimizer " + name + " --out_dir " + (f / name);
    CHECK(run(command + " --max_iters 2").status == 0);
    const Outcome o = run(command + " --max_iters 4 --init_from resume");
    INFO(o.text);
    CHECK(o.status == 0);
    CHECK(o.says("4/4"));
  }
  CHECK(rows >= 30);
  const Outcome other = run("train_gpt --data " + (f / "text") + tiny_model +
                            " --init_from resume --optimizer muon --max_iters 6 --out_dir " + (f / "aurora"));
  CHECK(other.status == 1);
  CHECK(other.says("goes on with the optimizer it was started with, aurora; leave --optimizer out"));
  const Outcome preset = run("train_gpt --data " + (f / "text") +
                             " --init_from resume --preset small --max_iters 6 --out_dir " + (f / "aurora"));
  CHECK(preset.status == 1);
  CHECK(preset.says("goes on with the settings it was started with; leave --preset out"));

  const Outcome track = run("train_gpt --preset track3-nano --data " + (f / "text") + tiny_model +
                            " --max_iters 3 --out_dir " + (f / "track"));
  INFO(track.text);
  CHECK(track.status == 0);
  CHECK(track.says("aurora_contra"));
  const Outcome changed = run("train_gpt --data " + (f / "text") + tiny_model +
                              " --optimizer muon,pre=rows,decay=cautious --max_iters 3 --out_dir " + (f / "changed"));
  INFO(changed.text);
  CHECK(changed.status == 0);
}

TEST_CASE("train_gpt: wrong input gets one clear sentence and leaves nothing behind") {
  const Folder f;
  write(f / "text", some_text());
  write(f / "empty", "");
  write(f / "short", "too short");
  write(f / "file", "");
  const std::string out = f / "out", data = " --data " + (f / "text"), to = " --out_dir " + out;
  const auto with = [&](const std::string& flags, const std::string& expected) {
    refuses("train_gpt" + data + to + tiny_model + " --max_iters 2 " + flags, expected, out);
  };
  refuses("train_gpt --data " + (f / "missing") + to, "missing: cannot be opened", out);
  refuses("train_gpt --data " + f.path.string() + to, "is a folder", out);
  refuses("train_gpt --data " + (f / "empty") + to, "empty: is empty", out);
  refuses("train_gpt --data " + (f / "short") + to, "too few", out);
  with("--n_embd 18 --n_head 4", "n_embd = 18 is not divisible by n_head = 4");
  with("--n_layer 0", "--n_layer 0: must be from 1");
  with("--n_head -1", "--n_head -1: must be from 1");
  with("--n_embd 2000000000", "--n_embd 2e+09: must be from 1");
  with("--n_embd 1048576 --n_head 1 --mlp_expansion 1000", "this run needs about");
  with("--n_layer 1000000 --n_embd 1024 --n_head 1", "this run needs about");
  with("--batch_size 1000000000", "this run needs about");
  with("--batch_size 0", "--batch_size 0: must be from 1");
  with("--block_size 100000", "too few");
  with("--learning_rate nan", "--learning_rate nan: must be a number that is not negative");
  with("--learning_rate -1", "--learning_rate -1: must be a number that is not negative");
  with("--optimizer muon --matrix_lr inf", "--matrix_lr inf: must be a number that is not negative");
  with("--beta1 1", "--beta1 1: must be in [0, 1)");
  with("--dropout 1", "dropout = 1 must be in [0, 1)");
  with("--optimizer moun", "optimizer: there is no 'moun'; train_gpt --list_optimizers shows all");
  with("--optimizer muon,warp=9", "there is no stage 'warp'; known are momentum, mu, nesterov, pre,");
  with("--optimizer muon,pre", "'pre' is not stage=value, as in pre=rows");
  with("--optimizer muon,pre=odd", "pre: there is no 'odd'; known are none, rows, columns,");
  with("--optimizer muon,contra=x", "contra: 'x' is not a number");
  with("--optimizer muonh --weight_decay 0.1", "decay=hyperball replaces the decay");
  with("--optimizer muonh --style modern", "starts at zero, and decay=hyperball keeps the length");
  with("--optimizer aurora --polar newton", "newton");
  with("--optimizer adamw --polar svd", "--polar means nothing here, since --optimizer adamw");
  with("--optimizer adamw --polar newton", "newton");
  with("--optimizer muon --where wide", "--where means nothing here, since muon balances no rows");
  with("--optimizer sron --momentum 0.9", "--momentum means nothing here, since sron has none");
  with("--optimizer aurora_riemannian --pp_beta 1", "balance=riemannian has rounds of its own");
  with("--optimizer sgd --weight_decay 0.4", "must be below 1, or the decay turns weights round");
  with("--preset track3-nano --style gpt2", "a model of the modern style; leave --style out");
  with("--optimizer aurora --pp_iterations 1000", "--pp_iterations 1000: must be from 1 to 100");
  with("--optimizer aurora --where somewhere", "somewhere");
  with("--optimizer aurora --balance never", "never");
  with("--optimizer aurora --pp_iterations 0", "--pp_iterations 0");
  with("--optimizer aurora --pp_beta 0", "beta");
  with("--style rnn", "style: there is no 'rnn'; known are gpt2, modern");
  with("--preset huge", "'huge' is not a preset; use nano, small, gpt2-124m or track3-nano");
  with("--colour red", "--colour");
  with("--n_layer two", "--n_layer");
  with("--device cuda:99",
       cuda_count() > 0 ? "cuda:99: is not there" : "this build has no CUDA backend; use the device cpu");
  with("--device tpu", "'tpu' is not a device");
  with("--threads -1", "--threads -1: must be from 0 to 1024");
  with("--log_interval 0", "--log_interval 0: must be at least 1");
  with("--init_from resume", "ckpt.safetensors to go on from; start without --init_from resume");
  with("--head_lr 0.1", "--head_lr means nothing here, since the head is the embedding");
  refuses("train_gpt" + data + tiny_model + " --out_dir " + (f / "file") + "/below", "cannot be made", out);
  refuses("train_gpt" + data + tiny_model + " --out_dir /proc/nowhere", "cannot be", out);
}

TEST_CASE("train_gpt: a loss that is not finite stops the run and names where it began") {
  const Folder f;
  write(f / "text", some_text());
  const Outcome o = run("train_gpt --data " + (f / "text") + tiny_model +
                        " --learning_rate 1e30 --warmup_iters 0 --grad_clip 0 --max_iters 20 --out_dir " + (f / "out"));
  INFO(o.text);
  CHECK(o.status == 1);
  CHECK(o.says("not finite at step"));
  CHECK(o.says("anomaly:"));
  CHECK(o.says("Try a lower learning rate"));

  // Whoever looks later is told the same: nothing has changed since.
  const Outcome later = run("train_gpt --data " + (f / "text") + tiny_model +
                            " --learning_rate 1e30 --warmup_iters 0 --grad_clip 0 --max_iters 20 --out_dir " +
                            (f / "later") + " --log_interval 20 --eval_interval 20");
  const auto place = [](const Outcome& run) { return run.text.substr(run.text.find("train_gpt: the loss")); };
  CHECK(place(later) == place(o));

  // The last update is looked at before it is saved.
  const Outcome last = run("train_gpt --data " + (f / "text") + tiny_model +
                           " --learning_rate 1e300 --warmup_iters 0 --max_iters 1 --out_dir " + (f / "last"));
  INFO(last.text);
  CHECK(last.status == 1);
  CHECK(last.says("anomaly:"));
  CHECK(!fs::exists(f / "last/ckpt.safetensors"));

  const Outcome watched =
      run("train_gpt --anomaly --data " + (f / "text") + tiny_model +
          " --learning_rate 1e30 --warmup_iters 0 --grad_clip 0 --max_iters 20 --out_dir " + (f / "out2"));
  CHECK(watched.status == 1);
  CHECK(watched.says("anomaly:"));
}

TEST_CASE("train_gpt: --compare takes one step twice and shows where the two differ most") {
  const Folder f;
  write(f / "text", some_text());
  const std::string command = "train_gpt --data " + (f / "text") + tiny_model + " --out_dir " + (f / "out");
  for (const std::string rest : {"", " --optimizer aurora", " --style modern --optimizer muon"}) {
    const Outcome types = run(command + rest + " --compare f32,f64"), same = run(command + rest + " --compare f32,cpu");
    INFO(types.text, same.text);
    CHECK(types.status == 0);
    CHECK(same.status == 0);
    CHECK(types.lines() == 6);
    for (const std::string part : {"forward", "backward", "gradients", "update"}) {
      const auto share = [&](const Outcome& o) {
        std::istringstream line(o.text.substr(o.text.find('\n' + part)));
        std::string word;
        double tensors = 0, found = -1;
        line >> word >> tensors >> found;
        CHECK(tensors > 5);
        return found;
      };
      CHECK(share(types) > 1e-9);
      // A polar factor amplifies what differs in a nearly singular matrix.
      CHECK(share(types) < (part == "update" ? 0.05 : 1e-4));
      CHECK(share(same) == 0);
    }
  }
  CHECK(!fs::exists(f / "out"));
  for (const std::string wrong : {"f32", "f32,f16", ",", "cpu,gpu"})
    refuses(command + " --compare " + wrong, wrong == "f32" ? "must be two devices or types" : "is not a device",
            f / "out");
}

TEST_CASE("sample_gpt: wrong input gets one clear sentence") {
  const Folder f;
  write(f / "text", some_text());
  REQUIRE(run("train_gpt --data " + (f / "text") + tiny_model + " --max_iters 1 --out_dir " + (f / "out")).status == 0);
  const std::string checkpoint = f / "out/ckpt.safetensors", bytes = read(checkpoint);
  write(f / "truncated", bytes.substr(0, bytes.size() / 2));
  write(f / "foreign", "this is no checkpoint at all");
  borealis::write_safetensors(f / "other", {{}, {{"w", borealis::Tensor::zeros({2})}}});
  const std::string nothing = f / "nothing";
  refuses("sample_gpt --checkpoint " + (f / "missing"), "missing", nothing);
  refuses("sample_gpt --checkpoint " + (f / "truncated"), "truncated", nothing);
  refuses("sample_gpt --checkpoint " + (f / "foreign"), "foreign", nothing);
  refuses("sample_gpt --checkpoint " + (f / "other"), "no checkpoint of Borealis", nothing);
  const std::string good = "sample_gpt --checkpoint " + checkpoint;
  refuses(good + " --start ''", "--start has an empty value", nothing);
  refuses(good + " --start 'line @'", "'@' at place 5 does not occur", nothing);
  refuses(good + " --temperature -1", "temperature -1 must", nothing);
  refuses(good + " --top_k -1", "top_k -1 must", nothing);
  refuses(good + " --max_new_tokens -5", "max_new_tokens -5 must", nothing);
  refuses(good + " --device cuda:99", cuda_count() > 0 ? "is not there" : "no CUDA backend", nothing);
  refuses(good + " --unknown 1", "--unknown", nothing);
}

TEST_CASE("programs: --version says which one, and CHANGELOG.md begins with it") {
  for (const std::string program : {"train_gpt", "sample_gpt", "inspect"}) {
    const Outcome o = run(program + " --version");
    CHECK(o.status == 0);
    CHECK(o.text == program + " " BOREALIS_VERSION "\n");
  }
  const std::string changes = read(BOREALIS_SOURCE + std::string("/CHANGELOG.md"));
  const size_t newest = changes.find("\n## ");
  REQUIRE(newest != std::string::npos);
  CHECK(changes.substr(newest + 4).starts_with(BOREALIS_VERSION "\n"));
}

TEST_CASE("train_gpt: characters are the tokens, bytes where a text is no valid UTF-8") {
  const Folder f;
  std::string wide = "\n";
  for (int i = 0; i < 400; ++i) wide += "é→" + std::to_string(i * i % 97);
  write(f / "wide", wide);
  write(f / "broken", wide + "\xa9\xc3");
  const std::string tiny = tiny_model + " --max_iters 10 --out_dir " + (f / "out") + " --data ";
  const Outcome characters = run("train_gpt" + tiny + (f / "wide"));
  INFO(characters.text);
  CHECK(characters.says(" characters, 13 of them different"));
  CHECK(!characters.says("no valid UTF-8"));
  const std::string checkpoint = f / "out/ckpt.safetensors";
  const std::string text = run("sample_gpt --checkpoint " + checkpoint).text;
  for (size_t at = 0; at < text.size(); at += character_length(text.substr(at)))
    REQUIRE(character_length(text.substr(at)) > 0);

  const Outcome bytes = run("train_gpt" + tiny + (f / "broken"));
  INFO(bytes.text);
  CHECK(bytes.says("broken: is no valid UTF-8, so a token is a byte of it, not a character\n"));
  CHECK(bytes.says(" bytes, 16 of them different"));

  // A run of bytes goes on with bytes, although its text is one of characters.
  TensorFile file = read_safetensors(checkpoint);
  file.metadata.at("text_fingerprint") = std::to_string(fingerprint_of(wide));
  write_safetensors(checkpoint, file);
  const Outcome on = run("train_gpt --init_from resume" + tiny + (f / "wide") + " --max_iters 12");
  INFO(on.text);
  CHECK(on.status == 0);
  CHECK(on.says(" bytes, 16 of them different"));
  CHECK(!on.says("no valid UTF-8"));
  CHECK(read_safetensors(checkpoint).metadata.at("vocabulary") == file.metadata.at("vocabulary"));
}
