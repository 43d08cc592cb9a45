// Watches what kernels do to memory, if they were compiled with -fsanitize=thread: g++ then calls __tsan_read4 and
// its like (watch.cpp) before each access. Linked without that flag, these calls are ours.
#pragma once

#include <cstddef>
#include <string>

namespace borealis::stand_in::watch {

// Device memory: nobody's; a tensor's, of which nothing is written; written.
void forget(void* data, size_t bytes);
void allow(void* data, size_t bytes);
void written(void* data, size_t bytes);
void copied(void* dst, const void* src, size_t bytes);

// A Fault if some of it was never written.
void check(const char* what, const void* data, size_t bytes);

void launch_begins(const std::string& name, const void* kernel, size_t bytes);  // and its arguments
void block_begins();
void block_ends();

void atomic(void* at, size_t bytes);
void fence();

}  // namespace borealis::stand_in::watch
