#include "cuda/guarded.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

#include "engine/cpu/poison.h"
#include "engine/error.h"

namespace borealis {

namespace {

constexpr size_t reserved = size_t{64} << 30;  // addresses, not memory
constexpr size_t fence = 64;              // bytes behind each block: an overrun by one number never meets a neighbour
constexpr size_t page = size_t{2} << 20;  // huge ones: opening and closing takes microseconds, not milliseconds
constexpr size_t largest_filled = size_t{1} << 30;  // larger ones are for tests that touch their ends alone
constexpr unsigned char unwritten = 0xFF;           // a NaN in every float type
constexpr unsigned char beyond = 0xA5;

size_t up_to(size_t multiple, size_t bytes) { return (bytes + multiple - 1) / multiple * multiple; }

// All there are, for the handler.
std::vector<const GuardedMemory*>& memories() {
  static std::vector<const GuardedMemory*> all;
  return all;
}

void on_touch(int, siginfo_t* info, void*) {
  for (const GuardedMemory* memory : memories()) memory->report_touch(info->si_addr);
  std::signal(SIGSEGV, SIG_DFL);  // somebody else's fault: it happens once more
}

}  // namespace

GuardedMemory::GuardedMemory(std::string device) : device_(std::move(device)) {
  void* at = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) fail_runtime(device_, ": cannot reserve ", reserved >> 30, " GiB of addresses");
  begin_ = top_ = reinterpret_cast<std::byte*>(up_to(page, reinterpret_cast<size_t>(at)));
  end_ = static_cast<std::byte*>(at) + reserved;
  madvise(begin_, static_cast<size_t>(end_ - begin_), MADV_HUGEPAGE);
  memories().push_back(this);
  struct sigaction action = {};
  action.sa_sigaction = on_touch;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
}

void* GuardedMemory::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t capacity = up_to(64, bytes) + fence;
  std::vector<std::byte*>& free = released_[capacity];
  std::byte* data = top_;
  if (!free.empty()) {
    data = free.back();
    free.pop_back();
  } else {
    if (capacity > static_cast<size_t>(end_ - top_)) return nullptr;
    top_ += capacity;
  }
  blocks_[data] = {.bytes = 0, .capacity = capacity};
  return data;
}

void GuardedMemory::release(void* data) {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.find(static_cast<std::byte*>(data));
  released_[block->second.capacity].push_back(static_cast<std::byte*>(data));
  blocks_.erase(block);
}

void GuardedMemory::mark(void* data, size_t bytes, size_t) {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.find(static_cast<std::byte*>(data));
  const size_t capacity = block->second.capacity;
  protect(true);
  if (block->second.bytes && !is_whole(block))
    stop("a kernel wrote past the end of a tensor, found when it was given back");
  allow_only(data, capacity, capacity);
  block->second.bytes = bytes;
  const bool fills = capacity <= largest_filled;
  const size_t slack = capacity - bytes;
  if (fills) std::memset(data, unwritten, capacity);
  std::memset(static_cast<std::byte*>(data) + bytes, beyond, fills ? slack : std::min(slack, fence));
  allow_only(data, bytes, capacity);
  protect(false);
}

GuardedMemory::Open::Open(GuardedMemory& memory, const char* what)
    : memory_(memory), what_(what), lock_(memory.mutex_) {
  memory_.protect(true);
  memory_.open_for_ = what;
}

GuardedMemory::Open::~Open() {
  for (const std::byte* data : used_)
    if (const auto block = memory_.blocks_.find(data); !memory_.is_whole(block))
      memory_.stop(std::string(what_) + " wrote past the end of a tensor of " + std::to_string(block->second.bytes) +
                   " bytes");
  memory_.open_for_ = nullptr;
  memory_.protect(false);
}

void GuardedMemory::Open::use(const void* data, size_t bytes) {
  if (bytes == 0) return;
  const auto block = memory_.find(data);
  const auto stop = [&](const std::string& fault) { memory_.stop(std::string(what_) + " was handed " + fault); };
  if (block == memory_.blocks_.end()) stop("memory that is not this device's");
  const auto& [begin, now] = *block;
  if (now.bytes == 0) stop("a tensor that was given back");
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(data) - begin);
  if (offset + bytes > now.bytes)
    stop("bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes) + " of a tensor of " +
         std::to_string(now.bytes));
  used_.push_back(const_cast<std::byte*>(begin));
}

size_t GuardedMemory::Open::remaining(const void* data) const {
  const auto block = memory_.find(data);
  if (block == memory_.blocks_.end()) return 0;
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(data) - block->first);
  return offset < block->second.bytes ? block->second.bytes - offset : 0;
}

bool GuardedMemory::owns(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  return at >= begin_ && at < end_;
}

void GuardedMemory::report_touch(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  if (!owns(address)) return;
  const auto block = find(address);
  if (open_for_) stop(std::string(open_for_) + " touched memory where no tensor is");
  if (block == blocks_.end()) stop("a touch from outside its kernels, where no tensor is");
  stop("a touch from outside its kernels: byte " + std::to_string(at - block->first) + " of a tensor of " +
       std::to_string(block->second.bytes) + " bytes" + (block->second.bytes ? "" : " (it was given back)"));
}

void GuardedMemory::stop(const std::string& text) const {
  std::fprintf(stderr, "%s: %s\n", device_.c_str(), text.c_str());
  std::abort();
}

GuardedMemory::Blocks::const_iterator GuardedMemory::find(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  const auto next = blocks_.upper_bound(at);
  if (next == blocks_.begin()) return blocks_.end();
  const auto block = std::prev(next);
  return at < block->first + block->second.capacity ? block : blocks_.end();
}

// Only the first bytes behind the tensor are looked at where a kernel used it: that is where loops run over.
bool GuardedMemory::is_whole(Blocks::const_iterator block) const {
  const auto* first = reinterpret_cast<const unsigned char*>(block->first) + block->second.bytes;
  const size_t slack = block->second.capacity - block->second.bytes;
  allow_only(const_cast<std::byte*>(block->first), block->second.capacity, block->second.capacity);
  const bool whole = std::all_of(first, first + std::min(slack, fence), [](unsigned char b) { return b == beyond; });
  allow_only(const_cast<std::byte*>(block->first), block->second.bytes, block->second.capacity);
  return whole;
}

void GuardedMemory::protect(bool open) const {
  if (top_ == begin_) return;
  const size_t used = up_to(page, static_cast<size_t>(top_ - begin_));
  if (mprotect(begin_, used, open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
    stop("its memory cannot be opened or closed");
}

}  // namespace borealis
