// What --diagnose counts, logs and draws.
#include <cmath>
#include <limits>
#include <sstream>

#include <nlohmann/json.hpp>

#include "demos/run/diagnosis.h"
#include "tests/near.h"
#include "tests/programs.h"

using namespace borealis;

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

GptConfig tiny(MlpKind mlp) {
  GptConfig c = GptConfig::modern();
  c.vocab = 11, c.block_size = 8;
  c.n_layer = 2, c.n_head = 2, c.n_embd = 8;
  c.mlp = mlp;
  c.mlp_expansion = 2;
  return c;
}

Tensor some_ids() {
  const Tensor ids({3, 8}, DType::i32);
  for (int32_t i = 0; i < 24; ++i) ids.data<int32_t>()[i] = i * i % 11;
  return ids;
}

// Makes a row of fc say `bias` whatever comes in.
void set_unit(const Gpt& model, size_t layer, int64_t row, float bias) {
  const Linear& fc = model.blocks[layer].mlp.fc;
  fc.weight.var.value().rows(row, 1).fill(0);
  fc.bias.var.value().data<float>()[row] = bias;
}

// What an update with these relative leverages is reported as, for a block of layer 0's fc.
UpdateReport report_of(const Gpt& model, std::vector<double> leverage, int64_t block = 0) {
  const Parameter& fc = model.blocks[0].mlp.fc.weight;
  return {.name = fc.name + std::to_string(block),
          .row_norm_cv = 0.25,
          .polar_error = 0.125,
          .alignment = 0.5,
          .update_to_weight = 0.0078125,
          .effective_rank = 7,
          .leverage = std::move(leverage),
          .param = fc,
          .block = block};
}

const std::vector<Census::Flags> nobody_silent(2, Census::Flags(16));

nlohmann::json first_mlp(const Census& census) { return census.to_json().at("mlps").at("blocks.0.mlp"); }

