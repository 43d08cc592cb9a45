// A census of the weights in a file: how even the rows of each matrix are, which neurons fell
// behind, and how many directions carry it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

#include "demos/run/draw.h"
#include "demos/run/flags.h"
#include "engine/math.h"
#include "engine/safetensors.h"
#include "nn/checkpoint.h"
#include "optim/matrix_stats.h"

using namespace borealis;

namespace {

struct Options {
  std::string file, only;
  bool columns = false, all = false;
  std::vector<double> thresholds{.05, .1, .25};
  int64_t max_side = 2048;

  bool asks_for(const std::string& name) const {
    return (all || !name.starts_with(optimizer_prefix)) && name.find(only) != std::string::npos;
  }
  std::string neuron() const { return columns ? "column" : "row"; }
};

// A matrix of the file, or one of several that lie one above the other in a tensor.
struct Part {
  std::string name;
  Tensor whole;
  int64_t block = 0, blocks = 1;
};

struct Census {
  std::vector<double> relative = {};  // row norms / their mean; empty for a matrix of zeros
  std::vector<int64_t> below = {};    // how many of them lie below each threshold
  int64_t zero = 0;                   // rows of zeros
};

constexpr int bins = 17;  // an odd number: rows of the mean length lie in the middle one

// Numbers by value, so that h.2 comes before h.10.
bool natural_order(const std::string& a, const std::string& b) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const char *p = a.data(), *q = b.data(), *const p_end = p + a.size(), *const q_end = q + b.size();
  while (p < p_end && q < q_end) {
    if (is_digit(*p) && is_digit(*q)) {
      uint64_t x = 0, y = 0;
      p = std::from_chars(p, p_end, x).ptr;
      q = std::from_chars(q, q_end, y).ptr;
      if (x != y) return x < y;
    } else if (*p != *q) {
      return *p < *q;
    } else {
      ++p, ++q;
    }
  }
  return p_end - p < q_end - q;
}

// All matrices asked for, layer by layer. Names lose GPT-2's "transformer." and ".weight"; c_attn
// [3C, C] is three matrices: q, k and v.
std::vector<Part> parts_of(const TensorFile& file, const Options& o) {
  std::vector<std::string> names;
  for (const auto& [name, t] : file.tensors) {
    const bool matrix = t.shape().rank() == 2 && t.numel() > 0 && t.dtype() != DType::i32;
    if (matrix && o.asks_for(name)) names.push_back(name);
  }
  std::stable_sort(names.begin(), names.end(), natural_order);
  std::vector<Part> parts;
  for (const std::string& name : names) {
    const Tensor& t = file.tensors.at(name);
    std::string shown = printable(name);
    if (shown.starts_with("transformer.")) shown.erase(0, 12);
    if (shown.ends_with(".weight")) shown.erase(shown.size() - 7);
    const int64_t rows = t.size(o.columns ? 1 : 0), cols = t.size(o.columns ? 0 : 1);
    if (shown.ends_with("c_attn") && rows == 3 * cols)
      for (int b = 0; b < 3; ++b) parts.push_back({shown + '[' + "qkv"[b] + ']', t, b, 3});
    else
      parts.push_back({shown, t});
  }
  return parts;
}

// What was asked for and is no table of numbers: integers, and tensors of three axes or more.
std::string skipped(const TensorFile& file, const Options& o) {
  constexpr int most = 10;
  std::ostringstream out;
  int count = 0;
  for (const auto& [name, t] : file.tensors) {
    if (!o.asks_for(name)) continue;
    if (t.dtype() != DType::i32 && t.shape().rank() <= 2) continue;
    if (++count > most) continue;
    out << (count == 1 ? "Skipped: " : ", ") << printable(name) << ' ' << t.dtype() << t.shape();
  }
  if (count > most) out << " and " << count - most << " more";
  if (count) out << '\n';
  return out.str();
}

// A neuron per row. In f64, so that no square over- or underflows.
Tensor matrix_of(const Part& part, bool columns) {
  const Tensor t = columns ? permute(part.whole, {1, 0}) : part.whole;
  const int64_t rows = t.size(0) / part.blocks;
  return t.rows(part.block * rows, rows).to(DType::f64);
}

