#define NASX_LOOKUP avx2_lookup
#include "nasx/simd/lookup_body.inc"
