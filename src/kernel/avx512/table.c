#include "kernel/attend.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "kernel/row.h"

const fl_kernels fl_kernels_avx512 = {
    .name = "avx512",
    .gemm = &fl_gemm_kernels_avx512,
    .attend = &fl_attend_kernels_avx512,
    .row = &fl_row_kernels_avx512,
};
