#include "demos/run/diagnosis.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include <nlohmann/json.hpp>

#include "demos/run/draw.h"
#include "engine/math.h"
#include "optim/matrix_stats.h"

namespace borealis {

namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[256];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

// "h.0.mlp.c_fc.weight" without its last two parts.
std::string without_layer(std::string name) {
  for (int i = 0; i < 2; ++i) name.resize(std::min(name.size(), name.rfind('.')));
  return name;
}

Quartiles quartiles_of(const std::vector<double>& values) {
  const bool finite = std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
  return quartiles(finite ? values : std::vector<double>{});
}

std::vector<double> roots(std::vector<double> squares) {
  for (double& s : squares) s = std::sqrt(s);
  return squares;
}

}  // namespace

// --- the census ------------------------------------------------------------------------------

Census::Census(const Gpt& model) {
  const auto units = static_cast<size_t>(model.config.mlp_hidden());
  for (const Block& block : model.blocks) {
    const std::string& fc = block.mlp.fc.weight.name;
    layers_.push_back({.name = without_layer(fc),
                       .fc = fc,
                       .leverage = std::vector<double>(units, unknown),
                       .still_for = std::vector<int>(units),
                       .silent = Flags(units)});
  }
}

void Census::add(std::vector<UpdateReport> matrices, const std::vector<Flags>& silent) {
  matrices_ = std::move(matrices);
  for (size_t l = 0; l < layers_.size(); ++l) {
    Layer& layer = layers_[l];
    layer.silent = silent[l];
    std::fill(layer.leverage.begin(), layer.leverage.end(), unknown);
    double row_norm_cv = unknown;
    layer.update_to_weight = unknown;
    for (const UpdateReport& r : matrices_) {  // SwiGLU: two, of which the larger counts
      if (r.param.name != layer.fc) continue;
      row_norm_cv = std::fmax(row_norm_cv, r.row_norm_cv);
      layer.update_to_weight = std::fmax(layer.update_to_weight, r.update_to_weight);
      if (r.leverage.size() != layer.leverage.size()) continue;  // wide: units are the shorter side
      for (size_t i = 0; i < layer.leverage.size(); ++i)
        layer.leverage[i] = std::fmax(layer.leverage[i], r.leverage[i]);
    }
    layer.row_norm_cv.push_back(row_norm_cv);
    for (size_t i = 0; i < layer.leverage.size(); ++i)
      layer.still_for[i] = layer.leverage[i] < 0.01 ? layer.still_for[i] + 1 : 0;
  }
}

int64_t Census::Layer::still() const {
  return std::count_if(still_for.begin(), still_for.end(), [](int n) { return n >= 3; });
}

int64_t Census::Layer::below(double share) const {
  const std::vector<double> lengths = roots(leverage);
  double mean = 0;
  for (const double r : lengths) mean += r / static_cast<double>(lengths.size());
  return std::count_if(lengths.begin(), lengths.end(), [&](double r) { return r < share * mean; });
}

Census::Flags Census::Layer::dead() const {
  Flags dead = silent;
  for (size_t i = 0; i < dead.size(); ++i) dead[i] = dead[i] || still_for[i] >= 3;
  return dead;
}

nlohmann::json Census::to_json() const {
  // Five digits say enough, and keep the log small.
  const auto number = [](double x) { return std::strtod(text("%.5g", x).c_str(), nullptr); };
  nlohmann::json matrices = nlohmann::json::object(), mlps = matrices;
  for (const UpdateReport& r : matrices_) {
    const Quartiles q = quartiles_of(r.leverage);
    matrices[r.name] = {{"row_norm_cv", number(r.row_norm_cv)},
                        {"polar_error", number(r.polar_error)},
                        {"alignment", number(r.alignment)},
                        {"update_to_weight", number(r.update_to_weight)},
                        {"effective_rank", number(r.effective_rank)},
                        {"leverage", {number(q.min), number(q.q1), number(q.median), number(q.q3), number(q.max)}}};
  }
  for (const Layer& layer : layers_)
    mlps[layer.name] = {{"units", layer.silent.size()},
                        {"silent", std::count(layer.silent.begin(), layer.silent.end(), 1)},
                        {"still", layer.still()},
                        {"below", {layer.below(.05), layer.below(.1), layer.below(.25)}}};
  return {{"matrices", matrices}, {"mlps", mlps}};
}

// --- the picture -----------------------------------------------------------------------------

namespace {

constexpr size_t map_width = 30, history_width = 10;
constexpr int bins = 15;  // an odd number: steps of the mean length lie in the middle one

// At most `width` of the values, evenly spread from the first to the last.
template <class T> std::vector<T> spread(const std::vector<T>& values, size_t width) {
  if (values.size() <= width) return values;
  std::vector<T> some(width);
  for (size_t i = 0; i < width; ++i) some[i] = values[i * (values.size() - 1) / (width - 1)];
  return some;
}

// Filled up with blanks to `width` columns; a column is a character, of one or more bytes.
std::string padded(std::string s, size_t width) {
  const auto columns =
      static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
  return s.append(width > columns ? width - columns : 0, ' ');
}

// "least–greatest", or one number where both look the same; "-" where nothing is known.
std::string range(const std::vector<double>& values, const char* format) {
  std::string least = "-", greatest = "-";
  double low = std::numeric_limits<double>::infinity(), high = -low;
  const auto show = [&](double v) {
    const std::string number = text(format, v);
    return number.starts_with("0.") ? number.substr(1) : number;
  };
  for (const double v : values) {
    if (v < low) low = v, least = show(v);
    if (v > high) high = v, greatest = show(v);
  }
  return least == greatest ? least : least + "–" + greatest;
}

}  // namespace

