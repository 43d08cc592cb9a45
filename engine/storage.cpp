#include "engine/storage.h"

#include <algorithm>
#include <bit>

#include "engine/backend.h"
#include "engine/error.h"

namespace borealis {

namespace {

// Rounds up to a multiple of an eighth of the leading power of two: waste is at most 12.5 %.
size_t size_class(size_t bytes) {
  constexpr size_t smallest = 64;
  if (bytes <= smallest) return smallest;
  const size_t step = std::max(smallest, std::bit_floor(bytes) / 8);
  return (bytes + step - 1) / step * step;
}

}  // namespace

void* Pool::take(size_t bytes) {
  if (bytes >> 60)  // its size class would overflow
    fail_runtime("memory: ", backend_.device(), " cannot give ", bytes, " bytes");
  const std::lock_guard lock(mutex_);
  const size_t size = size_class(bytes);
  void* data = nullptr;
  auto& list = free_[size];
  if (!list.empty()) {
    data = list.back();
    list.pop_back();
    cached_ -= size;
  } else {
    const auto fresh = [&] { return cap_ && live_ + cached_ + size > cap_ ? nullptr : backend_.allocate(size); };
    data = fresh();
    if (!data) {
      release_cache();
      data = fresh();
    }
    if (!data)
      fail_runtime("memory: ", backend_.device(), " cannot give ", size, " bytes: ", live_, " are in use",
                   cap_ ? " under a cap of " : "", cap_ ? std::to_string(cap_) : "", "; use a smaller batch or model");
    ++system_allocations_;
  }
  live_ += size;
  peak_ = std::max(peak_, live_);
  backend_.mark(data, bytes, size);
  return data;
}

void Pool::give_back(void* data, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const size_t size = size_class(bytes);
  backend_.mark(data, 0, size);
  free_[size].push_back(data);
  live_ -= size;
  cached_ += size;
}

void Pool::trim() {
  const std::lock_guard lock(mutex_);
  release_cache();
}

void Pool::release_cache() {
  for (auto& [size, list] : free_) {
    for (void* data : list) backend_.release(data);
    list.clear();
  }
  cached_ = 0;
}

Pool& pool(Device device) { return backend(device).pool(); }

Storage::Storage(size_t bytes, Device device)
    : data_(static_cast<std::byte*>(borealis::pool(device).take(bytes))), bytes_(bytes), device_(device) {}

Storage::~Storage() { borealis::pool(device_).give_back(data_, bytes_); }

}  // namespace borealis
