// What the rows of tests/gpu_check share. A row looks at a device and reports what it finds as it finds it, so that what
// came before its end is not lost when it dies. Each runs in a process of its own: gpu_rows ROW.
#pragma once

#include <string>

#include "demos/run/train_options.h"
#include "engine/device.h"

namespace borealis::gpu {

// Where BOREALIS_CUDA=checked the device is played by the CPU: sizes are small, and no time means anything.
constexpr bool stand_in = BOREALIS_CHECKED;

struct Setting {
  Device device;
  bool few = false;  // a little of everything, for whatever makes kernels slow
};

// A number that must not exceed its bound; a NaN does.
void at_most(const std::string& what, double value, double bound, const std::string& note = {});
// A number, and what to read it against, such as the least that it could be (0: nothing).
void tell(const std::string& what, double value, const std::string& unit, double against = 0,
          const std::string& note = {});
bool all_kept();  // whether each number was within its bound

// Many numbers, each with a bound of its own: the first that exceed theirs are reported, and at the end the one that comes
// closest to its bound.
class Worst {
 public:
  explicit Worst(std::string what) : what_(std::move(what)) {}
  void add(const std::string& which, double value, double bound, const std::string& note = {});
  void report() const;

 private:
  std::string what_, which_ = "nothing was looked at", note_;
  double value_ = 1, bound_ = 0;  // until something is
  int64_t count_ = 0, beyond_ = 0;
};

// A preset of train_gpt with the number of tokens that its text has, and no dropout.
TrainOptions preset_of(const std::string& preset, const std::string& method);

// The rows.
void products(const Setting& s);  // products.cpp
void ops(const Setting& s);       // ops.cpp
void step(const Setting& s);      // step.cpp
void steady(const Setting& s);    // steady.cpp
void nano(const Setting& s);      // nano.cpp
void ceilings(const Setting& s);  // speed.cpp, as the rest
void kernels(const Setting& s);
void polar_buckets(const Setting& s);
void aurora_ratio(const Setting& s);
void tokens(const Setting& s);

}  // namespace borealis::gpu
