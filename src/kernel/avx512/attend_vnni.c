/* Attention for AVX-512 with VNNI: compiled for it, see kernel/select.c. */
#define ATTEND_TABLE fl_attend_kernels_avx512_vnni
#include "kernel/simd/attend.h"
