// Memory of a device that is made of the CPU's: closed to everybody but its own kernels, copies and products.
//
// One range of addresses is reserved, and can be touched only while an Open lives. A touch from outside
// stops the program, saying which tensor was hit and where; so does what a kernel is handed that is no living tensor of
// this device, and what it writes past one's end.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace borealis {

class GuardedMemory {
 public:
  explicit GuardedMemory(std::string device);  // its name, for messages

  // As Backend's: 64-byte aligned, null when the reserved range is used up.
  void* allocate(size_t bytes);
  void release(void* data);
  void mark(void* data, size_t bytes, size_t capacity);

  // While one lives, memory is open; one at a time. `what` is done meanwhile: a kernel's name.
  class Open {
   public:
    Open(GuardedMemory& memory, const char* what);
    ~Open();  // stops the program if something was written past the end of what was used
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

    // Stops the program unless [data, data + bytes) lies in one living tensor.
    void use(const void* data, size_t bytes);
    // From there to the end of the living tensor that holds it; 0 if none does.
    size_t remaining(const void* data) const;

   private:
    GuardedMemory& memory_;
    const char* what_;
    std::lock_guard<std::mutex> lock_;
    std::vector<std::byte*> used_ = {};
  };

  bool owns(const void* address) const;  // whether the address is one of its own, of a tensor or not

  // For the handler of SIGSEGV: returns if the address is not in this memory.
  void report_touch(const void* address) const;

 private:
  struct Block {
    size_t bytes = 0;     // of its tensor; 0: given back
    size_t capacity = 0;  // what follows the tensor holds a pattern
  };
  using Blocks = std::map<const std::byte*, Block>;

  [[noreturn]] void stop(const std::string& text) const;
  Blocks::const_iterator find(const void* address) const;  // the block that holds it, or end()
  bool is_whole(Blocks::const_iterator block) const;
  void protect(bool open) const;

  const std::string device_;
  std::byte *begin_ = nullptr, *end_ = nullptr;  // reserved
  std::byte* top_ = nullptr;                     // blocks end here
  Blocks blocks_;
  const char* open_for_ = nullptr;                      // what is done now
  std::map<size_t, std::vector<std::byte*>> released_;  // capacity -> blocks
  std::mutex mutex_;
};

}  // namespace borealis
