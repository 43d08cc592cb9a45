// check_fixtures DIR: holds Borealis against golden numbers in files. See tests/fixture_cases.h.
#include <cstdio>
#include <exception>

#include "tests/fixture_cases.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_fixtures DIR\n");
    return 1;
  }
  try {
    int passed = 0, failed = 0, skipped = 0;
    for (const borealis::FixtureResult& r : borealis::run_fixtures(argv[1])) {
      std::printf("%s\n", line(r).c_str());
      ++(r.skipped() ? skipped : r.ok ? passed : failed);
    }
    std::printf("%d passed, %d failed", passed, failed);
    if (skipped) std::printf(", %d skipped", skipped);
    std::printf("\n");
    return failed ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "check_fixtures: %s\n", error.what());
    return 1;
  }
}
