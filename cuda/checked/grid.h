// Runs a grid: its blocks one after another, the threads of a block as fibers that meet at real barriers; both in
// seeded random order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "vectors.h"

namespace borealis::stand_in {

// Where in the source a barrier or shuffle stands: threads that meet must be at the same one.
struct Where {
  const char* file = "";
  unsigned line = 0;

  static constexpr Where current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

// The thread that runs now. Its place in the grid is what kernels see as threadIdx and so on.
struct Now {
  bool in_kernel = false;
  uint3 thread = {}, block = {};
  dim3 threads, blocks;
  unsigned id = 0;           // of the thread in its block
  uint64_t block_id = 0;     // of the block in its grid
  uint32_t block_epoch = 0;  // __syncthreads so far
  uint32_t warp_epoch = 0;   // __syncwarp of the whole warp so far
  size_t shared_bytes = 0;
};
extern Now now;

// A kernel and what it is called with.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run() const = 0;      // one thread
  virtual size_t bytes() const = 0;  // of this object
};

void run_grid(const Kernel& kernel, dim3 blocks, dim3 threads, size_t shared_bytes);

// Throws a Fault, which in a kernel names the thread and ends the grid.
[[noreturn]] void raise(const std::string& text);
template <class... Parts> [[noreturn]] void fault(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  raise(text.str());
}

// The same where nothing may be thrown: in a kernel, it goes no further.
void stop_thread(const std::string& text);

[[noreturn]] void trap();

// --- where threads meet -----------------------------------------------------------------------------

// The block's barrier: how many threads came with `yes`.
unsigned meet_block(bool yes, Where where);

// A meeting of a warp's lanes in `mask`. sync: nothing; vote: the lanes whose value is not 0; shuffle: the
// value of the lane `source`; `width` is that of its parts of the warp.
enum class Meeting { sync, vote, shuffle };
uint64_t meet_warp(Meeting kind, unsigned mask, uint64_t value, unsigned source, int width, Where where);

}  // namespace borealis::stand_in
