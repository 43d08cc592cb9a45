// The one macro both compilers need: functions in headers shared by CPU loops and CUDA kernels.
#pragma once

#ifdef __CUDACC__
#define BOREALIS_HD __host__ __device__
#else
#define BOREALIS_HD
#endif
