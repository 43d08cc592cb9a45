// check_fixtures DIR [DEVICE]: holds Borealis against golden numbers in files. See tests/fixture_cases.h.
#include <cstdio>
#include <exception>

#include "tests/fixture_cases.h"

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: check_fixtures DIR [cpu|cuda|cuda:N]\n");
    return 1;
  }
  try {
    int passed = 0, failed = 0, skipped = 0;
    const borealis::Device device = borealis::parse_device(argc == 3 ? argv[2] : "cpu");
    for (const borealis::FixtureResult& r : borealis::run_fixtures(argv[1], device)) {
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
