#define NASX_DEPTHWISE baseline_depthwise
#include "nasx/simd/depthwise_body.inc"
