// The golden numbers of tests/fixtures, and what is said of folders that are none.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/fixture_cases.h"
#include "tests/near.h"

using namespace borealis;
using doctest::Contains;
namespace fs = std::filesystem;

TEST_CASE("fixtures: every case agrees in f64 and f32, on every device") {
  for (const Device device : available_devices()) {
    const std::vector<FixtureResult> results = run_fixtures(BOREALIS_FIXTURES, device);
    for (const char* kind : {"ops", "polar", "optimizers", "model"})
      CHECK(std::count_if(results.begin(), results.end(),
                          [&](const FixtureResult& r) { return r.kind == kind && !r.skipped(); }) >= 9);
    for (const FixtureResult& r : results) {
      INFO(line(r), device == Device{} ? "" : " on a further device");
      CHECK((r.ok || r.skipped()));
    }
  }
}

TEST_CASE("fixtures: a wrong number fails its case, an unknown method is skipped") {
  const fs::path folder = fs::temp_directory_path() / ("borealis_fixtures_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const auto write = [&](const std::string& cases, double y) {
    TensorFile file;
    file.metadata = {{"format", "borealis-fixture-1"}, {"kind", "ops"}, {"cases", cases}};
    const auto one = [](double value) { return Tensor::full({1}, value, DType::f64); };
    file.tensors = {{"square_root/x0", one(4)}, {"square_root/y", one(y)}, {"square_root/dx0", one(0.25)}};
    write_safetensors((folder / "a.safetensors").string(), file);
    return run_fixtures(folder.string()).at(0);
  };
  CHECK(write(R"({"square_root": {"op": "sqrt"}})", 2).ok);
  const FixtureResult wrong = write(R"({"square_root": {"op": "sqrt"}})", 2.001);
  CHECK_FALSE(wrong.ok);
  CHECK(wrong.error_f64 == near(0.001 / 2.001));
  CHECK(line(wrong) == "ops square_root 5.0e-04 5.0e-04 FAIL");
  const FixtureResult unknown = write(R"({"square_root": {"op": "cube_root"}})", 2);
  CHECK(line(unknown) == "ops square_root - - skipped (needs cube_root)");
  CHECK_THROWS_WITH_AS(write("{", 2), Contains("a.safetensors' cannot be run"), std::runtime_error);
  CHECK_THROWS_WITH_AS(write(R"({"other": {"op": "sqrt"}})", 2), Contains("there is no tensor 'other/x0'"),
                       std::runtime_error);
  fs::remove_all(folder);
}

TEST_CASE("fixtures: no folder, an empty one and foreign files are refused in one sentence") {
  const fs::path folder = fs::temp_directory_path() / ("borealis_fixtures_" + std::to_string(::getpid()));
  CHECK_THROWS_WITH_AS(run_fixtures(folder.string()), Contains("is no folder"), std::runtime_error);
  fs::create_directories(folder);
  CHECK_THROWS_WITH_AS(run_fixtures(folder.string()), Contains("holds no .safetensors file"), std::runtime_error);
  write_safetensors((folder / "a.safetensors").string(), {});
  CHECK_THROWS_WITH_AS(run_fixtures(folder.string()), Contains("is no fixture"), std::runtime_error);
  write_safetensors((folder / "a.safetensors").string(), {{{"format", "borealis-fixture-1"}, {"kind", "songs"}}, {}});
  CHECK_THROWS_WITH_AS(run_fixtures(folder.string()), Contains("is of kind 'songs'"), std::runtime_error);
  std::ofstream(folder / "a.safetensors") << "cut";
  CHECK_THROWS_WITH_AS(run_fixtures(folder.string()), Contains("has only 3 bytes"), std::runtime_error);
  fs::remove_all(folder);
}
