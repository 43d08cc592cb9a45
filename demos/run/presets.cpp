#include "demos/run/presets.h"

#include <iomanip>
#include <sstream>

#include "engine/error.h"
#include "optim/optimizer.h"

namespace borealis {

namespace {

constexpr const char* track3_nano = "track3-nano";

// nanoGPT's CPU recipe; its GPU recipe for Shakespeare; GPT-2 small; the optimizer track's model
// and recipe at nano's size.
void apply_preset(const std::string& preset, TrainOptions& o) {
  GptConfig& m = o.model;
  m.bias = m.style == Style::modern;
  if (preset == "nano" || preset == track3_nano) {
    m.n_layer = 4, m.n_head = 4, m.n_embd = 128, m.block_size = 64;
    o.batch_size = 12, o.max_iters = 2000;
  } else if (preset == "small") {
    m.n_layer = 6, m.n_head = 6, m.n_embd = 384, m.block_size = 256, m.dropout = 0.2;
    o.batch_size = 16, o.max_iters = 5000;
  } else if (preset == "gpt2-124m") {
    m.n_layer = 12, m.n_head = 12, m.n_embd = 768, m.block_size = 1024;
    o.batch_size = 12, o.max_iters = 600000;
    if (!o.spectral()) o.learning_rate = 6e-4, o.beta2 = 0.95, o.warmup_iters = 2000;
  } else {
    fail("train_gpt: '", preset, "' is not a preset; use nano, small, gpt2-124m or track3-nano");
  }
}

// Those of --optimizer's row (optim/optimizer.h), and the schedule they were tuned with.
void apply_optimizer_defaults(TrainOptions& o) {
  const OptimizerConfig row = optimizer_config(o.optimizer);
  o.learning_rate = row.rates.embedding;
  o.beta1 = row.adamw.beta1, o.beta2 = row.adamw.beta2;
  o.weight_decay = row.adamw.weight_decay;
  if (!row.matrices) return;
  o.stages = *row.matrices;
  o.matrix_lr = row.rates.hidden_matrix;
  o.weight_decay = o.stages.weight_decay;
  o.schedule = Schedule::linear;
  o.warmup_iters = 0;
}

// Embedding, head and vectors each at its own AdamW rate, without decay; no warm-up, constant, then
// linear to 0 over the last 70 %.
void apply_track3_rates(TrainOptions& o) {
  if (o.model.style != Style::modern)
    fail("train_gpt: --preset track3-nano is a model of the modern style; leave --style out");
  if (!o.spectral()) o.learning_rate = 0.003, o.weight_decay = 0;
  o.schedule = Schedule::linear;
  o.warmup_iters = 0;
  o.min_lr = 0;
  o.beta1 = 0.8, o.beta2 = 0.95;
  o.embed_lr = 0.3, o.head_lr = 1.0 / 320, o.vector_lr = 0.01;
}

}  // namespace

TrainOptions preset_options(const std::string& preset, const std::string& style, const std::string& optimizer) {
  const bool track3 = preset == track3_nano;
  const auto or_else = [](const std::string& given, const char* own) { return given.empty() ? own : given; };
  TrainOptions o;
  const bool modern = parse<Style>(or_else(style, track3 ? "modern" : "gpt2")) == Style::modern;
  o.model = modern ? GptConfig::modern() : GptConfig::gpt2();
  o.optimizer = or_else(optimizer, track3 ? "aurora_contra" : "adamw");
  apply_optimizer_defaults(o);
  apply_preset(preset, o);
  o.embed_lr = o.head_lr = o.vector_lr = o.learning_rate;
  o.lr_decay_iters = o.max_iters;
  o.min_lr = o.schedule == Schedule::cosine ? o.learning_rate / 10 : 0;
  if (track3) apply_track3_rates(o);
  return o;
}

std::string optimizer_table() {
  std::ostringstream table;
  const auto row = [&](const char* key, const std::string& state, const std::string& flops, const std::string& rate,
                       const std::string& stages, const std::string& source) {
    table << std::left << std::setw(23) << key << std::setw(7) << state << std::setw(7) << flops << std::setw(7) << rate
          << stages << "  [" << source << "]\n";
  };
  const auto text = [](double value, int digits) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(digits) << value;
    return out.str();
  };
  // State in numbers per weight and FLOPs in n³, both of a 4n×n matrix.
  row("optimizer", "state", "flops", "rate", "stages", "source");
  row("adamw", "2.000", "0", "0.001", "steps every parameter", "Loshchilov & Hutter, 2019");
  constexpr int64_t n = 768;
  for (const SpectralMethod& m : spectral_methods())
    row(m.key, text(state_per_weight(m.config, 4 * n, n), 3),
        text(spectral_flops(m.config, 4 * n, n) / static_cast<double>(n * n * n), 0), text(m.lr, 3), stages(m.config),
        m.source);
  return table.str();
}

}  // namespace borealis
