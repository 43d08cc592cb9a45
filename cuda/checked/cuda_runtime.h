// Stands in for CUDA's header of this name: kernels and the code that calls them compile with a C++ compiler alone and run
// on the CPU, under stricter rules than any GPU's. See README.md.
#pragma once

#include "api.h"
#include "atomics.h"
#include "collectives.h"
#include "intrinsics.h"
#include "keywords.h"
#include "launch.h"
#include "vectors.h"
