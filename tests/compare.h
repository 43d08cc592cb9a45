// How far apart two tensors are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/tensor.h"

namespace borealis {

// max|a − b| / max|b|, in f64; where b is all zero, max|a|. A NaN or another shape is infinitely
// wrong.
inline double relative_error(const Tensor& a, const Tensor& b) {
  constexpr double wrong = std::numeric_limits<double>::infinity();
  if (!a || !b || !(a.shape() == b.shape())) return wrong;
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double difference = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    if (std::isnan(d)) return wrong;
    difference = std::max(difference, d);
    size = std::max(size, std::abs(y[i]));
  }
  return size > 0 ? difference / size : difference;
}

// Where a and b of one shape lie furthest apart, as a share of b's largest finite number. Numbers that are not finite must
// be the same, or they are infinitely far from each other.
struct Difference {
  double share = 0;
  size_t at = 0;
  double a = 0, b = 0;  // there
};
inline Difference difference(const Tensor& a, const Tensor& b) {
  constexpr double far = std::numeric_limits<double>::infinity();
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  if (!(a.shape() == b.shape())) return {far};
  Difference most;
  double apart = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(y[i])) size = std::max(size, std::abs(y[i]));
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    const double d = std::abs(x[i] - y[i]), here = std::isnan(d) ? far : d;
    if (here > apart) apart = here, most = {0, i, x[i], y[i]};
  }
  most.share = size > 0 ? apart / size : apart;
  return most;
}

// Whether a and b are the same to the last bit.
inline bool same_bytes(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype()) return false;
  const Tensor x = a.to(Device{}), y = b.to(Device{});
  return std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

}  // namespace borealis
