// What a test sets and reads of the stand-in. Real code includes CUDA's headers alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

struct CUstream_st;

namespace borealis::stand_in {

// What hardware might have let pass: thrown where the kernel runs or the call is made, in one sentence.
class Fault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Controls {
  uint64_t seed;      // of the order of blocks and threads; at first BOREALIS_SEED of the environment, else 1
  size_t lag;         // operations that a stream holds back as long as nobody waits; at first BOREALIS_LAG, else 0
  unsigned ends = 0;  // if not 0, only so many blocks at each end of a grid run: for tensors larger than this machine
  size_t memory = size_t{16} << 30;  // of the device
  std::string refused = {};          // a call of this name does nothing and gives its code, cudaErrorInvalidValue
  // By kernel, a thread's: the GPU's compiler tells them. A launch that needs too many gets its code.
  std::map<std::string, unsigned> registers = {};
};
extern Controls controls;

struct Counts {
  int64_t launches = 0, copies = 0, waits = 0, allocations = 0, products = 0;
  int64_t slow_products = 0;  // a pointer or a leading dimension is no multiple of 16 bytes
};
extern Counts counts;

// What a kernel's accesses came to, where it was compiled to be watched. Bytes, and sectors of 32 bytes, are counted
// once for each access of a warp; conflicts are the further turns that its lanes' banks of shared memory ask for.
struct Traffic {
  int64_t launches = 0, read = 0, written = 0, read_sectors = 0, written_sectors = 0, conflicts = 0;
  int widest_read = 0, widest_write = 0;  // bytes of one lane's access
};
// By kernel; its name is known where the program exports its symbols.
extern std::map<std::string, Traffic> traffic;

// To be called when a part of an allocation begins to be `bytes` large, 0 for given back (Backend::mark). What it holds
// is then NaN, and bytes behind it are nobody's. In the order of the stream's other work.
void mark(void* data, size_t bytes, CUstream_st* stream);

}  // namespace borealis::stand_in