std::string Census::picture() const {
  const size_t units = layers_.front().silent.size();
  std::string lines =
      padded(text(" mlp  %zu of %zu neurons (× dead)", std::min(map_width, units), units), map_width + 8) +
      padded("lengths 0 to 2", bins + 4) + padded("uneven", history_width) + "   cv  upd/wt  <¼ silent still\n";
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const std::string map = neuron_map(spread(layer.leverage, map_width), map_width, spread(layer.dead(), map_width)),
                      lengths = histogram(roots(layer.leverage), bins, 0, 2),
                      history = sparkline(spread(layer.row_norm_cv, history_width), 0, 0.8);
    lines += text("%4zu  ", l) + padded(map, map_width + 1) + "│" + lengths + "│  " + padded(history, history_width) +
             text(" %4.2f %7.2g %3lld %6lld %5lld\n", layer.row_norm_cv.back(), layer.update_to_weight,
                  static_cast<long long>(layer.below(.25)),
                  static_cast<long long>(std::count(layer.silent.begin(), layer.silent.end(), 1)),
                  static_cast<long long>(layer.still()));
  }

  lines += padded("      all", 17) + padded("cv", 16) + padded("update/weight", 16) + padded("polar error", 16) +
           padded("alignment", 16) + "effective rank\n";
  for (const auto& [kind, neurons] : {std::pair("attention", Neurons::none), std::pair("mlp in", Neurons::rows),
                                      std::pair("mlp out", Neurons::cols)}) {
    std::vector<double> cv, update_to_weight, polar_error, alignment, rank;
    int64_t side = 0;
    for (const UpdateReport& r : matrices_) {
      if (r.param.neurons != neurons) continue;
      cv.push_back(variation(roots(r.leverage)));
      update_to_weight.push_back(r.update_to_weight);
      polar_error.push_back(r.polar_error);
      alignment.push_back(r.alignment);
      rank.push_back(r.effective_rank);
      side = std::min(r.param.var.shape()[0] / r.param.blocks, r.param.var.shape()[1]);
    }
    lines += padded(std::string(6, ' ') + kind, 17) + padded(range(cv, "%.2f"), 16) +
             padded(range(update_to_weight, "%.2g"), 16) + padded(range(polar_error, "%.2g"), 16) +
             padded(range(alignment, "%.3f"), 16) + range(rank, "%.0f") +
             text(" of %lld\n", static_cast<long long>(side));
  }
  return lines;
}

// --- taking snapshots ------------------------------------------------------------------------

std::vector<Census::Flags> silent_units(const Gpt& model, const Tensor& ids) {
  const NoGrad off;
  std::vector<Census::Flags> silent;
  Stream x = model.embed(ids);
  for (const Block& block : model.blocks) {
    const auto [sum, normed] = block.norm2(block.attend(x, model.rotation, nullptr));
    // [B, T, H]; SwiGLU: 2H, of which the first half are gates
    const Var h = block.mlp.fc(normed);
    x = {sum, block.mlp.project(h)};
    const Tensor highest = max(reshape(h, {ids.numel(), h.shape()[-1]}), 0).value();
    Census::Flags flags;
    for (const double most : highest.to_vector<double>()) flags.push_back(!(most > 0));
    flags.resize(static_cast<size_t>(model.config.mlp_hidden()));
    silent.push_back(std::move(flags));
  }
  return silent;
}

Diagnosis::Diagnosis(const Gpt& model, Optimizer& optimizer, const Tensor& probe)
    : model_(model), optimizer_(optimizer), probe_(probe), census_(model) {}

void Diagnosis::before_step() {
  reports_.clear();
  if (optimizer_.spectral())
    optimizer_.spectral()->observe([this](const Update& update) {
      for (UpdateReport& r : report(update)) reports_.push_back(std::move(r));
    });
  else
    before_ = optimizer_.arena().values().clone();
}

void Diagnosis::after_step() {
  if (optimizer_.spectral()) {
    optimizer_.spectral()->observe({});
  } else {  // U is how far W moved, decay included
    for (const ParamArena::Place& place : optimizer_.arena().places()) {
      if (!is_hidden_matrix(place.param)) continue;
      const Shape shape{place.param.blocks, place.block_rows(), place.cols()};
      const Tensor before = before_.flat_view(place.first, shape), after = place.value.reshape(shape),
                   U = after.clone();
      axpby(U, -1, before, 1);
      for (UpdateReport& r : report({.places = {place}, .U = U, .step = U, .before = before, .after = after}))
        reports_.push_back(std::move(r));
    }
    before_ = {};
  }
  census_.add(std::move(reports_), silent_units(model_, probe_));
}

}  // namespace borealis
