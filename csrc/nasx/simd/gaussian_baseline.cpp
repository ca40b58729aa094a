#define NASX_KERNELS baseline_gaussian
#include "nasx/simd/gaussian_body.inc"
