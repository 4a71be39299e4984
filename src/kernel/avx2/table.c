#include "kernel/attend.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "kernel/quant_tile.h"
#include "kernel/row.h"

#define TABLE(attention, quantised)                                                                                    \
    {                                                                                                                  \
        .name = "avx2", .gemm = &fl_gemm_kernels_avx2, .attend = &(attention), .row = &fl_row_kernels_avx2,            \
        .quant = &(quantised)                                                                                          \
    }

const fl_kernels fl_kernels_avx2 = TABLE(fl_attend_kernels_avx2, fl_quant_tile_kernels_avx2);
const fl_kernels fl_kernels_avx2_vnni = TABLE(fl_attend_kernels_avx2_vnni, fl_quant_tile_kernels_avx2_vnni);
