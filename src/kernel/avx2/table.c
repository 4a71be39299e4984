#include "kernel/attend.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "kernel/quant_tile.h"
#include "kernel/row.h"

const fl_kernels fl_kernels_avx2 = {
    .name = "avx2",
    .gemm = &fl_gemm_kernels_avx2,
    .attend = &fl_attend_kernels_avx2,
    .row = &fl_row_kernels_avx2,
    .quant = &fl_quant_tile_kernels_avx2,
};
