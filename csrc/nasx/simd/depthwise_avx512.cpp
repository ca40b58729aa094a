#define NASX_DEPTHWISE avx512_depthwise
#include "nasx/simd/depthwise_body.inc"
