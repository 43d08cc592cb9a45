// Where a tensor's memory lives.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace borealis {

struct Device {
  enum class Kind { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;

  friend bool operator==(const Device&, const Device&) = default;
};

std::ostream& operator<<(std::ostream& out, Device device);

// "cpu", "cuda" or "cuda:N". Fails on any other text; does not ask whether the device is there.
Device parse_device(const std::string& text);

// The devices this build can run on, the CPU first.
std::vector<Device> available_devices();

}  // namespace borealis
