// Streams: queues of work that runs when somebody waits for it, or at once (Controls::lag).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>

#include "controls.h"

struct CUstream_st {
 public:
  using Work = std::function<void()>;

  CUstream_st();
  ~CUstream_st();
  CUstream_st(const CUstream_st&) = delete;
  CUstream_st& operator=(const CUstream_st&) = delete;

  void add(Work work);              // to the end; runs at the front what the lag does not cover
  void run_until(uint64_t ticket);  // until so many were done
  uint64_t issued() const { return done_ + pending_.size(); }
  uint64_t done() const { return done_; }

 private:
  std::deque<Work> pending_ = {};
  uint64_t done_ = 0;
};

namespace borealis::stand_in {

// The stream itself, if it is one that lives; else a Fault, as for the default stream.
CUstream_st& checked(CUstream_st* stream, const char* call);

void run_all_streams();

}  // namespace borealis::stand_in
