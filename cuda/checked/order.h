// Who goes next: the threads of a block that could go on, in seeded random order.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

namespace borealis::stand_in {

struct Random {  // splitmix64
  uint64_t state = 0;

  uint64_t operator()() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
};

// In a block it is one at random; or always the first by an order of warps, or of lanes, drawn for the block. (At random alone
// nobody falls far behind, which hides missing barriers.)
class Ready {
 public:
  Ready() {
    for (unsigned w = 0; w < 32; ++w) warps_[w] = w;
  }
  void new_block(Random& random) {
    words_ = {};
    for (unsigned w = 0; w < 32; ++w) std::swap(warps_[w], warps_[random() % (w + 1)]);
    lanes_ = static_cast<unsigned>(random() % 32);
    order_ = static_cast<Order>(random() % 3);
  }
  void add(unsigned id) {
    const unsigned warp = warps_[id / 32], lane = id % 32 ^ lanes_;
    const unsigned place = order_ == Order::by_lane ? lane * 32 + warp : warp * 32 + lane;
    words_[place / 32] |= 1u << place % 32;
    ids_[place] = id;
  }
  // −1 if there is none.
  int take(Random& random) {
    const auto start = static_cast<unsigned>(order_ == Order::random ? random() % 1024 : 0);
    for (unsigned i = 0; i <= 32; ++i) {
      const unsigned w = (start / 32 + i) % 32;
      const unsigned set = i == 0 ? words_[w] & ~0u << start % 32 : words_[w];
      if (set == 0) continue;
      const auto bit = static_cast<unsigned>(std::countr_zero(set));
      words_[w] &= ~(1u << bit);
      return static_cast<int>(ids_[w * 32 + bit]);
    }
    return -1;
  }

 private:
  enum class Order { random, by_warp, by_lane } order_ = Order::random;
  std::array<unsigned, 32> words_ = {}, warps_ = {};  // a bit for each place; where a warp's places are
  unsigned lanes_ = 0;
  std::array<unsigned, 1024> ids_ = {};  // by place
};

}  // namespace borealis::stand_in
