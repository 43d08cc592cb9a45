// Where random numbers come from: always an explicit Rng, never a global.
#pragma once

#include <cstdint>

#include "philox.h"
#include "tensor.h"

namespace borealis {

// A seed and the position reached. Each call takes the next stream of the current step, so a run
// can resume anywhere: set_step(n) is all it needs.
class Rng {
 public:
  explicit Rng(uint64_t seed, uint32_t step = 0) : seed_(seed), step_(step) {}

  // Starts training step `step`: streams count from 0 again.
  void set_step(uint32_t step) {
    if (record_) fail("rng: it follows a step's record, so no step can be set");
    step_ = step;
    stream_ = 0;
  }
  // The steps of streams for ops are from now on counted from the one in `record`, a StepRecord on the ops' device
  // (ParamArena::record()): then nothing of an op changes from step to step. backward() comes before the step, or it would
  // draw other numbers than the forward pass. Fails where a step was set here.
  void follow(const Tensor& record);
  // That record for an op on `device`, or none; fails if it is elsewhere.
  Tensor record(const char* op, Device device) const;
  // A fresh stream, for an op that draws its own words (dropout).
  RandomStream next_stream() { return {seed_, stream_++, step_}; }

  // Uniform integer in [0, n) for n < 2^32, from 53 random bits (bias below 2^-21).
  int64_t below(int64_t n);
  // N(0, std²) on the CPU: Box-Muller in double, since log and cos differ between devices.
  Tensor normal(const Shape& shape, double std, DType dtype = DType::f32);
  Tensor uniform(const Shape& shape, double low, double high, DType dtype = DType::f32);

 private:
  uint64_t seed_;
  uint32_t step_;
  uint32_t stream_ = 0;
  Tensor record_;
};

}  // namespace borealis
