#define NASX_LOOKUP baseline_lookup
#include "nasx/simd/lookup_body.inc"
