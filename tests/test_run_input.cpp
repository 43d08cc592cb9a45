// The edges of every program: flags that could be misread, and output that gets lost.
#include <doctest/doctest.h>

#include "tests/programs.h"

using namespace borealis;

namespace {

std::string trained(const Folder& f) {
  write(f / "text", some_text());
  REQUIRE(run("train_gpt --data " + (f / "text") + tiny_model + " --max_iters 2 --out_dir " + (f / "trained")).status ==
          0);
  return f / "trained/ckpt.safetensors";
}

}  // namespace

TEST_CASE("programs: an empty value, a number out of range or of another base is never misread") {
  const Folder f;
  const std::string checkpoint = trained(f), out = f / "out";
  const auto train = [&](const std::string& flags, const std::string& expected) {
    refuses("train_gpt --data " + (f / "text") + " --out_dir " + out + tiny_model + " --max_iters 2 " + flags, expected,
            out);
  };
  for (const std::string flag : {"--learning_rate", "--grad_clip", "--seed", "--n_layer", "--bias", "--optimizer",
                                 "--data", "--max-iters", "--threads"}) {
    train(flag + " ''", "train_gpt: " + flag + " has an empty value; give one or leave it out");
    train(flag + "=", "train_gpt: " + flag + " has an empty value");
  }
  train("--seed -1", "--seed: '-1' is not a whole number from 0 to 2^64 - 1");
  train("--seed 18446744073709551616", "is not a whole number from 0 to 2^64 - 1");
  train("--diagnose 99999999999999999999", "--diagnose: '99999999999999999999' is not a whole");
  train("--n_layer 0x2", "--n_layer: '0x2' is not a whole number in decimal digits");
  train("--n_layer 1.5", "--n_layer: '1.5' is not a whole number");
  train("--min_lr 0.1", "--min_lr 0.1 must not be above --learning_rate 0.001");
  train("--warmup_iters 3", "--warmup_iters 3 must not be above --max_iters 2");
  train("--optimizer muon,where=wide", "where means nothing in --optimizer muon,where=wide, since");
  train("--optimizer 'aurora,balance=none, pp_beta=1'", "pp_beta means nothing in --optimizer");
  train("--optimizer sron,mu=0.8", "mu means nothing in --optimizer sron,mu=0.8, since");

  const std::string sample = "sample_gpt --checkpoint ";
  refuses(sample + "''", "sample_gpt: --checkpoint has an empty value", out);
  refuses(sample + checkpoint + " --seed ''", "--seed has an empty value", out);
  refuses(sample + checkpoint + " --seed -1", "--seed: '-1' is not a whole number", out);
  refuses("inspect ''", "inspect: an argument has an empty value", out);
  refuses("inspect " + checkpoint + " --max_side ''", "--max_side has an empty value", out);

  // Decimal, with zeros in front or not; the largest seed there is.
  const Outcome o = run("train_gpt --data " + (f / "text") + " --out_dir " + out + tiny_model +
                        " --max_iters 0012 --seed 18446744073709551615 --n_head 02");
  INFO(o.text);
  CHECK(o.status == 0);
  CHECK(o.says("12/12"));
}

TEST_CASE("programs: output that gets lost is status 1 and one sentence") {
  const Folder f;
  const std::string checkpoint = trained(f);
  for (const std::string& program :
       {std::string("hello_autograd"), "hello_gpt --steps 1 " + (f / "text"), "inspect " + checkpoint,
        std::string("inspect --help"), "sample_gpt --checkpoint " + checkpoint, std::string("train_gpt --help"),
        std::string("train_gpt --list_optimizers"),
        "train_gpt --data " + (f / "text") + tiny_model + " --max_iters 3 --out_dir " + (f / "out")}) {
    for (const std::string lost : {" >/dev/full", " >&-"}) {
      const Outcome o = run(program + lost);
      INFO(program, lost, "\n", o.text);
      CHECK(o.status == 1);
      CHECK(o.lines() == 1);
      CHECK(o.says("written"));
    }
  }
  // The run itself is whole, and nothing that was meant for the terminal got into its files.
  CHECK(log_of(f / "out").size() == 4);
  CHECK(log_of(f / "out").back()["final"] == true);
  CHECK(read(f / "out/lock").find("step") == std::string::npos);
  CHECK(run("inspect " + (f / "out/ckpt.safetensors") + " <&-").status == 0);
}