Census census_of(const Tensor& W, const std::vector<double>& thresholds) {
  const std::vector<double> norms = row_norms(W);
  Census c{.below = std::vector<int64_t>(thresholds.size()), .zero = std::count(norms.begin(), norms.end(), 0.0)};
  if (c.zero == W.size(0)) return c;
  double mean = 0;
  for (const double r : norms) mean += r / static_cast<double>(norms.size());
  for (const double r : norms) {
    c.relative.push_back(r / mean);
    for (size_t i = 0; i < thresholds.size(); ++i) c.below[i] += r / mean < thresholds[i];
  }
  return c;
}

// "▇ 121/128": a bar of the share, the effective rank, the most it could be.
std::string rank_text(const Tensor& W, int64_t max_side) {
  const int64_t side = std::min(W.size(0), W.size(1));
  if (side > max_side) return "  -/" + std::to_string(side);
  const double rank = effective_ranks(W).front(), share = rank / static_cast<double>(side);
  return sparkline({&share, 1}, 0, 1) + ' ' + std::to_string(std::lround(rank)) + '/' + std::to_string(side);
}

// ".05"
std::string short_number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text[0] == '0' && text[1] == '.' ? text + 1 : text;
}

// What all matrices come to.
struct Total {
  int64_t neurons = 0, zero = 0, empty_matrices = 0, bad_matrices = 0;
  std::vector<int64_t> below = {};
  double weakest = std::numeric_limits<double>::infinity();
  std::string weakest_place = {};
  double worst_share = 0;  // of neurons below the highest threshold
  std::string worst = {};

  void add(const Part& part, const Census& c) {
    const size_t rows = c.relative.size();
    neurons += static_cast<int64_t>(rows);
    zero += c.zero;
    for (size_t i = 0; i < below.size(); ++i) below[i] += c.below[i];
    const auto least = std::min_element(c.relative.begin(), c.relative.end());
    if (*least < weakest) {
      weakest = *least;
      weakest_place = std::to_string(least - c.relative.begin()) + " of " + part.name;
    }
    const double share = static_cast<double>(c.below.back()) / static_cast<double>(rows);
    if (share > worst_share) {
      worst_share = share;
      worst = part.name + ", " + std::to_string(c.below.back()) + " of " + std::to_string(rows);
    }
  }
};

void print_head(const Options& o, int name_width) {
  std::printf("Norms of %ss relative to the mean of their matrix\n\n", o.neuron().c_str());
  std::printf("%-*s %12s  0        1        2  min   q1  med   q3   max    cv ", name_width, "matrix", "size");
  for (const double t : o.thresholds) std::printf(" %4s", ('<' + short_number(t)).c_str());
  std::printf("   =0  effective rank\n");
}

// Adds the matrix to the total.
void print_line(const Part& part, const Options& o, int name_width, Total& total) {
  const Tensor W = matrix_of(part, o.columns);
  std::printf("%-*s %12s  ", name_width, part.name.c_str(),
              (std::to_string(W.size(0)) + 'x' + std::to_string(W.size(1))).c_str());
  if (!backend(W.device()).all_finite(W)) {
    ++total.bad_matrices;
    std::printf("holds NaN or infinity\n");
    return;
  }
  const Census c = census_of(W, o.thresholds);
  if (c.relative.empty()) {
    ++total.empty_matrices;
    std::printf("all zero\n");
    return;
  }
  total.add(part, c);
  const Quartiles q = quartiles(c.relative);
  std::printf("│%s│ %4.2f %4.2f %4.2f %4.2f %5.2f  %4.2f ", histogram(c.relative, bins, 0, 2).c_str(), q.min, q.q1,
              q.median, q.q3, q.max, variation(c.relative));
  std::vector<int64_t> counts = c.below;
  counts.push_back(c.zero);
  for (const int64_t count : counts)  // none is a dot, so that what there is stands out
    count > 0 ? std::printf(" %4lld", static_cast<long long>(count)) : std::printf("    ·");
  std::fflush(stdout);  // the rank may take a while
  std::printf("  %s\n", rank_text(W, o.max_side).c_str());
}

