#include "cuda/checked/grid.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "cuda/block_memory.h"
#include "cuda/checked/card.h"
#include "cuda/checked/controls.h"
#include "cuda/checked/fiber.h"
#include "cuda/checked/order.h"
#include "cuda/checked/watch.h"
#include "engine/cpu/poison.h"

namespace {
constexpr size_t behind = 1024;  // bytes behind a block's shared memory
constexpr unsigned char unwritten = 0xFF, beyond = 0xA5;
}  // namespace

alignas(128) unsigned char borealis_block_bytes[borealis::stand_in::limits::shared_asked + behind];

namespace borealis::stand_in {

Now now;

namespace {

enum class State { ready, at_block, at_warp, returned };

struct Thread {
  uint3 index = {};
  int stack = -1;  // none before it starts
  State state = State::ready;
  // What it waits for, and what comes of it.
  Meeting kind = Meeting::sync;
  unsigned mask = 0, source = 0;
  uint64_t value = 0, result = 0;
  Where where = {};
};

// Of one grid at a time.
const Kernel* kernel = nullptr;
std::vector<Thread> threads;
std::vector<unsigned> waiting;  // at the block's barrier
std::vector<int> free_stacks;
struct Warp {
  uint32_t epoch = 0;
  unsigned waiting = 0;  // lanes
};
std::vector<Warp> warps;
std::string fault_text;
Random random;
Ready ready;

std::string text_of(const Where& where) {
  const std::string file = where.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line);
}

bool same(const Where& a, const Where& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string describe(unsigned id) {
  const Thread& thread = threads[id];
  std::ostringstream text;
  text << "thread " << id;
  if (thread.state == State::returned) text << " has returned";
  if (thread.state == State::at_block) text << " waits for its block at " << text_of(thread.where);
  if (thread.state == State::at_warp)
    text << " waits for lanes " << std::hex << "0x" << thread.mask << " at " << text_of(thread.where);
  return text.str();
}

void body() {
  try {
    kernel->run();
  } catch (const Fault& fault) {
    fault_text = fault.what();
  }
}

void run_thread(unsigned id) {
  Thread& thread = threads[id];
  now.thread = thread.index;
  now.id = id;
  now.warp_epoch = warps[id / 32].epoch;
  const bool starts = thread.stack < 0;
  if (starts) {
    thread.stack = free_stacks.back();
    free_stacks.pop_back();
  }
  now.in_kernel = true;
  thread.state = State::returned;  // unless it says otherwise
  starts ? fiber::start(thread.stack, body) : fiber::resume(thread.stack);
  now.in_kernel = false;
  if (thread.state == State::returned) free_stacks.push_back(thread.stack);
}

void wake(unsigned id) {
  threads[id].state = State::ready;
  ready.add(id);
}

// Why nobody can go on: a thread that waits, and one that it waits for and that does something else.
[[noreturn]] void deadlock() {
  const auto is_waiting = [](const Thread& t) { return t.state != State::returned; };
  const auto first = static_cast<unsigned>(std::find_if(threads.begin(), threads.end(), is_waiting) - threads.begin());
  const Thread& a = threads[first];
  for (unsigned id = 0; id < threads.size(); ++id) {
    const Thread& b = threads[id];
    const bool awaited = a.state == State::at_block || (id / 32 == first / 32 && (a.mask >> id % 32 & 1) != 0);
    const bool alike = a.state == b.state && same(a.where, b.where) && (a.state == State::at_block || a.mask == b.mask);
    if (awaited && !alike) fault("threads wait for each other: ", describe(first), ", but ", describe(id));
  }
  fault("threads wait for each other: ", describe(first));
}

void check_shared() {
  const unsigned char* end = borealis_block_bytes + now.shared_bytes;
  allow_only(borealis_block_bytes, sizeof borealis_block_bytes, sizeof borealis_block_bytes);
  if (!std::all_of(end, end + behind, [](unsigned char b) { return b == beyond; }))
    fault("written past the end of the ", now.shared_bytes, " bytes of shared memory");
}

void run_block() {
  allow_only(borealis_block_bytes, sizeof borealis_block_bytes, sizeof borealis_block_bytes);
  std::memset(borealis_block_bytes, unwritten, now.shared_bytes);
  std::memset(borealis_block_bytes + now.shared_bytes, beyond, behind);
  allow_only(borealis_block_bytes, now.shared_bytes, sizeof borealis_block_bytes);
  watch::block_begins();
  now.block_epoch = 0;
  std::fill(warps.begin(), warps.end(), Warp());
  waiting.clear();
  ready.new_block(random);
  for (unsigned id = 0; id < threads.size(); ++id) {
    threads[id].stack = -1;
    wake(id);
  }
  for (int id = ready.take(random); id >= 0; id = ready.take(random)) {
    run_thread(static_cast<unsigned>(id));
    if (!fault_text.empty()) raise(fault_text);
  }
  if (std::any_of(threads.begin(), threads.end(), [](const Thread& t) { return t.state != State::returned; }))
    deadlock();
  watch::block_ends();
  check_shared();
}

}  // namespace

void raise(const std::string& text) {
  if (!now.in_kernel) throw Fault(text);
  std::ostringstream place;
  place << text << " (block " << now.block.x << ',' << now.block.y << ',' << now.block.z << ", thread " << now.thread.x
        << ',' << now.thread.y << ',' << now.thread.z << ')';
  throw Fault(place.str());
}

void stop_thread(const std::string& text) {
  try {
    raise(text);
  } catch (const Fault& fault) {
    fault_text = fault.what();
  }
  fiber::suspend();
}

void trap() { fault("__trap"); }

void run_grid(const Kernel& what, dim3 blocks, dim3 size, size_t shared_bytes) {
  kernel = &what;
  now = {};
  now.threads = size, now.blocks = blocks, now.shared_bytes = shared_bytes;
  random.state = controls.seed * 1000003 + static_cast<uint64_t>(counts.launches);
  threads.assign(size_t{size.x} * size.y * size.z, {});
  warps.resize(threads.size() / 32 + 1);
  for (unsigned i = 0; i < threads.size(); ++i)
    threads[i].index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
  fault_text.clear();
  ready = Ready();
  free_stacks.resize(fiber::count);
  for (int i = 0; i < fiber::count; ++i) free_stacks[static_cast<size_t>(i)] = fiber::count - 1 - i;

  const uint64_t count = uint64_t{blocks.x} * blocks.y * blocks.z;
  const uint64_t ends = controls.ends == 0 ? count : std::min<uint64_t>(count, 2 * uint64_t{controls.ends});
  std::vector<uint64_t> turns(ends);
  for (uint64_t i = 0; i < ends; ++i) turns[i] = i < (ends + 1) / 2 ? i : count - ends + i;
  for (uint64_t i = ends; i > 1; --i) std::swap(turns[i - 1], turns[random() % i]);
  try {
    for (const uint64_t id : turns) {
      now.block_id = id;
      now.block = {static_cast<unsigned>(id % blocks.x), static_cast<unsigned>(id / blocks.x % blocks.y),
                   static_cast<unsigned>(id / blocks.x / blocks.y)};
      run_block();
    }
  } catch (...) {
    now.in_kernel = false;
    fiber::abandon_all();
    throw;
  }
}

unsigned meet_block(bool yes, Where where) {
  if (!now.in_kernel) fault("a barrier outside a kernel");
  Thread& me = threads[now.id];
  me.where = where, me.value = yes, me.state = State::at_block;
  waiting.push_back(now.id);
  if (waiting.size() == threads.size()) {
    unsigned votes = 0;
    for (const unsigned id : waiting) {
      if (!same(threads[id].where, where))
        fault("threads of a block meet at different barriers, ", text_of(threads[id].where), " and ", text_of(where));
      votes += threads[id].value != 0;
    }
    for (const unsigned id : waiting) threads[id].result = votes, wake(id);
    waiting.clear();
    ++now.block_epoch;
  }
  fiber::suspend();  // the last to come takes its turn with the others
  return static_cast<unsigned>(threads[now.id].result);
}

uint64_t meet_warp(Meeting kind, unsigned mask, uint64_t value, unsigned source, int width, Where where) {
  if (!now.in_kernel) fault("a warp's meeting outside a kernel");
  const unsigned lane = now.id % 32, first = now.id - lane;
  const auto lanes = static_cast<unsigned>(std::min<size_t>(32, threads.size() - first));
  const unsigned all = ~0u >> (32 - lanes);
  const auto in_mask = [&](unsigned i) { return (mask >> i & 1) != 0; };
  if (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width)))
    fault("a shuffle's width is ", width, ", but must be a power of two up to 32");
  if (!in_mask(lane)) fault("lane ", lane, " is not in its mask at ", text_of(where));
  if ((mask & ~all) != 0) fault("a mask names lanes that this warp of ", lanes, " has not, at ", text_of(where));
  if (kind == Meeting::shuffle && !in_mask(source))
    fault("lane ", lane, " asks lane ", source, ", which is not in the mask, at ", text_of(where));
  Warp& warp = warps[now.id / 32];
  Thread& me = threads[now.id];
  me.kind = kind, me.mask = mask, me.value = value, me.source = source, me.where = where;
  me.state = State::at_warp;
  warp.waiting |= 1u << lane;
  bool complete = (warp.waiting & mask) == mask;
  uint64_t votes = 0;
  for (unsigned rest = complete ? mask : 0; rest != 0; rest &= rest - 1) {
    const Thread& other = threads[first + static_cast<unsigned>(std::countr_zero(rest))];
    complete = complete && other.kind == kind && other.mask == mask && same(other.where, where);
    if (other.value != 0) votes |= rest & ~(rest - 1);
  }
  for (unsigned rest = complete ? mask : 0; rest != 0; rest &= rest - 1) {
    const unsigned id = first + static_cast<unsigned>(std::countr_zero(rest));
    threads[id].result = kind == Meeting::shuffle ? threads[first + threads[id].source].value : votes;
    wake(id);
  }
  if (complete) warp.waiting &= ~mask;
  if (complete && kind == Meeting::sync && mask == all) ++warp.epoch;
  fiber::suspend();
  return threads[now.id].result;
}

}  // namespace borealis::stand_in
