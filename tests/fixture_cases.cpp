#include "tests/fixture_cases.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "autograd/ops.h"
#include "tests/compare.h"

namespace borealis {

using nlohmann::json;

namespace {

constexpr double bound_f64 = 1e-9;
constexpr double bound_f32 = 2e-5;

Fixture read_fixture(const std::filesystem::path& path, Device device) {
  Fixture fixture{{}, path.stem().string(), read_safetensors(path.string()), device};
  const auto& metadata = fixture.file.metadata;
  const auto format = metadata.find("format"), kind = metadata.find("kind");
  if (format == metadata.end() || format->second != "borealis-fixture-1" || kind == metadata.end())
    fail_runtime("fixtures: '", path.string(),
                 "' is no fixture: its metadata must say format = borealis-fixture-1 and a kind");
  fixture.kind = kind->second;
  return fixture;
}

std::vector<FixtureResult> run_file(const std::filesystem::path& path, Device device) {
  const Fixture fixture = read_fixture(path, device);
  const std::map<std::string, std::vector<FixtureResult> (*)(const Fixture&)> runners = {
      {"ops", run_ops}, {"polar", run_polar}, {"optimizers", run_optimizers}, {"model", run_model}};
  const auto runner = runners.find(fixture.kind);
  if (runner == runners.end())
    fail_runtime("fixtures: '", path.string(), "' is of kind '", fixture.kind,
                 "'; known are ops, polar, optimizers and model");
  try {
    return runner->second(fixture);
  } catch (const std::exception& error) {
    fail_runtime("fixtures: '", path.string(), "' cannot be run: ", error.what());
  }
}

}  // namespace

json Fixture::json(const std::string& key) const {
  const auto entry = file.metadata.find(key);
  if (entry == file.metadata.end()) fail_runtime("the metadata have no '", key, "'");
  return json::parse(entry->second);
}

const Tensor& Fixture::at(const std::string& name) const {
  const auto tensor = file.tensors.find(name);
  if (tensor == file.tensors.end()) fail_runtime("there is no tensor '", name, "'");
  return tensor->second;
}

FixtureResult Fixture::measure(const std::string& name, double bound, const std::function<double(DType)>& error) const {
  FixtureResult r{kind, name, error(DType::f64), error(DType::f32)};
  r.ok = r.error_f64 <= bound_f64 && r.error_f32 <= bound;
  return r;
}

std::vector<FixtureResult> run_fixtures(const std::string& folder, Device device) {
  if (!std::filesystem::is_directory(folder)) fail_runtime("fixtures: '", folder, "' is no folder");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  if (paths.empty()) fail_runtime("fixtures: '", folder, "' holds no .safetensors file");
  std::sort(paths.begin(), paths.end());

  std::vector<FixtureResult> results;
  for (const auto& path : paths)
    for (const FixtureResult& r : run_file(path, device)) results.push_back(r);
  return results;
}

std::string line(const FixtureResult& r) {
  if (r.skipped()) return r.kind + ' ' + r.name + " - - skipped (needs " + r.needs + ')';
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, " %.1e %.1e ", r.error_f64, r.error_f32);
  return r.kind + ' ' + r.name + numbers + (r.ok ? "ok" : "FAIL");
}

// --- ops -------------------------------------------------------------------------------------

