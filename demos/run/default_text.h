// What there is to train on when no file is given.
#pragma once

#include <string>

namespace borealis {

// This project's prose: its READMEs without code, tables and markup, and the comments of its files,
// in the order of their paths.
std::string default_text();

}  // namespace borealis
