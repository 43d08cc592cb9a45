// What train_gpt can be told, in nanoGPT's words, and what it makes of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "engine/names.h"
#include "nn/gpt_config.h"
#include "optim/spectral_config.h"

namespace borealis {

enum class Schedule {
  cosine,  // warm-up, then a cosine from the learning rate to min_lr (nanoGPT)
  linear,  // warm-up, constant, then linear to 0 over the last 70 % (the optimizer track)
};
template <> inline constexpr std::array words_of<Schedule>{"schedule", "cosine", "linear"};

// A run, fully decided: everything that its numbers depend on. It travels in the checkpoint.
struct TrainOptions {
  GptConfig model;
  int64_t batch_size = 12;

  std::string optimizer = "adamw";  // or what parse_spectral takes: "muon", "aurora,where=wide"
  // Of that row, whatever later versions make of its name, with what flags change; idle with adamw. Its weight_decay is
  // not read: that of the run is below.
  SpectralConfig stages = {.direction = {.polar = Polar::polar_express6}};

  double learning_rate = 1e-3;  // AdamW's
  double matrix_lr = 0.02;      // the spectral optimizer's
  double embed_lr = 1e-3, head_lr = 1e-3, vector_lr = 1e-3;
  double weight_decay = 0.1;  // on matrices: of AdamW, or of the spectral optimizer (instead of its stage)
  double beta1 = 0.9, beta2 = 0.99;
  double grad_clip = 1;  // 0: none

  Schedule schedule = Schedule::cosine;
  int64_t max_iters = 2000, warmup_iters = 100, lr_decay_iters = 2000;
  double min_lr = 1e-4;

  int64_t eval_interval = 250, eval_iters = 20;
  uint64_t seed = 1337;

  bool spectral() const { return optimizer != "adamw"; }
};

// What belongs to this machine and this moment, and must not change a number.
struct RunOptions {
  std::string data;  // empty: this project's prose
  std::string out_dir = "out";
  std::string device = "cpu";
  int threads = 0;  // 0: one per core
  int64_t log_interval = 10;
  int64_t diagnose = 0;  // every N steps; 0: never
  bool anomaly = false;
  std::string compare;  // two devices or number types: no training, one step on both
  bool resume = false;
};

struct Options {
  TrainOptions train;
  RunOptions run;
};

// Reads the command line. Prints help or one sentence about what is wrong and ends the program
// there. A resumed run's settings are its checkpoint's: `lock` is called with the folder before that
// is read, and keeps other runs from replacing it.
Options parse_train_options(int argc, char** argv, const std::function<void(const std::string&)>& lock = {});

// The spectral optimizer of these options, complete.
SpectralConfig spectral_config(const TrainOptions& o);

// Fails in one sentence on settings that make no run. (The model's sizes are checked by the model.)
void check(const TrainOptions& o);

nlohmann::json to_json(const TrainOptions& o);
TrainOptions train_options_from_json(const nlohmann::json& j);

}  // namespace borealis
