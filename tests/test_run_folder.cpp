// What train_gpt does with what it finds in its folder: another run, an earlier one, links, pipes,
// a full disk, a model that has come apart.
#include <filesystem>

#include <doctest/doctest.h>

#include "demos/run/checkpoint.h"
#include "demos/run/run_folder.h"
#include "tests/programs.h"

using namespace borealis;
namespace fs = std::filesystem;

namespace {

// Does a run of three steps, and gives what goes on from it.
std::string resume_of_three_steps(const Folder& f, const std::string& name = "out") {
  write(f / "text", some_text());
  const std::string command = "train_gpt --data " + (f / "text") + " --out_dir " + (f / name);
  const Outcome o = run(command + tiny_model + " --max_iters 3");
  INFO(o.text);
  REQUIRE(o.status == 0);
  return command + " --init_from resume --log_interval 1 --max_iters 6";
}

// As `refuses`, but it may not wait for a pipe either.
void refuses_at_once(const std::string& command, const std::string& expected) {
  INFO(command);
  const Outcome o = shell("timeout 20 " BOREALIS_PROGRAMS "/" + command);
  INFO(o.text);
  CHECK(o.status == 1);
  CHECK(o.says(expected));
  CHECK(o.lines() == 1);
}

}  // namespace

TEST_CASE("train_gpt: one run at a time writes into a folder") {
  const Folder f;
  write(f / "text", some_text());
  const std::string fresh = "train_gpt --data " + (f / "text") + tiny_model + " --out_dir " + (f / "out");
  Running first(fresh + " --max_iters 100000000", f / "printed");
  wait_until([&] { return fs::exists(f / "out/ckpt.safetensors"); });
  const std::string expected =
      "another run (process " + std::to_string(first.pid()) + ") is writing into " + (f / "out") + "; wait for its end";
  refuses_at_once(fresh, expected);
  refuses_at_once(fresh + " --init_from resume", expected);
  CHECK(!fs::exists(f / "out/previous.1.ckpt.safetensors"));
  // The lock ends with its process, however that ends.
  first.send(SIGKILL);
  first.wait();
  CHECK(run(fresh + " --max_iters 1").status == 0);
}

TEST_CASE("train_gpt: a resume reads nothing while another run may still replace it") {
  const Folder f;
  RunFolder folder(f / "out");
  folder.take();
  write(f / "out/ckpt.safetensors", "damaged");
  refuses_at_once("train_gpt --init_from resume --out_dir " + (f / "out"),
                  "another run (process " + std::to_string(::getpid()) + ")");
}

TEST_CASE("train_gpt: earlier runs are set aside under names of their own, and it says so") {
  const Folder f;
  write(f / "text", some_text());
  const std::string command =
      "train_gpt --data " + (f / "text") + tiny_model + " --max_iters 1 --out_dir " + (f / "out");
  std::vector<std::string> checkpoints, logs;
  for (int n = 0; n < 4; ++n) {
    const Outcome o = run(command + " --seed " + std::to_string(n));
    REQUIRE(o.status == 0);
    CHECK(o.says("set aside as previous." + std::to_string(n) + ".*") == (n > 0));
    checkpoints.push_back(read(f / "out/ckpt.safetensors"));
    logs.push_back(read(f / "out/log.jsonl"));
    for (int i = 0; i < n; ++i) {
      const std::string previous = f / "out/previous." + std::to_string(i + 1) + '.';
      CHECK(read(previous + "ckpt.safetensors") == checkpoints[static_cast<size_t>(i)]);
      CHECK(read(previous + "log.jsonl") == logs[static_cast<size_t>(i)]);
      CHECK(fs::exists(previous + "run.json"));
    }
  }
}

