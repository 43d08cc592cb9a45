// Does one forbidden thing to the stand-in's device that only its end can tell of, or its hardware: this program must stop.
// Usage: stand_in_fault host_read|host_write|past_end|far_past_end|past_shared
#include <cstdio>
#include <string>
#include <utility>

#include "tests/stand_in/kernels.h"

using namespace borealis;
using kernels::Wrong;

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  cudaStream_t stream = nullptr;
  float* x = nullptr;
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess || cudaMalloc(&x, 100) != cudaSuccess)
    return 0;
  if (what == "host_read") std::printf("%g\n", *const_cast<const volatile float*>(x + 7));
  if (what == "host_write") x[0] = 1;
  for (const auto& [name, wrong] : {std::pair{"past_end", Wrong::past_end},
                                    {"far_past_end", Wrong::far_past_end},
                                    {"past_shared", Wrong::past_shared}})
    if (what == name && kernels::wrong(wrong, x, 25, stream) != cudaSuccess) return 0;
  std::printf("nothing stopped it\n");
  return 0;
}
