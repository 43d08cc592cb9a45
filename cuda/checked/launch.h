// cudaLaunchKernelEx: the one way to launch a kernel.
#pragma once

#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "api.h"
#include "card.h"
#include "grid.h"

namespace borealis::stand_in {

// What of a kernel's arguments must be the device's memory: each pointer; and each number within a struct that is an address
// of the device. (With g++: clang cannot clear what lies between a struct's members, which might look like one.)
struct Pointers {
  std::vector<const void*> certain, possible;

  template <class T> void add(T argument) {
    if constexpr (std::is_pointer_v<T>) {
      certain.push_back(argument);
    } else if constexpr (std::is_class_v<T>) {
#if __has_builtin(__builtin_clear_padding)
      __builtin_clear_padding(&argument);
      for (size_t at = 0; at + sizeof(void*) <= sizeof(T); at += sizeof(void*)) {
        const void* word = nullptr;
        std::memcpy(&word, reinterpret_cast<const char*>(&argument) + at, sizeof word);
        possible.push_back(word);
      }
#endif
    }
  }
};

template <class... P> class KernelOf final : public Kernel {
 public:
  KernelOf(void (*kernel)(P...), P... arguments) : kernel_(kernel), arguments_(arguments...) {}
  void run() const override { std::apply(kernel_, arguments_); }
  size_t bytes() const override { return sizeof *this; }

 private:
  void (*kernel_)(P...);
  std::tuple<P...> arguments_;
};

// `kernel` is owned from then on. (A pointer that counts would be of atomic operations, here where sources are watched.)
cudaError_t launch(const cudaLaunchConfig_t& config, const void* address, const Kernel* kernel, Pointers pointers);

}  // namespace borealis::stand_in

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... arguments) {
  static_assert((std::is_trivially_copyable_v<P> && ...), "a kernel's arguments are copied as bytes");
  static_assert(!(std::is_reference_v<P> || ...), "a kernel takes no references");
  static_assert((sizeof(P) + ... + 0) <= borealis::stand_in::limits::arguments, "too many bytes of arguments");
  using Call = borealis::stand_in::KernelOf<P...>;
  return [&](P... copies) {
    borealis::stand_in::Pointers pointers;
    (pointers.add(copies), ...);
    return borealis::stand_in::launch(*config, reinterpret_cast<const void*>(kernel), new Call(kernel, copies...),
                                      std::move(pointers));
  }(std::forward<A>(arguments)...);
}
