/* Attention for AVX2. */
#define ATTEND_TABLE fl_attend_kernels_avx2
#include "kernel/simd/attend.h"
