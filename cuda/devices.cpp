// The cards of this machine: cuda_count() and cuda_backend() of a build with the CUDA Toolkit.
#include <array>
#include <mutex>

#include "cuda/backend.h"

namespace borealis {

int cuda_count() {
  static const int found = [] {  // asked for once: after a kernel's fault each call would fail
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    (void)cudaGetLastError();  // no driver, or no card
    return 0;
  }();
  return found;
}

const char* why_no_cuda() { return "there is no GPU, or its driver is older than the CUDA Toolkit of this build"; }

Backend* cuda_backend(int index) {
  // Never destroyed, as the CPU's.
  constexpr int most = 64;
  static std::array<std::once_flag, most> once;
  static std::array<Backend*, most> devices{};
  if (index < 0 || index >= most || index >= cuda_count()) return nullptr;
  const auto i = static_cast<size_t>(index);
  std::call_once(once[i], [&] { devices[i] = new CudaBackend({Device::Kind::cuda, index}, index); });
  return devices[i];
}

}  // namespace borealis
