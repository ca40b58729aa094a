#define NASX_POINTWISE avx2_pointwise
#include "nasx/simd/pointwise_body.inc"
