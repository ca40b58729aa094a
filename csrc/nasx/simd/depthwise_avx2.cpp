#define NASX_DEPTHWISE avx2_depthwise
#include "nasx/simd/depthwise_body.inc"