TEST_CASE("train_gpt: a run that cannot start moves nothing") {
  const Folder f;
  resume_of_three_steps(f);
  const std::string before = read(f / "out/ckpt.safetensors");
  const std::string fresh = "train_gpt --data " + (f / "text") + tiny_model + " --out_dir " + (f / "out");
  const auto unmoved = [&](const Outcome& o) {
    INFO(o.text);
    CHECK(o.status == 1);
    CHECK(o.lines() == 1);
    CHECK(read(f / "out/ckpt.safetensors") == before);
    CHECK(log_of(f / "out").size() == 4);
    CHECK(!fs::exists(f / "out/previous.1.log.jsonl"));
    CHECK(!fs::exists(f / "out/previous.1.ckpt.safetensors"));
  };
#ifndef __clang__  // whose OpenMP library does not start where no file may grow
  // No file may grow: the disk is full.
  const Outcome full = shell("ulimit -f 0; " BOREALIS_PROGRAMS "/" + fresh);
  CHECK(full.says("cannot be written: File too large"));
  unmoved(full);
#endif
  unmoved(run(fresh + " --batch_size 1000000000"));
  unmoved(run(fresh + " --n_embd 17"));
}

TEST_CASE("train_gpt: paths that are no UTF-8 are as good as others") {
  const Folder f;
  resume_of_three_steps(f, "\xFF\xFE");
  const Outcome again =
      run("train_gpt --data " + (f / "text") + tiny_model + " --max_iters 1 --out_dir " + (f / "\xFF\xFE"));
  CHECK(again.status == 0);
  CHECK(nlohmann::json::parse(read(f / "\xFF\xFE/run.json")).contains("out_dir"));
}

TEST_CASE("train_gpt: links and pipes among its files are refused before it begins") {
  const Folder f;
  const std::string resume = resume_of_three_steps(f), out = f / "out";
  const std::string fresh = "train_gpt --data " + (f / "text") + tiny_model + " --max_iters 1 --out_dir " + out;
  for (const std::string file : {"ckpt.safetensors", "log.jsonl", "run.json", "lock"}) {
    const std::string path = out + '/' + file, content = read(path);
    INFO(file);
    fs::rename(path, f / "elsewhere");
    fs::create_symlink(f / "elsewhere", path);
    refuses_at_once(resume, file == "run.json" ? "it is a symbolic link"
                            : file == "lock"   ? "lock: cannot be opened"
                                               : file + (file == "log.jsonl" ? ": is" : " is") + " not a regular file");
    CHECK(read(f / "elsewhere") == content);
    fs::remove(path);
    REQUIRE(shell("mkfifo " + path).status == 0);
    refuses_at_once(resume, "not a regular file");
    fs::remove(path);
    fs::rename(f / "elsewhere", path);
  }
  // A fresh run takes a link away as it stands.
  fs::rename(out + "/ckpt.safetensors", f / "elsewhere");
  fs::create_symlink(f / "elsewhere", out + "/ckpt.safetensors");
  const std::string content = read(f / "elsewhere");
  CHECK(run(fresh).status == 0);
  CHECK(read(f / "elsewhere") == content);
  CHECK(fs::is_symlink(out + "/previous.1.ckpt.safetensors"));
  CHECK(fs::is_regular_file(fs::symlink_status(out + "/ckpt.safetensors")));
}

TEST_CASE("train_gpt: what a killed writer left is removed by the next run") {
  const Folder f;
  const std::string resume = resume_of_three_steps(f);
  write(f / "out/ckpt.safetensors.4711-3.tmp", "half");
  write(f / "out/ckpt.safetensors.mine.tmp", "kept");
  CHECK(run(resume).status == 0);
  CHECK(!fs::exists(f / "out/ckpt.safetensors.4711-3.tmp"));
  CHECK(fs::exists(f / "out/ckpt.safetensors.mine.tmp"));
}

