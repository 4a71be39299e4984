/* Products with quantised weights for AVX-512 with VNNI: this file alone is compiled for it, see kernel/select.c. */
#define FL_QUANT_TABLE fl_quant_tile_kernels_avx512_vnni
#include "kernel/simd/quant_tile.h"
