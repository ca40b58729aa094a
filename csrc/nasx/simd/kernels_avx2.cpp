#define NASX_KERNELS avx2_kernels
#include "nasx/simd/kernels_body.inc"
