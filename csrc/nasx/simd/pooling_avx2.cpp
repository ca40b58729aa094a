#define NASX_POOLING avx2_pooling
#include "nasx/simd/pooling_body.inc"