int columns(const std::string& line) {
  return static_cast<int>(std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void check_picture(const Census& census, int lines) {
  std::istringstream picture(census.picture());
  for (std::string line; std::getline(picture, line); --lines) {
    INFO(line);
    CHECK(columns(line) <= 100);
  }
  CHECK(lines == 0);
}

}  // namespace

TEST_CASE("diagnosis: a unit is silent where its pre-activation is never positive") {
  Rng rng(5);
  const Gpt model(tiny(MlpKind::relu_squared), rng);
  const Tensor ids = some_ids();
  CHECK(silent_units(model, ids) == nobody_silent);
  set_unit(model, 0, 3, -1);
  set_unit(model, 0, 4, 0);  // not positive
  set_unit(model, 0, 5, 1e-6f);
  set_unit(model, 1, 15, -1e-6f);
  std::vector<Census::Flags> expected = nobody_silent;
  expected[0][3] = expected[0][4] = expected[1][15] = 1;
  CHECK(silent_units(model, ids) == expected);
}

TEST_CASE("diagnosis: of SwiGLU's two rows the gate decides about silence") {
  Rng rng(5);
  const Gpt model(tiny(MlpKind::swiglu), rng);
  set_unit(model, 0, 2, -1);       // a gate
  set_unit(model, 0, 16 + 3, -1);  // an up
  std::vector<Census::Flags> expected = nobody_silent;
  expected[0][2] = 1;
  CHECK(silent_units(model, some_ids()) == expected);
}

TEST_CASE("diagnosis: a unit is still after three snapshots in a row") {
  Rng rng(5);
  const Gpt model(tiny(MlpKind::relu_squared), rng);
  Census census(model);
  std::vector<double> leverage(16, 1.0);
  const auto still_after = [&](double weakest, double second) {
    leverage[7] = weakest, leverage[8] = second;
    census.add({report_of(model, leverage)}, nobody_silent);
    return first_mlp(census).at("still").get<int>();
  };
  CHECK(still_after(0.0099, 0) == 0);
  CHECK(still_after(0, 0.0099) == 0);
  CHECK(still_after(0.0099, 0.0101) == 1);
  CHECK(still_after(0.0099, 0) == 1);
  CHECK(still_after(0.0101, 0) == 0);
  CHECK(still_after(0, 0) == 1);
}

TEST_CASE("diagnosis: of SwiGLU's two rows both must be still") {
  Rng rng(5);
  const Gpt model(tiny(MlpKind::swiglu), rng);
  Census census(model);
  std::vector<double> gate(16, 1.0), up(16, 1.0);
  gate[0] = up[1] = gate[2] = up[2] = 0.001;
  for (int i = 0; i < 3; ++i) census.add({report_of(model, gate, 0), report_of(model, up, 1)}, nobody_silent);
  CHECK(first_mlp(census).at("still") == 1);
}

TEST_CASE("diagnosis: what goes into the log") {
  Rng rng(5);
  const Gpt model(tiny(MlpKind::relu_squared), rng);
  Census census(model);
  std::vector<double> leverage(16, 1.0);
  leverage[0] = 0, leverage[1] = 0.0036, leverage[2] = 0.04, leverage[3] = 4;  // lengths 0 .06 .2 2
  std::vector<Census::Flags> silent = nobody_silent;
  silent[0][9] = silent[1][0] = silent[1][1] = 1;
  census.add({report_of(model, leverage)}, silent);
  const nlohmann::json j = census.to_json();
  CHECK(j.at("matrices").at("blocks.0.mlp.fc.weight0") == nlohmann::json{{"row_norm_cv", 0.25},
                                                                         {"polar_error", 0.125},
                                                                         {"alignment", 0.5},
                                                                         {"update_to_weight", 0.0078125},
                                                                         {"effective_rank", 7.0},
                                                                         {"leverage", {0.0, 1.0, 1.0, 1.0, 4.0}}});
  CHECK(j.at("mlps").at("blocks.0.mlp") ==
        nlohmann::json{{"units", 16}, {"silent", 1}, {"still", 0}, {"below", {1, 2, 3}}});
  CHECK(j.at("mlps").at("blocks.1.mlp").at("silent") == 2);

  // What is not finite becomes null.
  leverage[5] = nan_value;
  UpdateReport bad = report_of(model, leverage);
  bad.polar_error = nan_value, bad.update_to_weight = infinity;
  census.add({bad}, silent);
  const auto read_back = nlohmann::json::parse(census.to_json().dump());
  const auto& m = read_back.at("matrices").at("blocks.0.mlp.fc.weight0");
  CHECK(m.at("polar_error").is_null());
  CHECK(m.at("update_to_weight").is_null());
  for (const auto& quartile : m.at("leverage")) CHECK(quartile.is_null());
  CHECK(m.at("alignment") == 0.5);
}

TEST_CASE("diagnosis: the picture keeps to 100 columns") {
  for (const double expansion : {0.5, 2.0, 200.0}) {
    GptConfig config = tiny(MlpKind::relu_squared);
    config.mlp_expansion = expansion;
    Rng rng(5);
    const Gpt model(config, rng);
    Census census(model);
    const auto units = static_cast<size_t>(config.mlp_hidden());
    const std::vector<Census::Flags> silent(2, Census::Flags(units, 1));
    for (const double x : {0.0, 1.0, 1e-300, -1.2345e-300, nan_value, infinity, -infinity})
      for (int i = 0; i < 12; ++i) {
        UpdateReport r = report_of(model, std::vector<double>(std::max<size_t>(units, 8), x));
        r.polar_error = r.update_to_weight = x, r.alignment = std::min(x, 1.0);
        census.add({r, report_of(model, std::vector<double>(units, 1.0))}, silent);
        check_picture(census, 7);
      }
    CHECK(census.picture().find("×") != std::string::npos);
  }
}

TEST_CASE("diagnosis: without a spectral optimizer it tells how far the weights moved") {
  TrainOptions o;
  o.model = tiny(MlpKind::swiglu);
  o.weight_decay = 0;
  Rng rng(5);
  const Gpt model(o.model, rng);
  Optimizer optimizer(model.parameters(), optimizer_config(o));
  Diagnosis diagnosis(model, optimizer, some_ids());
  const Tensor W = model.blocks[1].mlp.fc.weight.var.value(), before = W.clone();
  model.loss(some_ids(), some_ids()).backward();
  diagnosis.before_step();
  optimizer.step(10);  // ten times 0.001
  diagnosis.after_step();

  double moved = 0, weight = 0;  // of the gate, the first 16 of 32 rows
  for (int i = 0; i < 16 * 8; ++i) {
    const double w = before.data<float>()[i], u = W.data<float>()[i] - w;
    moved += u * u, weight += w * w;
  }
  const nlohmann::json j = diagnosis.census().to_json();
  CHECK(j.at("matrices").size() == 2 * (3 + 1 + 2 + 1));
  const auto& gate = j.at("matrices").at("blocks.1.mlp.gate.weight");
  CHECK(gate.at("update_to_weight").get<double>() == near(std::sqrt(moved / weight)).epsilon(1e-4));
  CHECK(gate.at("effective_rank") > 1);
  for (const char* key : {"polar_error", "alignment"}) CHECK(std::isnan(gate.at(key).get<double>()));
}

TEST_CASE("train_gpt: diagnosing changes no byte of the run") {
  const Folder f;
  write(f / "text", some_text());
  for (const std::string optimizer : {"adamw", "aurora"}) {
    const std::string common = "train_gpt --data " + (f / "text") +
                               " --style modern --n_layer 2 --n_head 2 --n_embd 16 --block_size 8"
                               " --dropout 0.1 --batch_size 4 --max_iters 12 --eval_interval 5"
                               " --eval_iters 2 --optimizer " +
                               optimizer + " --out_dir ";
    REQUIRE(run(common + (f / "plain")).status == 0);
    const Outcome o = run(common + (f / "shown") + " --diagnose 3");
    INFO(o.text);
    REQUIRE(o.status == 0);
    CHECK(read(f / "plain/ckpt.safetensors") == read(f / "shown/ckpt.safetensors"));
    CHECK(o.says("silent still"));
    std::ifstream log(f / "shown/log.jsonl");
    int snapshots = 0;
    for (std::string line; std::getline(log, line);) {
      const auto object = nlohmann::json::parse(line);
      if (!object.contains("mlps")) continue;
      ++snapshots;
      CHECK(object["step"].get<int>() % 3 == 0);
      CHECK(object["matrices"].size() == 12);
      CHECK(object["mlps"]["blocks.1.mlp"]["units"] == 64);
    }
    CHECK(snapshots == 4);
  }
}
