#include "cuda/checked/watch.h"
namespace borealis::stand_in::watch {
void forget(void*, size_t) {}
void allow(void*, size_t) {}
void written(void*, size_t) {}
void copied(void*, const void*, size_t) {}
void check(const char*, const void*, size_t) {}
void launch_begins(const std::string&, const void*, size_t) {}
void block_begins() {}
void block_ends() {}
void launch_ends() {}
void atomic(void*, size_t) {}
void fence() {}
}  // namespace borealis::stand_in::watch
