// What only the operating system knows. Linux is asked; elsewhere the answers are plain ones that
// cost speed or comfort, never a result.
#pragma once

#include <string>
#include <vector>

namespace borealis {

// The cores that the calling thread may run on; elsewhere as many as the machine has.
std::vector<int> own_cores();

// Keeps the calling thread on these cores; a refusal, and any other system, costs speed only.
void bind_thread(const std::vector<int>& cores);

// "unknown" where it is not told.
std::string processor_name();

// A pipe without a name, as <(command) makes: one with a name may wait for its writer for ever.
bool is_anonymous_pipe(const std::string& path);

}  // namespace borealis
