// What is known of each two bytes of memory that kernels touch: whose they are, and which threads used them how.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace borealis::stand_in {

// A moment of a thread.
struct Moment {
  uint64_t block = 0;
  uint32_t thread = 0, block_epoch = 0, warp_epoch = 0;
  uint32_t fences = 0;  // of all threads so far
};
Moment this_moment();

// Which moments of other blocks came before this one: those that were published by a fence and then an atomic operation,
// and seen by an atomic operation at the same place and then a fence.
class Publications {
 public:
  void clear();
  void block_begins();
  Moment atomic(const void* at);  // when the operation counts as done
  void fence();
  bool has_seen(const Moment& other) const;

 private:
  struct Seen {
    const void* at;
    Moment when;
    std::map<uint64_t, Moment> published;  // by block
  };
  std::unordered_map<const void*, std::map<uint64_t, Moment>> published_;  // by place, then block
  std::unordered_map<uint32_t, Moment> fenced_;                            // this block's threads
  std::unordered_map<uint32_t, const void*> asked_;  // atomic operations that no fence followed yet
  std::vector<Seen> seen_ = {};
};

enum class Touch { read, write, atomic };

class Shadow {
 public:
  enum class State : uint8_t { nobodys, fresh, written };

  void set(const void* data, size_t bytes, State state);
  void copy(const void* dst, const void* src, size_t bytes);
  State get(const void* at) { return states_.at(at); }

  // What is wrong with this touch; empty if nothing is. `run` tells launches apart, or a block's shared memory.
  // What comes later must come after `done`.
  std::string touch(const void* data, size_t bytes, Touch how, uint64_t run, const Moment& done,
                    const Publications& publications);

 private:
  enum class Readers : uint8_t { none, one, of_warp, of_block, of_blocks };
  struct Cell {
    uint64_t run = 0;
    Moment write = {}, read = {};
    bool is_written = false, by_atomic = false;
    Readers readers = Readers::none;
  };

  // One T for each two bytes.
  template <class T> class Pages {
   public:
    T& at(const void* address) {
      const auto half = reinterpret_cast<uintptr_t>(address) / 2;
      if (half / size != last_ || !page_) {
        std::unique_ptr<T[]>& page = pages_[half / size];
        if (!page) page = std::make_unique<T[]>(size);
        page_ = page.get(), last_ = half / size;
      }
      return page_[half % size];
    }

   private:
    static constexpr uintptr_t size = 2048;
    std::unordered_map<uintptr_t, std::unique_ptr<T[]>> pages_;
    T* page_ = nullptr;
    uintptr_t last_ = 0;
  };

  std::string touch_cell(Cell& cell, State& state, Touch how, const Moment& done, const Publications& publications);

  Pages<State> states_;
  Pages<Cell> cells_;
};

}  // namespace borealis::stand_in
