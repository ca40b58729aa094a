#define NASX_ACTIVATIONS baseline_activation_kernels
#include "nasx/simd/activation_body.inc"
