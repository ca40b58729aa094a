#define NASX_KERNELS avx2_gaussian
#include "nasx/simd/gaussian_body.inc"
