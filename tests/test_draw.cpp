// Drawings of text, block by block.
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "demos/run/draw.h"

using namespace borealis;

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
using Values = std::vector<double>;

}  // namespace

TEST_CASE("draw: a sparkline has eight heights") {
  CHECK(sparkline(Values{0, 1, 2, 3, 4, 5, 6, 7}, 0, 8) == "▁▂▃▄▅▆▇█");
  CHECK(sparkline(Values{0.999, 1, 7.999, 8}, 0, 8) == "▁▂██");
  CHECK(sparkline(Values{-5, -infinity, nan_value, infinity, 99}, 0, 8) == "▁▁ ██");
  CHECK(sparkline(Values{-1, 0, 1}, -1, 1) == "▁▅█");
  CHECK(sparkline(Values{3, 3, nan_value}, 3, 3) == "▁▁ ");
  CHECK(sparkline(Values{}, 0, 1).empty());
}

TEST_CASE("draw: a histogram shows a single value beside many, and nothing where there is none") {
  Values values(1000, 1.5);
  values.push_back(0.1);
  CHECK(histogram(values, 4, 0, 2) == "▁  █");
  CHECK(histogram(Values{0, 0.5, 0.5, 1, 1, 1, 1.5, 1.5, 1.5, 1.5}, 4, 0, 2) == "▂▄▆█");
  CHECK(histogram(Values{-9, 9, nan_value, 2, infinity}, 3, 0, 2) == "▃ █");
  CHECK(histogram(Values{1}, 17, 0, 2) == "        █        ");
  CHECK(histogram(Values{}, 3, 0, 2) == "   ");
  CHECK(histogram(Values{nan_value}, 2, 0, 2) == "  ");
  CHECK_THROWS_WITH(histogram(Values{}, 0, 0, 2), "histogram: 0 bins; there must be at least 1");
}

TEST_CASE("draw: a neuron map shows the weakest of neighbours, and the dead") {
  CHECK(neuron_map(Values{0, 1, 1.999, 5}, 4) == "▁▅██");
  CHECK(neuron_map(Values{1, 1}, 80) == "▅▅");
  CHECK(neuron_map(Values{}, 80).empty());
  // Cells of 2, 2 and 3 neurons.
  const Values seven{1, 0.3, 2, 1, 1, 1, 0};
  CHECK(neuron_map(seven, 3) == "▂▅▁");
  CHECK(neuron_map(seven, 3, std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 1}) == "▂▅×");
  CHECK(neuron_map(seven, 3, std::vector<uint8_t>{0, 1, 0, 0, 0, 0, 0}) == "×▅▁");
  CHECK(neuron_map(Values{nan_value, nan_value, 1, nan_value}, 2) == " ▅");
  CHECK_THROWS_WITH(neuron_map(seven, 0), "neuron_map: a width of 0; it must be at least 1");
  CHECK_THROWS_WITH(neuron_map(seven, 3, std::vector<uint8_t>{1}), "neuron_map: 1 flags for 7 neurons");
}
