// The two ways Borealis says no. A text is one sentence: the op, a colon, what is wrong with every
// shape involved, and the cure where one is known.
#pragma once

#include <sstream>
#include <stdexcept>

namespace borealis {

// Misuse by the caller (shapes, settings): throws std::invalid_argument.
template <class... Parts> [[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

// Trouble with the machine or a file (memory, disk, a truncated file): throws std::runtime_error.
template <class... Parts> [[noreturn]] void fail_runtime(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

}  // namespace borealis
