#define NASX_WEIGHTED_SUM avx2_weighted_sum
#include "nasx/simd/weighted_sum_body.inc"
