#define NASX_ACTIVATIONS avx2_activation_kernels
#include "nasx/simd/activation_body.inc"
