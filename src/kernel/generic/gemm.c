/* Dense kernels in plain C: what the vector levels must equal to the bit. */
#include <string.h>

#include "kernel/gemm.h"
#include "kernel/simd/exp.h"

#define MR 4
#define ROWS 4

static float value(fl_gemm_type type, const void *from, int64_t index)
{
    union {
        uint32_t u;
        float f;
    } v;
    if (type == FL_GEMM_F32) return ((const float *)from)[index];
    uint32_t h = ((const uint16_t *)from)[index];
    if (type == FL_GEMM_BF16) {
        v.u = h << 16;
        return v.f;
    }
    /* Half precision: 5 bits of exponent. Infinity and NaN keep their payload; the rest is scaled, subnormals too. */
    v.u = (h & 0x7fffu) << 13;
    if ((h & 0x7c00u) == 0x7c00u)
        v.u |= 0x7f800000u;
    else
        v.f *= 0x1p112f;
    v.u |= (h & 0x8000u) << 16;
    return v.f;
}

static void product(fl_gemm_type type, int rows, int64_t k, const float *a, int64_t row_stride, int64_t col_stride,
                    const void *b, int64_t first, const fl_gemm_out *out)
{
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < out->cols; j++) {
            float *c = out->c + i * out->ldc + j;
            float sum = out->accumulate ? *c : 0.0f;
            for (int64_t l = 0; l < k; l++)
                sum = __builtin_fmaf(a[i * row_stride + l * col_stride], value(type, b, first + l * FL_GEMM_PANEL + j),
                                     sum);
            *c = out->bias ? sum + out->bias[j] : sum;
        }
    }
}

static void tile(int rows, int64_t k, const float *a, const float *b, const fl_gemm_out *out)
{
    product(FL_GEMM_F32, rows, k, a, 1, rows, b, 0, out);
}

static void row_panels(fl_gemm_type type, int rows, int64_t k, const float *a, int64_t lda, const void *b,
                       int64_t panel_elements, const fl_gemm_out *out)
{
    for (int64_t first = 0; first < out->cols; first += FL_GEMM_PANEL) {
        fl_gemm_out part = *out;
        part.c += first;
        part.cols = out->cols - first < FL_GEMM_PANEL ? out->cols - first : FL_GEMM_PANEL;
        if (part.bias) part.bias += first;
        product(type, rows, k, a, lda, 1, b, first / FL_GEMM_PANEL * panel_elements, &part);
    }
}

static void row_panels_F32(int rows, int64_t k, const float *a, int64_t lda, const void *b, int64_t panel_elements,
                           const fl_gemm_out *out)
{
    row_panels(FL_GEMM_F32, rows, k, a, lda, b, panel_elements, out);
}

static void row_panels_F16(int rows, int64_t k, const float *a, int64_t lda, const void *b, int64_t panel_elements,
                           const fl_gemm_out *out)
{
    row_panels(FL_GEMM_F16, rows, k, a, lda, b, panel_elements, out);
}

static void row_panels_BF16(int rows, int64_t k, const float *a, int64_t lda, const void *b, int64_t panel_elements,
                            const fl_gemm_out *out)
{
    row_panels(FL_GEMM_BF16, rows, k, a, lda, b, panel_elements, out);
}

static void unpack_F32(const void *from, float *to, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(float));
}

static void unpack_F16(const void *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = value(FL_GEMM_F16, from, i);
}

static void unpack_BF16(const void *from, float *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = value(FL_GEMM_BF16, from, i);
}

static void pack_tiles(int64_t rows, int64_t tiles, int64_t k, const float *a, int64_t row_stride, int64_t col_stride,
                       float *out)
{
    for (int64_t t = 0; t < tiles; t++) {
        int64_t first = fl_gemm_share(rows, tiles, t), next = fl_gemm_share(rows, tiles, t + 1);
        for (int64_t l = 0; l < k; l++)
            for (int64_t i = first; i < next; i++)
                *out++ = a[i * row_stride + l * col_stride];
    }
}

static void pack_panels(int64_t rows, int64_t k, const float *b, int64_t row_stride, int64_t col_stride, float *out,
                        int64_t panel_stride)
{
    for (int64_t first = 0; first < rows; first += FL_GEMM_PANEL) {
        float *to = out + first / FL_GEMM_PANEL * panel_stride;
        for (int64_t l = 0; l < k; l++)
            for (int64_t i = first; i < first + FL_GEMM_PANEL; i++)
                *to++ = i < rows ? b[i * row_stride + l * col_stride] : 0.0f;
    }
}

static void exp_lanes(const float *x, float shift, float *out)
{
    for (int j = 0; j < FL_SOFTMAX_LANES; j++)
        out[j] = fl_exp_scalar(x[j] - shift);
}

#include "kernel/softmax_lanes.h"

const fl_gemm_kernels fl_gemm_kernels_generic = {
    .mr = MR,
    .kc = 256,
    .mc = 64,
    .row_panels_rows = ROWS,
    .tile = tile,
    .row_panels = {[FL_GEMM_F32] = row_panels_F32, [FL_GEMM_F16] = row_panels_F16, [FL_GEMM_BF16] = row_panels_BF16},
    .unpack = {[FL_GEMM_F32] = unpack_F32, [FL_GEMM_F16] = unpack_F16, [FL_GEMM_BF16] = unpack_BF16},
    .pack_tiles = pack_tiles,
    .pack_panels = pack_panels,
    .maximum = maximum,
    .exp_sum = exp_sum,
    .count_above = count_above,
    .exp_scale = exp_scale,
};
