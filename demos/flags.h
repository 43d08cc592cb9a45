// How every program here reads its command line.
#pragma once

#include <cstdlib>

#include <CLI/CLI.hpp>

#include "engine/error.h"

namespace borealis {

// --help prints and ends the program; a flag that is wrong is one sentence naming it.
inline void parse_flags(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    std::exit(app.exit(help));
  } catch (const CLI::ParseError& e) {
    fail(app.get_name(), ": ", e.what(), "; --help lists the flags");
  }
}

}  // namespace borealis
