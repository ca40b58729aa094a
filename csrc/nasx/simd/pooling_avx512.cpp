#define NASX_POOLING avx512_pooling
#include "nasx/simd/pooling_body.inc"
