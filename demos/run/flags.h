// How every program here reads its command line.
#pragma once

#include <charconv>
#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>

#include "demos/run/program.h"
#include "engine/error.h"
#include "engine/version.h"

namespace borealis {

// A value that is missing, as in --seed "$SEED" with no such variable, would count as 0.
inline void refuse_empty_values(const std::string& program, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string text = argv[i], before = argv[i - 1];
    const bool flag = text.starts_with("--"), missing = flag && text.ends_with('=');
    if (text.empty() || missing)
      fail(program, ": ",
           missing                             ? text.substr(0, text.size() - 1)
           : i > 1 && before.starts_with("--") ? before
                                               : "an argument",
           " has an empty value; give one or leave it out");
  }
}

// Whole numbers in decimal digits, within their type: CLI11 would read 010 as 8, take -1 for a
// large number where only positive ones exist, and cut off what is too large.
template <class Integer> std::string read_integer(std::string& text) {
  Integer n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size())
    return "'" + text + "' is not a whole number" +
           (std::is_unsigned_v<Integer> ? " from 0 to 2^64 - 1" : " in decimal digits");
  text = std::to_string(n);
  return "";
}

// --help and --version print and end the program; a flag that is wrong is one sentence naming it.
inline void parse_flags(CLI::App& app, int argc, char** argv) {
  refuse_empty_values(app.get_name(), argc, argv);
  app.set_version_flag("--version", app.get_name() + " " BOREALIS_VERSION, "print the version");
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type.starts_with("INT")) option->transform(CLI::Validator(read_integer<int64_t>, ""));
    if (type.starts_with("UINT")) option->transform(CLI::Validator(read_integer<uint64_t>, ""));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& answer) {
    std::exit(status_with_output(app.get_name().c_str(), app.exit(answer)));
  } catch (const CLI::ParseError& e) {
    fail(app.get_name(), ": ", e.what(), "; --help lists the flags");
  }
}

}  // namespace borealis
