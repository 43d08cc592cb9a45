// A run of train_gpt that is interrupted or killed at any moment loses nothing, and its last resume
// ends as the run that was never cut. tests/storm_runs does the same a hundred times over.
#include <filesystem>
#include <random>
#include <sstream>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "demos/run/checkpoint.h"
#include "tests/programs.h"

using namespace borealis;
namespace fs = std::filesystem;

namespace {

bool finished(const std::string& folder) {
  const auto log = told(folder);
  return !log.empty() && log.back().contains("final");
}

size_t lines_of(const std::string& file) {
  const std::string text = read(file);
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

// Runs of some settings in a folder, cut and whole.
struct Runs {
  const Folder& f;
  std::string flags, whole = f / "whole", cut = f / "cut", checkpoint = cut + "/ckpt.safetensors";
  double seconds = 0;  // that the whole one took

  Runs(const Folder& folder, const std::string& settings) : f(folder) {
    write(f / "text", some_text());
    flags = "train_gpt --data " + (f / "text") + " --log_interval 1 --out_dir ";
    fs::remove_all(whole);
    fs::remove_all(cut);
    settings_ = settings;
    const auto start = std::chrono::steady_clock::now();
    const Outcome o = run(flags + whole + settings);
    INFO(o.text);
    REQUIRE(o.status == 0);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  // Starts it, or goes on where there is a checkpoint.
  std::string command() const { return flags + cut + (fs::exists(checkpoint) ? " --init_from resume" : settings_); }
  // The first steps of the log, which no kill may take away: those up to the checkpoint.
  std::vector<int64_t> steps_kept() const {
    std::vector<int64_t> steps;
    if (!fs::exists(checkpoint)) return steps;
    const int64_t last = read_checkpoint(checkpoint).step;
    std::istringstream lines(read(cut + "/log.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto object = nlohmann::json::parse(line, nullptr, false);
      if (object.is_object() && object["step"] <= last) steps.push_back(object["step"]);
    }
    return steps;
  }
  // One process, sent a signal at that moment.
  void stop(int signal, double moment) {
    const auto before = steps_kept();
    fs::remove(f / "printed");
    Running process(command(), f / "printed");
    sleep_for(moment);
    process.send(signal);
    const int status = process.wait();
    INFO("signal ", signal, " after ", moment, " s: status ", status, "\n", read(f / "printed"));
    CHECK((status == 128 + signal || status == 0));
    if (signal != SIGKILL) {
      // Otherwise it came before the program began.
      if (process.was_killed()) CHECK(read(f / "printed").empty());
      // No step is lost.
      if (fs::exists(checkpoint)) {
        const auto log = log_of(cut);
        CHECK((log.empty() ? 0 : log.back()["step"].get<int64_t>()) == read_checkpoint(checkpoint).step);
      }
    }
    const auto after = steps_kept();  // reads the checkpoint, too
    REQUIRE(after.size() >= before.size());
    CHECK(std::equal(before.begin(), before.end(), after.begin()));
  }
  void ends_like_the_whole_one() {
    if (!finished(cut)) {
      const Outcome o = run(command());
      INFO(o.text);
      REQUIRE(o.status == 0);
    }
    CHECK(read(checkpoint) == read(whole + "/ckpt.safetensors"));
    CHECK(told(cut) == told(whole));
    for (const auto& entry : fs::directory_iterator(cut)) CHECK(entry.path().extension() != ".tmp");
    fs::remove_all(cut);
  }

 private:
  std::string settings_;
};

const std::string some_steps =
    " --n_layer 1 --n_head 2 --n_embd 32 --block_size 16 --batch_size 8 --dropout 0.1"
    " --eval_interval 13 --eval_iters 3 --max_iters 100";

}  // namespace

TEST_CASE("train_gpt: interrupted at any moments, a chain of resumes ends like the whole run") {
  const Folder f;
  std::mt19937 random(1);
  const std::vector<int> signals{SIGINT, SIGTERM, SIGHUP};
  for (const std::string settings : {" --optimizer adamw --threads 1", " --optimizer adamw --threads 2",
                                     " --optimizer aurora --threads 1", " --optimizer aurora --threads 2"}) {
    Runs runs(f, some_steps + settings);
    INFO(settings);
    std::uniform_real_distribution<double> moment(0, runs.seconds);
    for (const int stops : {1, 1, 1, 5}) {
      for (int i = 0; i < stops && !finished(runs.cut); ++i) runs.stop(signals[random() % 3], moment(random));
      runs.ends_like_the_whole_one();
    }
  }
}

TEST_CASE("train_gpt: killed while it saves or at the start of a resume, it loses nothing older") {
  const Folder f;
  std::mt19937 random(2);
  Runs runs(f, some_steps +
                   " --optimizer aurora --threads 2 --eval_interval 2 --eval_iters 1"
                   " --max_iters 30");
  std::uniform_real_distribution<double> anywhere(0, runs.seconds), early(0, 0.03);
  int kills = 0;
  while (kills < 20) {
    for (int i = 0; i < 5 && !finished(runs.cut); ++i, ++kills) runs.stop(SIGKILL, anywhere(random));
    runs.ends_like_the_whole_one();
  }
  for (int chain = 0; chain < 2; ++chain) {
    runs.stop(SIGTERM, runs.seconds / 2);
    for (int i = 0; i < 12 && !finished(runs.cut); ++i) runs.stop(SIGKILL, early(random));
    runs.ends_like_the_whole_one();
  }
}

TEST_CASE("train_gpt: a validation that is interrupted is made up for by the resume") {
  const Folder f;
  const std::string tiny = tiny_model + " --max_iters 12";
  Runs runs(f, tiny);
  const std::string log = runs.cut + "/log.jsonl";
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Running process(runs.flags + runs.cut + tiny + " --eval_iters 100000000", f / "printed");
    wait_until([&] { return lines_of(log) == 4; });
    sleep_for(0.1);
    process.send(signal);
    CHECK(process.wait() == 128 + signal);
    INFO(read(f / "printed"));
    REQUIRE(lines_of(log) == 5);
    CHECK(!log_of(runs.cut).back().contains("val_loss"));
    CHECK(read_checkpoint(runs.checkpoint).step == 5);
    const Outcome o = run(runs.command() + " --eval_iters 2");
    CHECK(o.status == 0);
    runs.ends_like_the_whole_one();
  }
}

TEST_CASE("train_gpt: so is the last one, over the whole validation split") {
  const Folder f;
  std::string text;
  for (int i = 0; i < 500; ++i) text += some_text();
  write(f / "text", text);
  const std::string out = f / "out", common = "train_gpt --data " + (f / "text") + " --out_dir ";
  const std::string settings = tiny_model + " --max_iters 3 --threads 1";
  Running process(common + out + settings, f / "printed");
  wait_until([&] { return lines_of(out + "/log.jsonl") == 3; });
  process.send(SIGTERM);
  CHECK(process.wait() == 143);
  CHECK(read(f / "printed").find("stopped at step 3") != std::string::npos);
  CHECK(!finished(out));
  REQUIRE(run(common + out + " --init_from resume").status == 0);
  REQUIRE(run(common + (f / "whole") + settings).status == 0);
  CHECK(told(out) == told(f / "whole"));
  CHECK(read(out + "/ckpt.safetensors") == read(f / "whole/ckpt.safetensors"));
  // Only now is it done.
  CHECK(run(common + out + " --init_from resume").says("all 3 steps are done"));
}

TEST_CASE("train_gpt: a second signal ends it at once, if it comes later than half a second") {
  const Folder f;
  write(f / "text", some_text());
  const std::string pipe = f / "pipe";
  REQUIRE(shell("mkfifo " + pipe).status == 0);
  for (const bool later : {true, false}) {
    // It waits for a reader of what it prints, who does not come.
    const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    Running process("train_gpt --data " + (f / "text") + tiny_model +
                        " --eval_interval 100000 --max_iters 100000 --out_dir " + (f / "out"),
                    pipe);
    wait_until([&] {
      int waiting = 0;
      return ::ioctl(reader, FIONREAD, &waiting) == 0 && waiting > 64000;  // of 65536
    });
    sleep_for(0.5);
    process.send(SIGINT);
    sleep_for(later ? 0.7 : 0.01);
    REQUIRE(!process.ended());
    process.send(SIGTERM);
    if (later) CHECK(process.wait() == 143);
    sleep_for(0.2);
    CHECK(process.ended() == later);
    ::close(reader);
    if (!later) CHECK(process.wait() == 130);
    CHECK(fs::exists(f / "out/ckpt.safetensors") == !later);
  }
}

TEST_CASE("train_gpt: before there is anything to save, a signal ends it and nothing is made") {
  const Folder f;
  int ends[2];  // it reads a text that never comes
  REQUIRE(::pipe(ends) == 0);
  Running process("train_gpt --data /dev/fd/" + std::to_string(ends[0]) + " --out_dir " + (f / "out"), f / "printed");
  wait_until([&] { return fs::exists(f / "printed"); });
  sleep_for(0.3);
  REQUIRE(!process.ended());
  process.send(SIGINT);
  CHECK(process.wait() == 130);
  for (const int end : ends) ::close(end);
  CHECK(!fs::exists(f / "out"));
}

TEST_CASE("train_gpt: a signal that is ignored at the start stays ignored") {
  const Folder f;
  Runs runs(f, some_steps);
  const Outcome o =
      shell("trap '' HUP; " BOREALIS_PROGRAMS "/" + runs.command() + " & sleep 0.1; kill -HUP $!; wait $!");
  CHECK(o.status == 0);
  runs.ends_like_the_whole_one();
}

TEST_CASE("train_gpt: a reader that goes away interrupts it") {
  const Folder f;
  Runs runs(f, some_steps);
  const Outcome o =
      shell("{ " BOREALIS_PROGRAMS "/" + runs.command() + "; echo $? >" + (f / "status") + "; } | head -1");
  CHECK(o.lines() == 1);
  CHECK(read(f / "status") == "141\n");
  CHECK(read_checkpoint(runs.checkpoint).step < 100);
  runs.ends_like_the_whole_one();
}