namespace {

using Vars = std::vector<Var>;
struct Op {
  size_t inputs;  // at least so many
  std::function<Var(const Vars&, const json&)> f;
};

// An input that the case may leave out.
Var extra(const Vars& x, size_t i) { return i < x.size() ? x[i] : Var(); }

int axis(const json& info) { return info.value("axis", -1); }

// [B, H, T, D] of the files and [B, T, H·D] of our ops.
Var heads_last(const Var& x) {
  const Shape& s = x.shape();
  return reshape(permute(x, {0, 2, 1, 3}), {s[0], s[2], s[1] * s[3]});
}
Var heads_first(const Var& x, int64_t heads) {
  const Shape& s = x.shape();
  return permute(reshape(x, {s[0], s[1], heads, s[2] / heads}), {0, 2, 1, 3});
}

const std::map<std::string, Op>& ops() {
  static const std::map<std::string, Op> table = {
      {"add", {2, [](const Vars& x, const json&) { return x[0] + x[1]; }}},
      {"sub", {2, [](const Vars& x, const json&) { return x[0] - x[1]; }}},
      {"mul", {2, [](const Vars& x, const json&) { return x[0] * x[1]; }}},
      {"broadcast_mul", {2, [](const Vars& x, const json&) { return x[0] * x[1]; }}},
      {"div", {2, [](const Vars& x, const json&) { return x[0] / x[1]; }}},
      {"exp", {1, [](const Vars& x, const json&) { return exp(x[0]); }}},
      {"log", {1, [](const Vars& x, const json&) { return log(x[0]); }}},
      {"sqrt", {1, [](const Vars& x, const json&) { return sqrt(x[0]); }}},
      {"tanh", {1, [](const Vars& x, const json&) { return tanh(x[0]); }}},
      {"sigmoid", {1, [](const Vars& x, const json&) { return sigmoid(x[0]); }}},
      {"relu", {1, [](const Vars& x, const json&) { return relu(x[0]); }}},
      {"relu_squared", {1, [](const Vars& x, const json&) { return relu_squared(x[0]); }}},
      {"silu", {1, [](const Vars& x, const json&) { return silu(x[0]); }}},
      {"gelu_erf", {1, [](const Vars& x, const json&) { return gelu(x[0], Gelu::erf); }}},
      {"gelu_tanh", {1, [](const Vars& x, const json&) { return gelu(x[0], Gelu::tanh); }}},
      {"swiglu", {2, [](const Vars& x, const json&) { return swiglu(x[0], x[1]); }}},
      {"matmul", {2, [](const Vars& x, const json&) { return matmul(x[0], x[1]); }}},
      {"linear", {2, [](const Vars& x, const json&) { return linear(x[0], x[1], extra(x, 2)); }}},
      {"softmax", {1, [](const Vars& x, const json& i) { return softmax(x[0], axis(i)); }}},
      {"log_softmax", {1, [](const Vars& x, const json& i) { return log_softmax(x[0], axis(i)); }}},
      {"logsumexp", {1, [](const Vars& x, const json& i) { return logsumexp(x[0], axis(i)); }}},
      {"layer_norm",
       {1, [](const Vars& x, const json& i) { return layer_norm(x[0], extra(x, 1), extra(x, 2), i.at("eps")); }}},
      {"rms_norm", {1, [](const Vars& x, const json& i) { return rms_norm(x[0], extra(x, 1), i.at("eps")); }}},
      {"rotary",
       {1,
        [](const Vars& x, const json&) {
          const Shape& s = x[0].shape();
          const RotaryTable angles = rotary_table(s[2], s[3], x[0].dtype(), x[0].device());
          return heads_first(rotary(heads_last(x[0]), s[1], angles), s[1]);
        }}},
      {"causal_attention",
       {3,
        [](const Vars& x, const json&) {
          const int64_t heads = x[0].shape()[1];
          return heads_first(causal_attention(heads_last(x[0]), heads_last(x[1]), heads_last(x[2]), heads), heads);
        }}},
  };
  return table;
}

// The largest error of the output and of every gradient.
double op_error(const Fixture& f, const std::string& name, const json& info, const Op& op, DType dtype) {
  const auto number = [&](const char* kind, size_t i) { return name + kind + std::to_string(i); };
  Vars x;
  while (x.size() < op.inputs || f.file.tensors.count(number("/x", x.size())))
    x.push_back(Var::leaf(f.on_device(number("/x", x.size()), dtype)));
  const Var y = op.f(x, info);
  const Tensor expected = f.at(name + "/y");
  const bool is_loss = y.shape().numel() == 1 && !f.file.tensors.count(name + "/dy");
  (is_loss ? y : sum(y * Var(f.on_device(name + "/dy", dtype)))).backward();

  double error = relative_error(y.value().reshape(expected.shape()), expected);
  for (size_t i = 0; i < x.size(); ++i) error = std::max(error, relative_error(x[i].grad(), f.at(number("/dx", i))));
  return error;
}

}  // namespace

std::vector<FixtureResult> run_ops(const Fixture& f) {
  std::vector<FixtureResult> results;
  const json cases = f.json("cases");
  for (const auto& [name, info] : cases.items()) {
    // A file with several cases of one op says which in "op".
    const std::string op_name = info.value("op", name);
    Op op;
    if (op_name == "cross_entropy") {
      const Tensor targets = f.on_device(name + "/targets", DType::i32);
      op = {1, [targets](const Vars& x, const json&) { return cross_entropy(x[0], targets); }};
    } else if (ops().count(op_name)) {
      op = ops().at(op_name);
    } else {
      results.push_back(f.skip(name, op_name));
      continue;
    }
    results.push_back(f.measure(
        name, bound_f32, [&, &name = name, &info = info](DType dtype) { return op_error(f, name, info, op, dtype); }));
  }
  return results;
}

}  // namespace borealis
