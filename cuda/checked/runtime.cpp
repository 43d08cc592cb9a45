// Errors, the device's properties, and what a launch is refused for.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include <cxxabi.h>
#include <dlfcn.h>

#include "cuda/checked/card.h"
#include "cuda/checked/controls.h"
#include "cuda/checked/device_memory.h"
#include "cuda/checked/errors.h"
#include "cuda/checked/launch.h"
#include "cuda/checked/stream.h"
#include "cuda/checked/watch.h"

namespace borealis::stand_in {

namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

cudaError_t last_error = cudaSuccess;
std::map<const void*, size_t> shared_asked;  // by kernel

size_t shared_allowed(const void* kernel) {
  const auto asked = shared_asked.find(kernel);
  return asked == shared_asked.end() ? limits::shared_unasked : asked->second;
}

// As the source spells it, if the program exports its symbols.
const std::string& name_of(const void* kernel) {
  static std::map<const void*, std::string> names;
  std::string& name = names[kernel];
  if (!name.empty()) return name;
  Dl_info info = {};
  const bool found = dladdr(kernel, &info) != 0 && info.dli_saddr == kernel && info.dli_sname;
  int status = 0;
  char* text = found ? abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status) : nullptr;
  name = text ? text : "a kernel";
  std::free(text);
  // "void fill<float>(float*, long)" is called "fill<float>"
  if (name.starts_with("void ")) name.erase(0, 5);
  size_t depth = 0, end = 0;
  for (; end < name.size() && (depth > 0 || name[end] != '('); ++end)
    depth += name[end] == '<', depth -= name[end] == '>';
  name.resize(end);
  return name;
}

}  // namespace

Controls controls{.seed = from_environment("BOREALIS_SEED", 1), .lag = from_environment("BOREALIS_LAG", 0)};
Counts counts;
std::map<std::string, Traffic> traffic;

cudaError_t told(cudaError_t code) {
  if (code != cudaSuccess) last_error = code;
  return code;
}

bool refuses(const char* call) { return controls.refused == call; }

cudaError_t launch(const cudaLaunchConfig_t& config, const void* address, const Kernel* owned, Pointers pointers) {
  const std::shared_ptr<const Kernel> kernel(owned);
  const dim3 blocks = config.gridDim, threads = config.blockDim;
  const auto within = [](unsigned n, unsigned most) { return n >= 1 && n <= most; };
  const bool fits = within(blocks.x, limits::blocks_x) && within(blocks.y, limits::blocks_yz) &&
                    within(blocks.z, limits::blocks_yz) && within(threads.x, limits::threads) &&
                    within(threads.y, limits::threads) && within(threads.z, limits::threads_z) &&
                    size_t{threads.x} * threads.y * threads.z <= limits::threads &&
                    config.dynamicSmemBytes <= shared_allowed(address);
  if (!fits || refuses("cudaLaunchKernelEx")) return told(cudaErrorInvalidValue);
  const std::string& name = name_of(address);
  if (const auto known = controls.registers.find(name); known != controls.registers.end()) {
    // A warp's come in units of 256.
    const unsigned all_warps = (threads.x * threads.y * threads.z + 31) / 32;
    if (all_warps * ((known->second * 32 + 255) / 256 * 256) > limits::registers)
      return told(cudaErrorLaunchOutOfResources);
  }
  if (config.numAttrs != 0) fault(name, ": launched with attributes, of which the stand-in knows none");
  CUstream_st& stream = checked(config.stream, name.c_str());
  ++counts.launches;
  stream.add([=, shared = config.dynamicSmemBytes, &name] {
    GuardedMemory::Open open(memory(), name.c_str());
    const auto use_tensor = [&](const void* at) { use(open, (name + " was handed").c_str(), at, 1); };
    for (const void* at : pointers.certain)
      if (at) use_tensor(at);
    for (const void* at : pointers.possible)
      if (memory().owns(at)) use_tensor(at);
    watch::launch_begins(name, kernel.get(), kernel->bytes());
    try {
      run_grid(*kernel, blocks, threads, shared);
    } catch (const Fault& fault) {
      throw Fault(name + ": " + fault.what());
    }
  });
  return cudaSuccess;
}

}  // namespace borealis::stand_in

using namespace borealis::stand_in;

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorString(cudaError_t code) {
  switch (code) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorLaunchOutOfResources: return "too many resources requested for launch";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 && !refuses("cudaSetDevice") ? cudaSuccess : told(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0 || refuses("cudaGetDeviceProperties")) return told(cudaErrorInvalidDevice);
  *properties = {.name = "stand-in on the CPU",
                 .major = 8,
                 .minor = 6,
                 .multiProcessorCount = 7,  // of no real card: results must not depend on it
                 .warpSize = 32,
                 .maxThreadsPerBlock = limits::threads,
                 .maxThreadsPerMultiProcessor = 1536,
                 .regsPerBlock = limits::registers,
                 .l2CacheSize = 4 << 20,
                 .totalGlobalMem = controls.memory,
                 .sharedMemPerBlock = limits::shared_unasked,
                 .sharedMemPerBlockOptin = limits::shared_asked,
                 .sharedMemPerMultiprocessor = 100 << 10};
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
      static_cast<size_t>(value) > limits::shared_asked)
    return told(cudaErrorInvalidValue);
  shared_asked[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  *attributes = {.sharedSizeBytes = 0,
                 .localSizeBytes = 0,
                 .maxThreadsPerBlock = limits::threads,
                 .numRegs = 0,
                 .maxDynamicSharedSizeBytes = static_cast<int>(shared_allowed(kernel))};
  return cudaSuccess;
}
