#define NASX_BATCH_NORM avx2_batch_norm
#include "nasx/simd/batch_norm_body.inc"
