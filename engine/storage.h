// Memory: one pool per device, and the owner of one block of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "device.h"

namespace borealis {

class Backend;

// Free lists by size class on top of a backend's raw allocator. Training repeats its shapes, so
// after two steps every request is met from a list and the count of system allocations stands
// still.
//
// Invariants: (1) a block's capacity is its size class, at most 12.5 % above the request (below 512
// bytes: the next multiple of 64);
// (2) every address is 64-byte aligned; (3) live() + cached() never exceeds the cap.
// Thread safety: all members may be called from any thread.
class Pool {
 public:
  explicit Pool(Backend& backend) : backend_(backend) {}

  // Memory for `bytes`, contents undefined (Backend::mark). When the device is full, returns
  // the cache, tries once more, then throws std::runtime_error with the totals.
  void* take(size_t bytes);
  void give_back(void* data, size_t bytes);

  // Returns all cached blocks to the system. For the end of a phase (training to evaluation).
  void trim();

  // Bounds live() + cached(); 0 means no bound.
  void set_cap(size_t bytes) { cap_ = bytes; }
  size_t cap() const { return cap_; }

  size_t live() const { return live_; }
  size_t cached() const { return cached_; }
  size_t peak() const { return peak_; }
  int64_t system_allocations() const { return system_allocations_; }

 private:
  Backend& backend_;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // size class -> blocks
  size_t live_ = 0, cached_ = 0, peak_ = 0, cap_ = 0;
  int64_t system_allocations_ = 0;

  void release_cache();
};

// The pool of a device.
Pool& pool(Device device);

// Owns one block of a device's pool.
class Storage {
 public:
  Storage(size_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  Device device() const { return device_; }

 private:
  std::byte* data_;
  size_t bytes_;
  Device device_;
};

}  // namespace borealis
