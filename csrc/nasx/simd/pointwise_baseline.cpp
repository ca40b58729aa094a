#define NASX_POINTWISE baseline_pointwise
#include "nasx/simd/pointwise_body.inc"
