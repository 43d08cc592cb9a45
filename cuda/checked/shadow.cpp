#include "cuda/checked/shadow.h"

#include <sstream>

#include "cuda/checked/grid.h"

namespace borealis::stand_in {

namespace {

uint32_t fences = 0;

// Whether a comes before b, both of one block.
bool in_order(const Moment& a, const Moment& b) {
  if (a.thread == b.thread) return a.fences <= b.fences;
  return a.block_epoch < b.block_epoch || (a.thread / 32 == b.thread / 32 && a.warp_epoch < b.warp_epoch);
}

std::string text_of(const char* did, const Moment& moment) {
  std::ostringstream text;
  text << did << " by thread " << moment.thread << " of block " << moment.block;
  return text.str();
}

}  // namespace

Moment this_moment() { return {now.block_id, now.id, now.block_epoch, now.warp_epoch, fences}; }

// --- order between blocks -------------------------------------------------------------------------------

void Publications::clear() { published_.clear(); }

void Publications::block_begins() {
  fenced_.clear();
  asked_.clear();
  seen_.clear();
}

Moment Publications::atomic(const void* at) {
  const Moment here = this_moment();
  asked_[here.thread] = at;
  const auto fence = fenced_.find(here.thread);
  if (fence == fenced_.end()) return here;
  published_[at][here.block] = fence->second;
  Moment done = here;
  done.fences = fence->second.fences;  // whoever sees the publication sees the operation
  return done;
}

void Publications::fence() {
  const Moment here = this_moment();
  fenced_[here.thread] = here;
  ++fences;
  const auto asked = asked_.find(here.thread);
  if (asked == asked_.end()) return;
  seen_.push_back({asked->second, here, published_[asked->second]});
  asked_.erase(asked);
}

bool Publications::has_seen(const Moment& other) const {
  for (const Seen& seen : seen_) {
    const auto published = seen.published.find(other.block);
    if (published != seen.published.end() && in_order(other, published->second) && in_order(seen.when, this_moment()))
      return true;
  }
  return false;
}

// --- cells -----------------------------------------------------------------------------------------------

void Shadow::set(const void* data, size_t bytes, State state) {
  const auto* first = static_cast<const char*>(data);
  for (size_t i = 0; i < bytes; i += 2) states_.at(first + i) = state;
}

void Shadow::copy(const void* dst, const void* src, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 2)
    states_.at(static_cast<const char*>(dst) + i) = State{states_.at(static_cast<const char*>(src) + i)};
}

std::string Shadow::touch(const void* data, size_t bytes, Touch how, uint64_t run, const Moment& done,
                          const Publications& publications) {
  const auto* first = static_cast<const char*>(data);
  for (size_t i = 0; i < bytes; i += 2) {
    Cell& cell = cells_.at(first + i);
    if (cell.run != run) cell = {.run = run, .write = {}, .read = {}};
    std::string fault = touch_cell(cell, states_.at(first + i), how, done, publications);
    if (!fault.empty()) return fault;
  }
  return "";
}

std::string Shadow::touch_cell(Cell& cell, State& state, Touch how, const Moment& done,
                               const Publications& publications) {
  const Moment here = this_moment();
  const char* does = how == Touch::read ? "a read" : how == Touch::write ? "a write" : "an atomic operation";
  if (state == State::nobodys) return text_of(does, here) + " of memory where no tensor is";
  if (state == State::fresh && how != Touch::write) return text_of(does, here) + " of memory that nothing has written";
  const auto comes_after = [&](const Moment& before) {
    return before.block == here.block ? in_order(before, here) : publications.has_seen(before);
  };
  const auto race = [&](const char* did, const Moment& other) {
    return "a race: " + text_of(does, here) + " and " + text_of(did, other) + ", in no order";
  };
  if (cell.is_written && !(how == Touch::atomic && cell.by_atomic) && !comes_after(cell.write))
    return race(cell.by_atomic ? "an atomic operation" : "a write", cell.write);
  // Of several readers the last is known: what comes after it by a barrier of theirs comes after all.
  const bool of_this_block = cell.read.block == here.block, of_this_warp = cell.read.thread / 32 == here.thread / 32;
  const bool after_barrier = of_this_block && cell.read.block_epoch < here.block_epoch;
  const auto comes_after_all_reads = [&] {
    switch (cell.readers) {
      case Readers::none: return true;
      case Readers::one: return comes_after(cell.read);
      case Readers::of_warp:
        return after_barrier || (of_this_block && of_this_warp && cell.read.warp_epoch < here.warp_epoch);
      case Readers::of_block: return after_barrier;
      case Readers::of_blocks: return false;
    }
    return false;
  };
  if (how != Touch::read) {
    if (!comes_after_all_reads()) return race("a read", cell.read);
    cell.write = done, cell.is_written = true, cell.by_atomic = how == Touch::atomic;
    cell.readers = Readers::none;
    state = State::written;
  } else {
    if (comes_after_all_reads())
      cell.readers = Readers::one;
    else if (!of_this_block)
      cell.readers = Readers::of_blocks;
    else if (cell.readers <= Readers::of_warp)
      cell.readers = of_this_warp ? Readers::of_warp : Readers::of_block;
    cell.read = here;
  }
  return "";
}

}  // namespace borealis::stand_in
