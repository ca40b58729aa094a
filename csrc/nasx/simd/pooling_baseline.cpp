#define NASX_POOLING baseline_pooling
#include "nasx/simd/pooling_body.inc"
