// Enumerators as text and back: the words of flags, files and messages.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <sstream>
#include <string_view>

#include "error.h"

namespace borealis {

// A line beside each enum: what it is called in messages, then its words in their order.
template <class Enum> inline constexpr std::array<const char*, 0> words_of{};

template <class Enum> constexpr auto words() { return std::span(words_of<Enum>).template subspan<1>(); }
template <class Enum> const char* name(Enum e) { return words<Enum>()[static_cast<size_t>(e)]; }

// The inverse of name(); fails naming all words.
template <class Enum> Enum parse(std::string_view text) {
  const auto all = words<Enum>();
  const auto found = std::find(all.begin(), all.end(), text);
  if (found != all.end()) return static_cast<Enum>(found - all.begin());
  std::ostringstream known;
  for (const char* word : all) known << (word == all[0] ? "" : ", ") << word;
  fail(words_of<Enum>[0], ": there is no '", text, "'; known are ", known.str());
}

}  // namespace borealis
