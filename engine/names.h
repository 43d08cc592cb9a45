// Enumerators as text and back: the words of flags, files and messages.
#pragma once

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>

#include "error.h"

namespace borealis {

// Specialised beside each enum: `what` it is called in messages, and the words in its order.
template <class Enum> struct Names;

template <class Enum> const char* name(Enum e) { return Names<Enum>::words[static_cast<size_t>(e)]; }

// The inverse of name(); fails naming all words.
template <class Enum> Enum parse(std::string_view text) {
  const auto& words = Names<Enum>::words;
  const auto found = std::find(words.begin(), words.end(), text);
  if (found != words.end()) return static_cast<Enum>(found - words.begin());
  std::ostringstream known;
  for (const char* word : words) known << (word == words[0] ? "" : ", ") << word;
  fail(Names<Enum>::what, ": there is no '", text, "'; known are ", known.str());
}

}  // namespace borealis
