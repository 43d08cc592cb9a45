#include "cuda/checked/watch.h"

#include <sstream>

#include <dlfcn.h>

#include "cuda/block_memory.h"
#include "cuda/checked/card.h"
#include "cuda/checked/controls.h"
#include "cuda/checked/device_memory.h"
#include "cuda/checked/fiber.h"
#include "cuda/checked/grid.h"
#include "cuda/checked/shadow.h"
#include "cuda/checked/warp_traffic.h"

namespace borealis::stand_in::watch {

namespace {

bool is_on = false;  // as soon as something was compiled to be watched

struct Watcher {
  Shadow shadow;
  Publications publications;
  WarpTraffic warps;
  uint64_t launch = 0, block = 0;  // the shadow's runs
  const char *arguments = nullptr, *arguments_end = nullptr;
};

Watcher& watcher() {
  static auto* const one = new Watcher;
  return *one;
}

template <class T> bool lies_in(const void* at, const T* begin, const T* end) {
  return at >= static_cast<const void*>(begin) && at < static_cast<const void*>(end);
}

[[gnu::cold]] void stop(const std::string& what, const void* place) {
  std::ostringstream text;
  text << what;
  Dl_info info = {};
  if (dladdr(place, &info) != 0)
    text << "; addr2line -e PROGRAM " << std::hex << "0x"
         << static_cast<const char*>(place) - static_cast<const char*>(info.dli_fbase) - 1;
  stop_thread(text.str());
}

void look(const void* at, size_t bytes, Touch how, const Moment& done, const void* place) {
  Watcher& w = watcher();
  const char* does = how == Touch::read ? "a read" : "a write";
  const bool is_shared = lies_in(at, borealis_block_bytes, borealis_block_bytes + limits::shared_asked);
  if (is_shared) {
    if (static_cast<const unsigned char*>(at) + bytes > borealis_block_bytes + now.shared_bytes)
      return stop(std::string(does) + " past the end of shared memory", place);
  } else if (!memory().owns(at)) {  // constants that g++ knows are none of these
    if (how == Touch::read && (lies_in(at, w.arguments, w.arguments_end) || lies_in(at, &now, &now + 1))) return;
    return stop(std::string(does) + " of the host's memory", place);
  }
  const std::string fault =
      w.shadow.touch(at, bytes, how, is_shared ? 2 * w.block + 1 : 2 * w.launch, done, w.publications);
  if (!fault.empty()) return stop(fault + (is_shared ? " (shared memory)" : ""), place);
  if (how == Touch::atomic) return;
  w.warps.add(place, at, static_cast<int>(bytes), how == Touch::write,
              is_shared ? WarpTraffic::Space::shared : WarpTraffic::Space::device_memory);
}

void access(const void* at, size_t bytes, Touch how, bool aligned, const void* place) {
  if (!now.in_kernel || fiber::holds(at)) return;
  if (aligned && reinterpret_cast<uintptr_t>(at) % bytes != 0)
    return stop("a misaligned access of " + std::to_string(bytes) + " bytes", place);
  look(at, bytes, how, this_moment(), place);
}

}  // namespace

void forget(void* data, size_t bytes) {
  if (is_on) watcher().shadow.set(data, bytes, Shadow::State::nobodys);
}
void allow(void* data, size_t bytes) {
  if (is_on) watcher().shadow.set(data, bytes, Shadow::State::fresh);
}
void written(void* data, size_t bytes) {
  if (is_on) watcher().shadow.set(data, bytes, Shadow::State::written);
}
void copied(void* dst, const void* src, size_t bytes) {
  if (is_on) watcher().shadow.copy(dst, src, bytes);
}

void check(const char* what, const void* data, size_t bytes) {
  for (size_t i = 0; is_on && i < bytes; i += 2)
    if (watcher().shadow.get(static_cast<const char*>(data) + i) != Shadow::State::written)
      fault(what, ": reads memory that nothing has written");
}

void launch_begins(const std::string& name, const void* kernel, size_t bytes) {
  if (!is_on) return;
  Watcher& w = watcher();
  ++w.launch;
  w.arguments = static_cast<const char*>(kernel), w.arguments_end = w.arguments + bytes;
  w.publications.clear();
  Traffic& sums = traffic[name];
  ++sums.launches;
  w.warps.begin(sums);
}

void block_begins() {
  if (!is_on) return;
  Watcher& w = watcher();
  ++w.block;
  w.publications.block_begins();
  w.shadow.set(borealis_block_bytes, now.shared_bytes, Shadow::State::fresh);
}

void block_ends() {
  if (is_on) watcher().warps.block_ends();
}

void atomic(void* at, size_t bytes) {
  if (!is_on) return;
  look(at, bytes, Touch::atomic, watcher().publications.atomic(at), __builtin_return_address(0));
}

void fence() {
  if (is_on) watcher().publications.fence();
}

}  // namespace borealis::stand_in::watch

using borealis::stand_in::Touch;
using borealis::stand_in::watch::access;

// What g++ calls.
extern "C" {
#define BOREALIS_ACCESS(name, bytes, how, aligned) \
  void __tsan_##name(void* at) { access(at, bytes, Touch::how, aligned, __builtin_return_address(0)); }
#define BOREALIS_ACCESSES(bytes)                             \
  BOREALIS_ACCESS(read##bytes, bytes, read, true)            \
  BOREALIS_ACCESS(write##bytes, bytes, write, true)          \
  BOREALIS_ACCESS(unaligned_read##bytes, bytes, read, false) \
  BOREALIS_ACCESS(unaligned_write##bytes, bytes, write, false)
BOREALIS_ACCESSES(1)
BOREALIS_ACCESSES(2)
BOREALIS_ACCESSES(4)
BOREALIS_ACCESSES(8)
BOREALIS_ACCESSES(16)
void __tsan_read_range(void* at, size_t bytes) { access(at, bytes, Touch::read, false, __builtin_return_address(0)); }
void __tsan_write_range(void* at, size_t bytes) { access(at, bytes, Touch::write, false, __builtin_return_address(0)); }
void __tsan_init() { borealis::stand_in::watch::is_on = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
