#include "engine/backend.h"

#include "engine/cpu/backend.h"
#include "engine/error.h"

namespace borealis {

std::ostream& operator<<(std::ostream& out, Device device) {
  if (device.kind == Device::Kind::cpu) return out << "cpu";
  return out << "cuda:" << device.index;
}

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  if (text == "cuda") return {Device::Kind::cuda, 0};
  if (text.rfind("cuda:", 0) == 0 && text.size() > 5 && text.size() < 8 &&
      text.find_first_not_of("0123456789", 5) == std::string::npos)
    return {Device::Kind::cuda, std::stoi(text.substr(5))};
  fail("device: '", text, "' is not a device; use cpu, cuda or cuda:N");
}

Backend& backend(Device device) {
  // Never destroyed: tensors in static storage may outlive any order of destruction.
  static Backend& cpu = *new CpuBackend;
  if (device.kind == Device::Kind::cpu) return cpu;
  if (Backend* cuda = cuda_backend(device.index)) return *cuda;
  if (cuda_count() > 0) fail(device, ": is not there; the last one is cuda:", cuda_count() - 1);
  fail(device, ": ", why_no_cuda(), "; use the device cpu");
}

std::vector<Device> available_devices() {
  std::vector<Device> devices{Device{}};
  for (int i = 0; i < cuda_count(); ++i) devices.push_back({Device::Kind::cuda, i});
  return devices;
}

}  // namespace borealis
