// The suite's entry: says what it runs on, then hands over to doctest.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <sstream>

#include <doctest/doctest.h>

#include "engine/cpu/gemm.h"
#include "engine/device.h"
#include "engine/parallel.h"

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  if (!context.shouldExit()) {
    std::ostringstream devices;
    for (const borealis::Device d : borealis::available_devices()) devices << ' ' << d;
    std::printf("devices:%s; matrix products by %s; %d threads\n", devices.str().c_str(), borealis::gemm_provider(),
                borealis::threads());
  }
  return context.run();
}
