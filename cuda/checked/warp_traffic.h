// The accesses of a warp's lanes put together: the n-th that each lane makes at one place of the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "controls.h"

namespace borealis::stand_in {

class WarpTraffic {
 public:
  enum class Space { device_memory, shared };

  void begin(Traffic& sums) {
    sums_ = &sums;
    places_.clear();
  }
  void add(const void* place, const void* address, int bytes, bool writes, Space space);
  void block_ends();  // also accesses that not all lanes made

 private:
  using Lanes = std::vector<std::pair<unsigned, uintptr_t>>;  // lane, address
  struct Place {
    int bytes = 0;
    bool writes = false;
    Space space = Space::device_memory;
    std::vector<uint32_t> turns = {};               // by thread
    std::unordered_map<uint64_t, Lanes> open = {};  // by warp and turn
  };
  void close(const Place& place, Lanes& lanes);

  std::unordered_map<const void*, Place> places_;
  Traffic* sums_ = nullptr;
};

}  // namespace borealis::stand_in
