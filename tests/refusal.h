// What a call that must be refused says.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace borealis {

// The sentence f throws as misuse.
inline std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "accepted";
}

inline bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

using Calls = std::vector<std::pair<std::string, std::function<void()>>>;

// Each call is refused in its own name.
inline void check_refused(const Calls& calls, const char* fault) {
  for (const auto& [op, f] : calls) {
    const std::string text = refusal(f);
    INFO(text);  // clang 14 cannot capture `op`
    CHECK(text.starts_with(op + ": "));
    CHECK(says(text, fault));
  }
}

}  // namespace borealis
