#define NASX_LSTM avx2_lstm_kernels
#include "nasx/simd/lstm_body.inc"
