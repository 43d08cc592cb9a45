#pragma once

namespace borealis {

// x², by way of the device and cuBLAS; −1 if a call failed.
float square_of(float x);

}  // namespace borealis
