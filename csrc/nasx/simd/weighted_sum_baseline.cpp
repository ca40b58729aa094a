#define NASX_WEIGHTED_SUM baseline_weighted_sum
#include "nasx/simd/weighted_sum_body.inc"