TEST_CASE("train_gpt: a resume keeps the log's lines up to its checkpoint, and no cut one") {
  const Folder f;
  const std::string resume = resume_of_three_steps(f), log = f / "out/log.jsonl";
  std::string text = read(log);
  text = text.substr(0, text.find("{\"final\""));
  const std::string longer = text + "{\"step\":4,\"train_loss\":1.0}\nno json\n{\"step\":5,\"tr";
  write(log, longer);
  fs::create_hard_link(log, f / "same");
  CHECK(run(resume).status == 0);
  CHECK(read(log).starts_with(text));
  CHECK(read(f / "same") == longer);  // replaced whole, not emptied and written again
  const auto objects = log_of(f / "out");
  REQUIRE(objects.size() == 7);
  for (size_t i = 0; i < 6; ++i) CHECK(objects[i]["step"] == i + 1);
}

TEST_CASE("train_gpt: an end that was not told is told by a resume") {
  const Folder f;
  resume_of_three_steps(f);
  const std::string log = f / "out/log.jsonl", text = read(log);
  const std::string checkpoint = read(f / "out/ckpt.safetensors");
  const auto before = log_of(f / "out").back();
  write(log, text.substr(0, text.find("{\"final\"")));
  const std::string again = "train_gpt --data " + (f / "text") + " --init_from resume --out_dir " + (f / "out");
  CHECK(run(again).status == 0);
  const auto after = log_of(f / "out").back();
  for (const char* key : {"final", "step", "val_loss", "train_loss"}) CHECK(after[key] == before[key]);
  CHECK(read(f / "out/ckpt.safetensors") == checkpoint);
  CHECK(run(again).says("all 3 steps are done"));
}

TEST_CASE("train_gpt: a checkpoint worse than guessing does not take a good one's place unkept") {
  const Folder f;
  const std::string resume = resume_of_three_steps(f);
  const std::string good = read(f / "out/ckpt.safetensors");
  const Outcome o = run(resume + " --learning_rate 30 --warmup_iters 0");
  INFO(o.text);
  CHECK(o.status == 0);
  CHECK(o.says("is worse than guessing; the checkpoint before is kept in " +
               (f / "out/before_divergence.ckpt.safetensors")));
  CHECK(log_of(f / "out").back()["val_loss"] > 5.0);
  CHECK(read(f / "out/before_divergence.ckpt.safetensors") == good);
  // Only the last good one: what comes after is no better than the one that is there.
  CHECK(run(resume + " --max_iters 20").status == 0);
  CHECK(read(f / "out/before_divergence.ckpt.safetensors") == good);
}

TEST_CASE("train_gpt: a resume cannot change the model") {
  const Folder f;
  const std::string resume = resume_of_three_steps(f);
  const std::string good = read(f / "out/ckpt.safetensors");
  const auto contradicts = [&](const std::string& flag, const std::string& has) {
    refuses_at_once(resume + " --" + flag,
                    "--" + flag + " contradicts the run in " + (f / "out") + ", which has " + has + "; leave it out");
  };
  contradicts("n_layer 2", "1");
  contradicts("n_head 1", "2");
  contradicts("n_embd 32", "16");
  contradicts("block_size 4", "8");
  contradicts("mlp relu_squared", "gelu");
  contradicts("mlp_expansion 2", "4");
  contradicts("bias true", "false");
  contradicts("style modern", "gpt2");
  CHECK(read(f / "out/ckpt.safetensors") == good);
  CHECK(run(resume + " --n_layer 1 --mlp gelu --style gpt2 --bias false --dropout 0.1").status == 0);
}

TEST_CASE("train_gpt: a sample that cannot be drawn does not make a finished run a failure") {
  const Folder f;
  write(f / "text", std::string(3000, 'a') + std::string(3000, 'b'));
  const Outcome o = run("train_gpt --data " + (f / "text") + tiny_model + " --max_iters 3 --out_dir " + (f / "out"));
  INFO(o.text);
  CHECK(o.status == 0);
  CHECK(log_of(f / "out").back()["final"] == true);
}