std::string summary(const Options& o, const Total& total, size_t matrices) {
  std::ostringstream out;
  out << '\n' << total.neurons << ' ' << o.neuron() << "s in " << matrices << (matrices == 1 ? " matrix" : " matrices");
  if (total.empty_matrices) out << "; all zero: " << total.empty_matrices;
  if (total.bad_matrices) out << "; with NaN or infinity: " << total.bad_matrices;
  out << ".\n";
  if (total.neurons == 0) return out.str();
  out << "Near dead, by norm over mean:";
  for (size_t i = 0; i < o.thresholds.size(); ++i)
    out << ' ' << total.below[i] << " below " << short_number(o.thresholds[i]) << ',';
  out << ' ' << total.zero << " zero.\n";
  if (total.worst_share > 0)
    out << "Most in " << total.worst << " below " << short_number(o.thresholds.back()) << ".\n";
  out << "Weakest: " << o.neuron() << ' ' << total.weakest_place << ", " << short_number(total.weakest)
      << " of the mean.\n\n"
      << "Even " << o.neuron() << "s make one hump at 1; what lies near 0 are neurons that fell "
      << "behind.\nAn effective rank far below its size means that few directions carry the "
         "matrix.\n";
  return out.str();
}

int run(int argc, char** argv) {
  CLI::App app{
      "A census of the weights in a checkpoint or any safetensors file: for each matrix the\n"
      "norms of its rows (neurons) beside their mean, how many are near dead, and the effective\n"
      "rank. c_attn counts as three matrices (q, k, v), any other tensor as one, also SwiGLU's\n"
      "gate and up in one stack. What exceeds 2 in a histogram counts in its last bar.",
      "inspect"};
  app.option_defaults()->take_last();
  Options o;
  app.add_option("FILE", o.file, "a safetensors file")->required();
  app.add_flag("--columns", o.columns,
               "a neuron is a column: for down-projections (mlp.c_proj), and for files that keep\n"
               "weights as [in, out], as Hugging Face's GPT-2 does");
  app.add_flag("--all", o.all, "also the optimizer's state in a checkpoint of train_gpt");
  app.add_option("--only", o.only, "only tensors whose name contains this");
  app.add_option("--threshold", o.thresholds, "near-dead means a norm below this much of the mean; several with commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  app.add_option("--max_side,--max-side", o.max_side,
                 "effective rank where the shorter side is at most this (2048 takes 2 s)")
      ->capture_default_str();
  parse_flags(app, argc, argv);
  for (const double t : o.thresholds)
    if (!(t > 0) || !std::isfinite(t)) fail("inspect: --threshold ", t, ": must be a number above 0");
  std::sort(o.thresholds.begin(), o.thresholds.end());

  const TensorFile file = read_safetensors(o.file);
  const std::vector<Part> parts = parts_of(file, o);
  if (parts.empty())
    fail_runtime("inspect: '", o.file, "' holds ", file.tensors.size(), " tensors, but no matrix",
                 o.only.empty() ? "" : " whose name contains '" + o.only + "'",
                 o.all ? "" : " (--all takes in an optimizer's state)");

  size_t name_width = std::string("matrix").size();
  for (const Part& part : parts) name_width = std::max(name_width, part.name.size());
  print_head(o, static_cast<int>(name_width));
  Total total{.below = std::vector<int64_t>(o.thresholds.size())};
  for (const Part& part : parts) print_line(part, o, static_cast<int>(name_width), total);
  std::fputs((summary(o, total, parts.size()) + skipped(file, o)).c_str(), stdout);
  for (const Part& part : parts)
    if (!o.columns && part.name.ends_with("c_attn") && part.whole.size(1) == 3 * part.whole.size(0)) {
      std::printf("%s is wider than tall: this file keeps weights as [in, out]; use --columns.\n", part.name.c_str());
      break;
    }
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return run_program("inspect", run, argc, argv); }
