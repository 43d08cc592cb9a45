// The lines of code that optim/README.md quotes are there.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <doctest/doctest.h>

namespace {

// Without the blanks before and after.
std::string trimmed(const std::string& line) {
  const size_t first = line.find_first_not_of(' '), last = line.find_last_not_of(' ');
  return first == std::string::npos ? "" : line.substr(first, last - first + 1);
}

}  // namespace

TEST_CASE("optim/README.md quotes lines of the code") {
  const std::string root = BOREALIS_SOURCE;
  std::set<std::string> code;
  for (const std::string folder : {"optim", "engine"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root + '/' + folder)) {
      std::ifstream file(entry.path());
      if (entry.path().extension() == ".cpp")
        for (std::string line; std::getline(file, line);) code.insert(trimmed(line));
    }

  std::ifstream readme(root + "/optim/README.md");
  bool quoting = false;
  int quoted = 0;
  for (std::string line; std::getline(readme, line);) {
    if (line.starts_with("```")) {
      quoting = line == "```cpp";
    } else if (quoting) {
      CAPTURE(line);
      CHECK(code.count(trimmed(line)) == 1);
      ++quoted;
    }
  }
  CHECK(quoted >= 20);
}
