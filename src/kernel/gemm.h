/* Kernels of the dense products c[m][n] = sum over k of a[m][k] * b[n][k].
 *
 * b lies in panels of 32 columns at every level: panel p holds b(32p .. 32p+31, k) as [k][32], zeros past the last
 * column. The storage type is kept. a is either read in place (few rows) or packed as tiles [k][rows], rows <= mr.
 *
 * Bits: each element of c is one chain of fp32 fused multiply-adds in increasing k, begun at 0 or at the old c. Stored
 * values convert to fp32 exactly. So all levels, `tile` and `row_panels`, and any cut of k into blocks agree to the
 * bit. */
#ifndef FL_KERNEL_GEMM_H
#define FL_KERNEL_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fl_gemm_type { FL_GEMM_F32, FL_GEMM_F16, FL_GEMM_BF16, FL_GEMM_TYPES } fl_gemm_type;

/* How c starts and ends: begun at 0 or, with accumulate, at the old c; bias [cols] (NULL: none) is added last. */
typedef struct fl_gemm_out {
    float *c;
    int64_t ldc;
    int64_t cols; /* columns that exist, from the first panel's first column on; none past them is touched */
    bool accumulate;
    const float *bias;
    const void *ahead; /* tile: 64*k bytes from here on are asked for while it computes; not NULL */
} fl_gemm_out;

#define FL_GEMM_PANEL 32
#define FL_GEMM_LAYOUT "dense32/1" /* of the panels above, in files: a new number where their bytes change */

/* First of n things that part i takes when they are dealt evenly to `parts`, the larger parts first. */
static inline int64_t fl_gemm_share(int64_t n, int64_t parts, int64_t i)
{
    int64_t extra = n % parts;
    return n / parts * i + (i < extra ? i : extra);
}

#define FL_SOFTMAX_LANES 16 /* running sums of exp_sum */

typedef struct fl_gemm_kernels {
    int mr;              /* rows of the register tile */
    int64_t kc;          /* values of k for which a panel of b stays in the first-level cache */
    int64_t mc;          /* rows of a whose kc values stay in the second-level cache */
    int row_panels_rows; /* the most rows row_panels takes */

    /* Rows 0 .. rows-1 (1 <= rows <= mr) of c for one panel: a is [k][rows], b [k][32]; cols <= 32. */
    void (*tile)(int rows, int64_t k, const float *a, const float *b, const fl_gemm_out *out);

    /* Few rows against many panels, read from the storage type: a(i, k) at a[i*lda + k], panel p at b +
     * p*panel_elements values; ceil(cols / 32) panels. */
    void (*row_panels[FL_GEMM_TYPES])(int rows, int64_t k, const float *a, int64_t lda, const void *b,
                                      int64_t panel_elements, const fl_gemm_out *out);

    /* Rows of a panel to fp32: n = 32k values. */
    void (*unpack[FL_GEMM_TYPES])(const void *from, float *to, int64_t n);

    /* Rows a(i, k) at a[i*row_stride + k*col_stride] as tiles, one after the other: tile t takes the rows from
     * fl_gemm_share(rows, tiles, t) on and is [k][height], height <= mr. */
    void (*pack_tiles)(int64_t rows, int64_t tiles, int64_t k, const float *a, int64_t row_stride, int64_t col_stride,
                       float *out);
    /* The same for b as panels: panel p at out + p*panel_stride is [k][32], zeros after the last row. */
    void (*pack_panels)(int64_t rows, int64_t k, const float *b, int64_t row_stride, int64_t col_stride, float *out,
                        int64_t panel_stride);

    /* The softmax of the head, each over n values, n < 2^31. The sum's bits depend on x alone, not on the level. */
    float (*maximum)(const float *x, int64_t n, int32_t *index); /* index of the first of the largest; NaN is skipped */
    double (*exp_sum)(const float *x, float shift, int64_t n);   /* sum of exp(x - shift): exp in fp32, sum in double */
    int64_t (*count_above)(const float *x, float limit, int64_t n);
    void (*exp_scale)(float *x, float shift, float scale, int64_t n); /* x = exp(x - shift) * scale */
} fl_gemm_kernels;

extern const fl_gemm_kernels fl_gemm_kernels_generic;
#if defined(__x86_64__)
extern const fl_gemm_kernels fl_gemm_kernels_avx2, fl_gemm_kernels_avx512;
#endif

#endif
