#include "demos/run/run_log.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <unistd.h>

#include "engine/error.h"
#include "engine/files.h"

namespace borealis {

namespace fs = std::filesystem;

namespace {

// A pipe would make us wait for ever, a link would lead somewhere else.
void check_regular(const std::string& path) {
  const fs::file_status there = fs::symlink_status(path);
  if (fs::exists(there) && !fs::is_regular_file(there))
    fail_runtime(path, ": is not a regular file; move it away, or choose another --out_dir");
}

}  // namespace

LogSoFar read_log(const std::string& path, int64_t step) {
  check_regular(path);
  std::ifstream file(path, std::ios::binary);
  std::ostringstream whole;
  if (file) whole << file.rdbuf();

  LogSoFar log;
  std::istringstream lines(whole.str());
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer() || object["step"] > step)
      continue;
    if (object.contains("final")) {
      log.finished = object["step"] == step;
      continue;
    }
    log.text += line + '\n';
    const auto number = [&](const char* key) {
      const auto found = object.find(key);
      return found != object.end() && found->is_number() ? std::optional<double>(*found) : std::nullopt;
    };
    log.train_loss = number("train_loss").value_or(NAN);
    log.loss = number("val_loss") ? number("val_loss") : number("train_loss");
    log.unvalidated = object["step"] == step && !object.contains("val_loss");
  }
  log.changed = log.text != whole.str();
  return log;
}

void complete(LogSoFar& log, double val_loss) {
  const size_t last = log.text.rfind('\n', log.text.size() - 2) + 1;  // 0: the only line
  auto object = nlohmann::json::parse(log.text.substr(last));
  object["val_loss"] = val_loss;
  log.text.replace(last, std::string::npos, object.dump() + '\n');
  log.loss = val_loss;
  log.unvalidated = false;
  log.changed = true;
}

RunLog::RunLog(const std::string& path, const LogSoFar& before) : path_(path) {
  check_regular(path);
  if (before.changed) write_file_atomically(path, [&](std::ostream& out) { out << before.text; });
  file_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (file_ < 0) fail_runtime(path, ": cannot be written (", std::strerror(errno), "); choose another --out_dir");
}

RunLog::~RunLog() { ::close(file_); }

void RunLog::write(const nlohmann::json& object) {
  const std::string line = object.dump() + '\n';
  if (!write_all(file_, line.data(), line.size()))
    fail_runtime(path_, ": cannot be written any more (", std::strerror(errno), ")");
}

void RunLog::write(const StepReport& r) {
  nlohmann::json j = {{"step", r.step}, {"train_loss", r.train_loss},    {"lr", r.lr}, {"grad_norm", r.grad_norm},
                      {"ms", r.ms},     {"tokens_per_s", r.tokens_per_s}};
  if (r.val_loss) j["val_loss"] = *r.val_loss;
  if (!r.diagnosis.is_null()) j.update(r.diagnosis);
  write(j);
}

}  // namespace borealis
