#include "engine/rng.h"

#include <cmath>
#include <numbers>

namespace borealis {

void Rng::follow(const Tensor& record) {
  if (record.made("rng").dtype() != DType::f64 || !(record.shape() == Shape{3}))
    fail("rng: a step's record is f64[3], but this is ", record.dtype(), record.shape());
  if (step_ != 0) fail("rng: its steps were counted here, up to ", step_, "; follow a record from 0 on");
  record_ = record;
}

Tensor Rng::record(const char* op, Device device) const {
  if (record_ && !(record_.device() == device))
    fail(op, ": its numbers are on ", device, ", but the record that its generator follows is on ", record_.device());
  return record_;
}

int64_t Rng::below(int64_t n) {
  if (n < 1) fail("rng: below(", n, "): the bound must be at least 1");
  const PhiloxBits bits = next_stream().block(0);
  const uint64_t word = (uint64_t{bits.word[0]} << 32) | bits.word[1];
  const double u = static_cast<double>(word >> 11) * 0x1p-53;  // [0, 1), exact
  return static_cast<int64_t>(u * static_cast<double>(n));
}

Tensor Rng::normal(const Shape& shape, double std, DType dtype) {
  const Tensor t(shape, DType::f64);
  double* x = t.data<double>();
  const RandomStream stream = next_stream();
  for (int64_t i = 0; i < t.numel(); i += 2) {
    // r = √(−2 ln u), angle 2πv, with u in (0, 1].
    const PhiloxBits bits = stream.block(static_cast<uint32_t>(i / 2));
    const double u = (bits.word[0] + 1.0) / 4294967296.0, v = bits.word[1] / 4294967296.0;
    const double r = std * std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * v;
    x[i] = r * std::cos(angle);
    if (i + 1 < t.numel()) x[i + 1] = r * std::sin(angle);
  }
  return t.to(dtype);
}

Tensor Rng::uniform(const Shape& shape, double low, double high, DType dtype) {
  const Tensor t(shape, DType::f64);
  const RandomStream stream = next_stream();
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = low + (high - low) * (stream.word(i) / 4294967296.0);
  return t.to(dtype);
}

}  // namespace borealis
