// The settings of spectral optimizers as text, and back: the words of flags, lists and checkpoints.
#include <charconv>
#include <set>
#include <type_traits>
#include <vector>

#include "optim/spectral_methods.h"

namespace borealis {

namespace {

std::string to_text(bool value) { return value ? "true" : "false"; }
template <class Enum>
requires std::is_enum_v<Enum> std::string to_text(Enum value) { return name(value); }
// The shortest text that reads back as the same number.
template <class Number>
requires std::is_arithmetic_v<Number> std::string to_text(Number value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

void from_text(bool& field, const std::string& key, const std::string& text) {
  if (text != "true" && text != "false") fail(key, ": '", text, "' is neither true nor false");
  field = text == "true";
}
template <class Number>
requires std::is_arithmetic_v<Number>
void from_text(Number& field, const std::string& key, const std::string& text) {
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), field);
  if (trouble != std::errc() || end != text.data() + text.size())
    fail(key, ": '", text, "' is not ", std::is_integral_v<Number> ? "a whole number" : "a number");
}
template <class Enum>
requires std::is_enum_v<Enum>
void from_text(Enum& field, const std::string&, const std::string& text) { field = parse<Enum>(text); }

void set_stage(SpectralConfig& c, const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos) fail("optimizer: '", setting, "' is not stage=value, as in pre=rows");
  const std::string key = setting.substr(0, equals);
  bool found = false;
  std::string known;
  for_each_stage(c, [&](const std::string& stage, auto& field) {
    known += (known.empty() ? "" : ", ") + stage;
    if (stage != key) return;
    from_text(field, key, setting.substr(equals + 1));
    found = true;
  });
  if (!found) fail("optimizer: there is no stage '", key, "'; known are ", known);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) {
    const size_t first = part.find_first_not_of(' '), last = part.find_last_not_of(' ');
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
  }
  return parts;
}

}  // namespace

SpectralMethod parse_spectral(const std::string& text) {
  const std::vector<std::string> parts = split(text);
  const std::string key = parts.empty() ? "" : parts[0];
  for (const SpectralMethod& row : spectral_methods()) {
    if (key != row.key) continue;
    SpectralMethod method = row;
    std::set<std::string> stages_set;
    for (size_t i = 1; i < parts.size(); ++i) {
      set_stage(method.config, parts[i]);
      const std::string stage = parts[i].substr(0, parts[i].find('='));
      if (!stages_set.insert(stage).second) fail("optimizer: ", stage, " is set twice in '", text, "'");
    }
    return method;
  }
  if (key == "adamw") fail("optimizer: adamw has no stages to change, as in '", text, "'");
  fail("optimizer: there is no '", key, "'; train_gpt --list_optimizers shows all");
}

SpectralConfig muon() { return parse_spectral("muon").config; }
SpectralConfig aurora() { return parse_spectral("aurora").config; }

std::string all_stages(const SpectralConfig& c) {
  std::string text;
  for_each_stage(c, [&](const std::string& key, const auto& field) {
    text += (text.empty() ? "" : ",") + key + '=' + to_text(field);
  });
  return text;
}

void set_stages(SpectralConfig& c, const std::string& text) {
  for (const std::string& setting : split(text)) set_stage(c, setting);
}

std::string stages(const SpectralConfig& c) {
  const SpectralConfig nothing{
      .momentum = Momentum::none,
      .mu = 0,
      .nesterov = false,
      .direction = {.polar = Polar::identity, .balance = Balance::none, .pp_iterations = 0, .pp_beta = 0},
      .scale = Scale::none,
      .weight_decay = 0};
  std::vector<std::string> before;
  for_each_stage(nothing, [&](const char*, const auto& field) { before.push_back(to_text(field)); });
  const auto idle = [&](const std::string& key) {
    const bool of_momentum = key == "mu" || key == "nesterov";
    const bool of_balance = key == "where" || key == "pp_iterations" || key == "pp_beta";
    return (of_momentum && c.momentum == Momentum::none) || (of_balance && c.direction.balance == Balance::none);
  };
  std::string text;
  size_t i = 0;
  for_each_stage(c, [&](const std::string& key, const auto& field) {
    const std::string value = to_text(field);
    if (value != before[i++] && !idle(key)) text += (text.empty() ? "" : ",") + key + '=' + value;
  });
  return text;
}

}  // namespace borealis
