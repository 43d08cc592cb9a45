// What the stand-in's tests hold on the device.
#pragma once

#include <string>
#include <vector>

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include "cuda/checked/controls.h"

namespace borealis {

// A stream, and memory that goes when this goes.
class TestDevice {
 public:
  TestDevice() { REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess); }
  ~TestDevice() {
    (void)cudaStreamDestroy(stream);
    for (void* data : blocks_) (void)cudaFree(data);
  }
  TestDevice(const TestDevice&) = delete;
  TestDevice& operator=(const TestDevice&) = delete;

  template <class T> T* room(size_t count) {
    T* data = nullptr;
    REQUIRE(cudaMalloc(&data, count * sizeof(T)) == cudaSuccess);
    blocks_.push_back(data);
    return data;
  }
  template <class T> T* put(const std::vector<T>& x) {
    T* data = room<T>(x.size());
    REQUIRE(cudaMemcpyAsync(data, x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice, stream) == cudaSuccess);
    return data;
  }
  template <class T> std::vector<T> get(const T* data, size_t count) {
    std::vector<T> x(count);
    REQUIRE(cudaMemcpyAsync(x.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost, stream) == cudaSuccess);
    return x;
  }

  cudaStream_t stream = nullptr;

 private:
  std::vector<void*> blocks_ = {};
};

// Numbers whose sums are exact in any order.
inline std::vector<float> numbers(int count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * i % 97);
  return x;
}

// Which sentence a call ends with; empty if none. Its code, if it has one, is a fault of the test.
template <class Call> std::string fault_of(Call call) {
  try {
    if (static_cast<int>(call()) != 0) return "refused with a code";
  } catch (const stand_in::Fault& fault) {
    return fault.what();
  }
  return "";
}

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace borealis
