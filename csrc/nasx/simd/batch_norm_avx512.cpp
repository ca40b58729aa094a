#define NASX_BATCH_NORM avx512_batch_norm
#include "nasx/simd/batch_norm_body.inc"
