#define NASX_LSTM baseline_lstm_kernels
#include "nasx/simd/lstm_body.inc"
