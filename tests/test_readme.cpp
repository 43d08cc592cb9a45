// The lines of code that optim/README.md quotes are there; the numbers of autograd/README.md are true.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "tests/near.h"

using namespace borealis;

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
      if (entry.path().extension() == ".cpp" || entry.path().extension() == ".h")
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

TEST_CASE("autograd/README.md walks a gradient with the numbers that come out") {
  const Var w = Var::leaf(Tensor::full({}, 3)), x = Tensor::full({}, 2), y = Tensor::full({}, 1);
  const Var p = w * x, d = p - y, loss = square(d);
  for (const Var& inner : {p, d, loss}) inner.keep_grad();
  loss.backward();
  const double walked[] = {w.grad().item(), p.grad().item(), d.grad().item(), loss.grad().item()};
  const auto value_after = [&](double weight) {
    return square(Tensor::full({}, weight, DType::f64) * Var(x.value().to(DType::f64)) - Var(y.value().to(DType::f64)))
        .item();
  };

  std::ifstream file(std::string(BOREALIS_SOURCE) + "/autograd/README.md");
  const std::string readme{std::istreambuf_iterator<char>(file), {}};
  const auto says = [&](const auto&... parts) {
    std::ostringstream text;
    text.precision(8);
    (text << ... << parts);
    INFO(text.str());
    CHECK(readme.find(text.str()) != std::string::npos);
  };
  says("| `w` | ", w.item(), " | gradient of `p` · x = ", walked[1], " · ", x.item(), " = **", walked[0], "** |");
  says("| `p = w * x` | ", p.item(), " | gradient of `d` · 1 = **", walked[1], "** |");
  says("| `d = p - y` | ", d.item(), " | gradient of `loss` · 2 d = 1 · 2 · ", d.item(), " = **", walked[2], "** |");
  says("| `loss = square(d)` | ", loss.item(), " | **", walked[3], "**");
  says("w.grad() is ", walked[0]);
  says("with `w = 3.001` the loss is ", value_after(3.001), ",");
  w.assign(w - 0.01 * w.grad());
  CHECK(w.item() == near(2.8));
  says("downhill: w is 2.8, for which the loss is ", value_after(2.8), "\n");
}
