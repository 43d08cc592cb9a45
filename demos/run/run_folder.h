// The folder that a run writes into: one run at a time, and none loses what another one left.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace borealis {

class RunFolder {
 public:
  explicit RunFolder(const std::string& path) : path_(path) {}
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  std::string operator/(const std::string& file) const { return path_ + '/' + file; }

  // Makes the folder if need be, and keeps every other run out of it for as long as this process
  // lives, however it ends. Fails in one sentence while another run has it. Done once.
  void take();

  // Makes room for a fresh run, whose run.json says `about`: what an earlier one left is renamed to
  // previous.N.…, N being the first free number. run.json is written first, under another name: a
  // disk that is full stops the run before anything has moved. Returns N; 0: there was nothing.
  int set_earlier_aside(const nlohmann::json& about);

  // Keeps a copy of the checkpoint that is about to be replaced by a hopeless one; returns its
  // path.
  std::string keep_checkpoint() const;

  // Paths that are no UTF-8 are told with replacement characters.
  void write_about(const nlohmann::json& about, const std::string& file = "run.json") const;

 private:
  std::string path_;
  int lock_ = -1;
};

}  // namespace borealis
