#define NASX_BATCH_NORM baseline_batch_norm
#include "nasx/simd/batch_norm_body.inc"
