// Does one forbidden thing to the checked device, which must stop this program and say what was done.
// Usage: touch_device read|foreign|overrun|given_back
#include <cstdio>
#include <string>

#include "engine/backend.h"
#include "engine/math.h"

using namespace borealis;

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const Device device{Device::Kind::cuda, 0};
  Backend& on = backend(device);
  const Tensor x = Tensor::full({25}, 1, DType::f32, device);
  if (what == "read") {
    std::printf("%g\n", static_cast<const volatile float*>(x.raw())[7]);
  } else if (what == "foreign") {
    const Tensor host = Tensor::zeros({25});
    on.affine(x, host, 1, 0, 0);
  } else if (what == "overrun") {
    on.strided_copy(x, x, {{26}, {1}, {0}}, 0);  // 26 times the first number, of which 25 fit
  } else if (what == "given_back") {
    Span gone;
    {
      const Tensor y = x.like();
      gone = y;
    }
    on.fill(gone, 0);
  }
  std::printf("nothing stopped it\n");
  return 0;
}
