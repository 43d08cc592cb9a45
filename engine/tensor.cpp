#include "engine/tensor.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "engine/backend.h"
#include "engine/overlap.h"

namespace borealis {

Tensor::Tensor(const Shape& shape, DType dtype, Device device)
    : storage_(std::make_shared<Storage>(static_cast<size_t>(shape.numel()) * size_of(dtype), device)),
      numel_(shape.numel()),
      shape_(shape),
      dtype_(dtype) {}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t(shape, dtype, device);
  t.fill(value);
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }

void Tensor::fail_unmade(const char* op) { fail(op, ": this tensor was never made"); }

Tensor Tensor::reshape(const Shape& shape) const {
  made("reshape");
  if (shape.numel() != numel_)
    fail("reshape: ", shape_, " has ", numel_, " numbers, but ", shape, " has ", shape.numel());
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::rows(int64_t first, int64_t count) const {
  if (made("rows").shape_.rank() == 0) fail("rows: a single number has no rows");
  if (const Range range{first, count}; !range.inside(shape_[0]))
    fail("rows: ", range, " is outside the leading axis of ", shape_);
  Shape s = shape_;
  s.set(0, count);
  const int64_t row = shape_[0] ? numel_ / shape_[0] : 0;
  return flat_view(first * row, s);
}

Tensor Tensor::flat_view(int64_t first, const Shape& shape) const {
  if (!Range{first, shape.numel()}.inside(made("flat_view").numel_))
    fail("flat_view: ", shape, " at element ", first, " does not fit into ", shape_);
  Tensor t = *this;
  t.shape_ = shape;
  t.numel_ = shape.numel();
  t.offset_ += first * static_cast<int64_t>(size_of(dtype_));
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = made("clone").like();
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType dtype, Device target) const {
  if (dtype == made("to").dtype_ && target == device()) return *this;
  Tensor t(shape_, dtype, target);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& other) const {
  if (!(made("copy").shape_ == other.made("copy").shape_))
    fail("copy: the target is ", shape_, ", the source ", other.shape_);
  if (numel_ == 0 || raw() == other.raw()) return;
  check_apart("copy", *this, other);
  const size_t bytes = static_cast<size_t>(numel_) * size_of(dtype_);
  if (device() == other.device()) {
    if (dtype_ == other.dtype_)
      backend(device()).copy(raw(), other.raw(), bytes);
    else
      backend(device()).cast(*this, other);
  } else if (dtype_ != other.dtype_) {
    copy_from(other.to(dtype_));
  } else if (device().kind == Device::Kind::cpu) {
    backend(other.device()).download(raw(), other.raw(), bytes);
  } else {
    backend(device()).upload(raw(), other.to(Device{}).raw(), bytes);
  }
}

void Tensor::fill(double value) const {
  if (made("fill").numel_) backend(device()).fill(*this, value);
}

double Tensor::item() const {
  if (made("item").numel_ != 1) fail("item: ", shape_, " is not a single number");
  return to(Device{}).to(DType::f64).data<double>()[0];
}

void Tensor::check_access(DType asked) const {
  made("data");
  if (asked != dtype_) fail("tensor: asked for ", asked, ", but ", shape_, " holds ", dtype_);
  if (device().kind != Device::Kind::cpu)
    fail("tensor: ", shape_, " is on ", device(), "; call to(Device{}) before reading it");
}

std::ostream& operator<<(std::ostream& out, const Tensor& t) {
  if (!t) return out << "no tensor";
  constexpr size_t shown = 8;
  const std::vector<double> x = t.to_vector<double>();
  out << t.dtype() << t.shape() << " {";
  for (size_t i = 0; i < std::min(shown, x.size()); ++i) out << (i ? ", " : "") << x[i];
  out << (x.size() > shown ? ", …}" : "}");
  if (x.size() < 2) return out;

  std::vector<double> finite;
  std::copy_if(x.begin(), x.end(), std::back_inserter(finite), [](double v) { return std::isfinite(v); });
  if (const auto [min, max] = std::minmax_element(finite.begin(), finite.end()); min != finite.end())
    out << ", min " << *min << ", mean "
        << std::accumulate(finite.begin(), finite.end(), 0.0) / static_cast<double>(finite.size()) << ", max " << *max;
  if (finite.size() < x.size()) out << ", " << x.size() - finite.size() << " not finite";
  return out;
}

}  // namespace borealis
