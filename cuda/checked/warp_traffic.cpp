#include "cuda/checked/warp_traffic.h"

#include <algorithm>
#include <array>
#include <set>

#include "cuda/checked/grid.h"

namespace borealis::stand_in {

namespace {

// Further turns of shared memory's 32 banks of 4 bytes. They serve 128 bytes a turn: half a warp of 8 bytes each.
int64_t conflicts_of(const std::vector<std::pair<unsigned, uintptr_t>>& lanes, int bytes) {
  const auto lanes_per_turn =
      static_cast<unsigned>(std::max(1, 32 * 4 / std::max(bytes, 4)));  // a struct may be larger
  int64_t conflicts = 0;
  for (unsigned first = 0; first < 32; first += lanes_per_turn) {
    std::array<std::set<uintptr_t>, 32> words;
    for (const auto& [lane, address] : lanes)
      if (lane / lanes_per_turn == first / lanes_per_turn)
        for (int b = 0; b < bytes; b += 4) {
          const uintptr_t word = (address + static_cast<uintptr_t>(b)) / 4;
          words[word % 32].insert(word);
        }
    size_t turns = 1;
    for (const std::set<uintptr_t>& bank : words) turns = std::max(turns, bank.size());
    conflicts += static_cast<int64_t>(turns) - 1;
  }
  return conflicts;
}

int64_t sectors_of(const std::vector<std::pair<unsigned, uintptr_t>>& lanes, int bytes) {
  std::set<uintptr_t> sectors;
  for (const auto& [lane, address] : lanes)
    for (uintptr_t s = address / 32; s <= (address + static_cast<uintptr_t>(bytes) - 1) / 32; ++s) sectors.insert(s);
  return static_cast<int64_t>(sectors.size());
}

}  // namespace

void WarpTraffic::add(const void* at, const void* address, int bytes, bool writes, Space space) {
  Place& place = places_[at];
  place.bytes = bytes, place.writes = writes, place.space = space;
  if (place.turns.size() <= now.id) place.turns.resize(now.id + 1);
  const uint64_t key = uint64_t{now.id / 32} << 32 | place.turns[now.id]++;
  Lanes& lanes = place.open[key];
  lanes.emplace_back(now.id % 32, reinterpret_cast<uintptr_t>(address));
  if (lanes.size() < 32) return;
  close(place, lanes);
  place.open.erase(key);
}

void WarpTraffic::block_ends() {
  for (auto& [at, place] : places_)
    for (auto& [key, lanes] : place.open) close(place, lanes);
  places_.clear();
}

void WarpTraffic::close(const Place& place, Lanes& lanes) {
  if (place.space == Space::shared) {
    sums_->conflicts += conflicts_of(lanes, place.bytes);
    return;
  }
  std::set<uintptr_t> addresses;  // what lanes share comes once
  for (const auto& [lane, address] : lanes) addresses.insert(address);
  (place.writes ? sums_->written : sums_->read) += place.bytes * static_cast<int64_t>(addresses.size());
  (place.writes ? sums_->written_sectors : sums_->read_sectors) += sectors_of(lanes, place.bytes);
  int& widest = place.writes ? sums_->widest_write : sums_->widest_read;
  widest = std::max(widest, place.bytes);
}

}  // namespace borealis::stand_in
