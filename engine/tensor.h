// A shared handle to contiguous row-major numbers. Knows no derivative.
#pragma once

#include <memory>
#include <vector>

#include "device.h"
#include "dtype.h"
#include "shape.h"
#include "span.h"
#include "storage.h"

namespace borealis {

// Copying a Tensor copies the handle; clone() copies the numbers. `const Tensor&` means that the
// handle does not change: engine calls name their output first and write through it.
class Tensor {
 public:
  Tensor() = default;  // no tensor: defined() is false

  // Memory with undefined contents.
  explicit Tensor(const Shape& shape, DType dtype = DType::f32, Device device = {});

  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = {});

  // On the CPU, with the values' own type (float, double or int32_t).
  template <class T> static Tensor of(const Shape& shape, const std::vector<T>& values) {
    Tensor t(shape, dtype_of<T>());
    if (static_cast<int64_t>(values.size()) != t.numel())
      fail("tensor: ", shape, " takes ", t.numel(), " values, got ", values.size());
    std::copy(values.begin(), values.end(), t.template data<T>());
    return t;
  }

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }
  // This tensor; fails in the name of `op` if there is none.
  const Tensor& made(const char* op) const {
    if (!storage_) fail_unmade(op);
    return *this;
  }

  const Shape& shape() const { return shape_; }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  Device device() const { return made("device").storage_->device(); }

  // The numbers, for CPU tensors of exactly this type.
  template <class T> T* data() const {
    check_access(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  void* raw() const { return made("raw").storage_->data() + offset_; }

  operator Span() const { return {raw_or_null(), dtype_, numel_}; }
  operator ConstSpan() const { return {raw_or_null(), dtype_, numel_}; }

  // Views of the same memory.
  Tensor reshape(const Shape& shape) const;                   // same count of numbers
  Tensor rows(int64_t first, int64_t count) const;            // a slice of the leading axis
  Tensor flat_view(int64_t first, const Shape& shape) const;  // elements first … of the flat order

  // Copies.
  Tensor clone() const;
  Tensor to(DType dtype) const { return to(dtype, made("to").device()); }
  Tensor to(Device device) const { return to(dtype_, device); }

  // The same shape; converts type and device. The two must not overlap, unless they are one.
  void copy_from(const Tensor& other) const;
  void fill(double value) const;
  double item() const;  // the value of a one-number tensor
  template <class T> std::vector<T> to_vector() const {
    const Tensor t = to(Device{}).to(dtype_of<T>());
    return {t.template data<T>(), t.template data<T>() + t.numel()};
  }

  // Whether this handle alone owns the memory, so that it may be overwritten.
  bool sole_owner() const { return storage_.use_count() == 1; }
  bool same_storage(const Tensor& other) const { return storage_ == other.storage_; }
  // A fresh tensor of the same shape, type and device.
  Tensor like() const { return Tensor(shape_, dtype_, device()); }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  // in bytes
  int64_t numel_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;

  Tensor to(DType dtype, Device device) const;
  void* raw_or_null() const { return storage_ ? raw() : nullptr; }
  [[noreturn]] static void fail_unmade(const char* op);
  void check_access(DType asked) const;
};

// Type and shape, the first numbers; min, mean and max of the finite ones, and how many are not:
// "f32[3] {1, nan, 3}, min 1, mean 2, max 3, 1 not finite".
std::ostream& operator<<(std::ostream& out, const Tensor& t);

}  // namespace borealis
