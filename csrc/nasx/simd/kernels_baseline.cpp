#define NASX_KERNELS baseline_kernels
#include "nasx/simd/kernels_body.inc"
