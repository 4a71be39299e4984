/* Dense kernels of every level this CPU has, to the bit, against the chain of fused multiply-adds that they promise;
 * the chain itself against double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"

#define PANEL FL_GEMM_PANEL
#define MOST_K 300
#define MOST_ROWS 16
#define MOST_COLS (12 * PANEL)
#define LDC (MOST_COLS + 3)
#define CANARY 12345.0f

static const fl_gemm_kernels *level[3];
static int levels;
static fl_rng rng;

static float packed_a[MOST_ROWS * MOST_K], panels[MOST_COLS * MOST_K];
static float a[MOST_ROWS * MOST_K], b[MOST_COLS * MOST_K], bias[MOST_COLS];
static float start[MOST_ROWS * LDC], c[MOST_ROWS * LDC];
static const int64_t depths[] = {0, 1, 2, 7, 16, 31, 64, 257, MOST_K};
#define DEPTHS ((int)(sizeof depths / sizeof depths[0]))

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)fl_rng_normal(&rng);
}

static int between(int low, int high)
{
    return low + (int)fl_rng_below(&rng, (uint64_t)(high - low + 1));
}

/* ---- conversions, written from the definition of the formats ------------------------------------------------- */

static float from_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double sign = h & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31) return fraction ? NAN : (float)(sign * INFINITY);
    if (exponent == 0) return (float)(sign * ldexp(fraction, -24));
    return (float)(sign * ldexp(1024 + fraction, exponent - 25));
}

static float from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static bool same(float x, float y)
{
    return memcmp(&x, &y, sizeof x) == 0 || (isnan(x) && isnan(y));
}

/* ---- products ------------------------------------------------------------------------------------------------- */

/* The promised chain for c[i][j], columns j of b at b[j*MOST_K + l]. */
static float chain(int i, int j, int64_t k, const fl_gemm_out *out)
{
    float sum = out->accumulate ? start[i * LDC + j] : 0.0f;
    for (int64_t l = 0; l < k; l++)
        sum = fmaf(a[i * MOST_K + l], b[j * MOST_K + l], sum);
    return out->bias ? sum + out->bias[j] : sum;
}

static void check(const char *what, int level_number, int rows, int64_t k, const fl_gemm_out *out)
{
    for (int i = 0; i < MOST_ROWS; i++) {
        for (int j = 0; j < LDC; j++) {
            bool inside = i < rows && j < out->cols;
            float want = inside ? chain(i, j, k, out) : start[i * LDC + j], got = c[i * LDC + j];
            if (!same(want, got))
                fail_msg("%s, level %d, %d x %d x %d: c[%d][%d] = %.9g, not %.9g", what, level_number, rows,
                         (int)out->cols, (int)k, i, j, (double)got, (double)want);
        }
    }
}

static fl_gemm_out begin(int64_t cols, int form)
{
    fill(start, MOST_ROWS * LDC);
    memcpy(c, start, sizeof c);
    return (fl_gemm_out){
        .c = c, .ldc = LDC, .cols = cols, .accumulate = form & 1, .bias = form & 2 ? bias : NULL, .ahead = panels};
}

/* b as panels [k][32] of F32, F16 or BF16; 16-bit values are what b is rounded to first, so that b holds them exactly.
 */
static void make_panels(fl_gemm_type type, int64_t cols, int64_t k)
{
    for (int64_t n = 0; n < (cols + PANEL - 1) / PANEL * PANEL; n++) {
        for (int64_t l = 0; l < k; l++) {
            int64_t index = n / PANEL * k * PANEL + l * PANEL + n % PANEL;
            if (type == FL_GEMM_F32) {
                panels[index] = n < cols ? b[n * MOST_K + l] : 0;
                continue;
            }
            /* Random bits with a middling exponent, and sometimes a subnormal. */
            uint16_t h = (uint16_t)fl_rng_next(&rng);
            if (type == FL_GEMM_F16) h = (uint16_t)(h % 16 == 3 ? h & 0x83ff : (h & 0x8fff) | 0x3000);
            if (type == FL_GEMM_BF16) h = (uint16_t)((h & 0x81ff) | 0x3e00);
            if (n >= cols) h = 0;
            ((uint16_t *)(void *)panels)[index] = h;
            if (n < cols) b[n * MOST_K + l] = type == FL_GEMM_F16 ? from_f16(h) : from_bf16(h);
        }
    }
}

static void test_tile_is_the_chain(void **state)
{
    (void)state;
    for (int v = 0; v < levels; v++) {
        assert_true(level[v]->mr <= MOST_ROWS);
        for (int rows = 1; rows <= level[v]->mr; rows++) {
            for (int d = 0; d < DEPTHS; d++) {
                int64_t k = depths[d];
                int64_t cols = d % 2 ? PANEL : between(1, PANEL);
                fl_gemm_out out = begin(cols, (rows + d) % 4);
                make_panels(FL_GEMM_F32, cols, k);
                for (int64_t l = 0; l < k; l++)
                    for (int i = 0; i < rows; i++)
                        packed_a[l * rows + i] = a[i * MOST_K + l];
                level[v]->tile(rows, k, packed_a, panels, &out);
                check("tile", v, rows, k, &out);
            }
        }
    }
}

static void test_row_panels_are_the_chain(void **state)
{
    (void)state;
    for (int v = 0; v < levels; v++) {
        for (int type = 0; type < FL_GEMM_TYPES; type++) {
            for (int rows = 1; rows <= level[v]->row_panels_rows; rows++) {
                for (int d = 0; d < DEPTHS; d++) {
                    int64_t k = depths[d], cols = d % 3 ? between(1, MOST_COLS) : MOST_COLS;
                    fl_gemm_out out = begin(cols, (rows + d) % 4);
                    make_panels((fl_gemm_type)type, cols, k);
                    level[v]->row_panels[type](rows, k, a, MOST_K, panels, k * PANEL, &out);
                    check("row_panels", v, rows, k, &out);
                }
                fill(b, MOST_COLS * MOST_K);
            }
        }
    }
}

static void test_cutting_k_changes_no_bit(void **state)
{
    (void)state;
    for (int v = 0; v < levels; v++) {
        int rows = level[v]->mr;
        for (int64_t cut = 1; cut < 200; cut += 37) {
            int64_t k = 201;
            fl_gemm_out out = begin(PANEL, 2), first = out, second = out;
            first.bias = NULL;
            second.accumulate = true;
            make_panels(FL_GEMM_F32, PANEL, k);
            for (int64_t l = 0; l < k; l++)
                for (int i = 0; i < rows; i++)
                    packed_a[l * rows + i] = a[i * MOST_K + l];
            level[v]->tile(rows, cut, packed_a, panels, &first);
            level[v]->tile(rows, k - cut, packed_a + cut * rows, panels + cut * PANEL, &second);
            check("two tiles", v, rows, k, &out);
        }
    }
}

/* A sum of k products of fp32 numbers, each step rounded once: its error is at most k/2 units in the last place of the
 * largest partial sum, itself at most the sum of the products' sizes (Higham, "Accuracy and Stability", 3.1). */
static void test_chain_is_the_product(void **state)
{
    (void)state;
    fl_gemm_out out = {.accumulate = false};
    for (int j = 0; j < 20; j++) {
        double exact = 0, size = 0;
        for (int l = 0; l < MOST_K; l++) {
            exact += (double)a[l] * (double)b[j * MOST_K + l];
            size += fabs((double)a[l] * (double)b[j * MOST_K + l]);
        }
        assert_true(fabs((double)chain(0, j, MOST_K, &out) - exact) <= MOST_K * 0x1p-24 * size);
    }
}

/* ---- packing -------------------------------------------------------------------------------------------------- */

/* Element (i, l) of what is packed, whose strides are given. */
#define SIZE 130
static float source[SIZE * SIZE * 3], packed[(SIZE + 2 * PANEL) * SIZE + 1];
static const int64_t strides[][2] = {{SIZE, 1}, {1, SIZE}, {2, 3 * SIZE}, {1, 1}, {SIZE + 1, 2}, {0, 1}};
#define STRIDES 6

static void clear_packed(void)
{
    for (int i = 0; i < (int)(sizeof packed / sizeof *packed); i++)
        packed[i] = CANARY;
}

static void test_pack_tiles_for_all_strides(void **state)
{
    (void)state;
    for (int v = 0; v < levels; v++) {
        for (int trial = 0; trial < 120; trial++) {
            const int64_t *stride = strides[trial % STRIDES];
            int rows = between(1, SIZE), k = between(0, SIZE), mr = level[v]->mr;
            int tiles = between((rows + mr - 1) / mr, rows);
            clear_packed();
            level[v]->pack_tiles(rows, tiles, k, source, stride[0], stride[1], packed);
            const float *next = packed;
            for (int t = 0, first = 0; t < tiles; t++) {
                int height = rows / tiles + (t < rows % tiles);
                for (int l = 0; l < k; l++)
                    for (int i = 0; i < height; i++)
                        assert_true(*next++ == source[(first + i) * stride[0] + l * stride[1]]);
                first += height;
            }
            assert_true(next == packed + rows * k && *next == CANARY);
        }
    }
}

static void test_pack_panels_for_all_strides(void **state)
{
    (void)state;
    for (int v = 0; v < levels; v++) {
        for (int trial = 0; trial < 120; trial++) {
            const int64_t *stride = strides[trial % STRIDES];
            int rows = between(1, SIZE), k = between(0, SIZE - 1), gap = between(0, PANEL - 1);
            int panel_stride = k * PANEL + gap;
            clear_packed();
            level[v]->pack_panels(rows, k, source, stride[0], stride[1], packed, panel_stride);
            for (int p = 0; p < (rows + PANEL - 1) / PANEL; p++) {
                const float *panel = packed + p * panel_stride;
                for (int l = 0; l < k; l++) {
                    for (int i = 0; i < PANEL; i++) {
                        int row = p * PANEL + i;
                        assert_true(panel[l * PANEL + i] ==
                                    (row < rows ? source[row * stride[0] + l * stride[1]] : 0.0f));
                    }
                }
                for (int i = k * PANEL; i < panel_stride; i++)
                    assert_true(panel[i] == CANARY);
            }
        }
    }
}

static void test_unpack_every_16_bit_value(void **state)
{
    (void)state;
    static uint16_t from[65536];
    static float to[65536];
    for (int i = 0; i < 65536; i++)
        from[i] = (uint16_t)i;
    for (int v = 0; v < levels; v++) {
        level[v]->unpack[FL_GEMM_F16](from, to, 65536);
        for (int i = 0; i < 65536; i++)
            assert_true(same(to[i], from_f16((uint16_t)i)));
        level[v]->unpack[FL_GEMM_BF16](from, to, 65536);
        for (int i = 0; i < 65536; i++)
            assert_true(same(to[i], from_bf16((uint16_t)i)));
        level[v]->unpack[FL_GEMM_F32](b, to, 64);
        assert_memory_equal(to, b, 64 * sizeof(float));
    }
}

/* ---- softmax -------------------------------------------------------------------------------------------------- */

static void test_maximum_takes_the_first_of_equals(void **state)
{
    (void)state;
    static float x[1000];
    for (int v = 0; v < levels; v++) {
        for (int n = 1; n < 1000; n += between(1, 20)) {
            fill(x, n);
            int first = between(0, n - 1), second = between(0, n - 1);
            x[first] = x[second] = 9.0f;
            int32_t index;
            assert_true(level[v]->maximum(x, n, &index) == 9.0f);
            assert_int_equal(index, first < second ? first : second);
            assert_true(level[v]->maximum(x, n, NULL) == 9.0f);
            assert_int_equal(level[v]->count_above(x, 9.0f, n), 0);
            int64_t above = 0;
            for (int i = 0; i < n; i++)
                above += x[i] > 0.5f;
            assert_int_equal(level[v]->count_above(x, 0.5f, n), above);

            int nan = between(0, n - 1);
            if (nan == first || nan == second) continue;
            x[nan] = NAN;
            assert_true(level[v]->maximum(x, n, &index) == 9.0f);
            assert_int_equal(index, first < second ? first : second);
        }
        float nothing[3] = {NAN, NAN, NAN};
        int32_t index = 7;
        assert_true(level[v]->maximum(nothing, 3, &index) == -INFINITY);
        assert_int_equal(index, 0);
    }
}

static void test_exp_sum_and_scale(void **state)
{
    (void)state;
    static float x[4000], y[4000], first[4000];
    for (int n = 1; n < 4000; n += between(1, 200)) {
        fill(x, n);
        for (int i = 0; i < n; i++)
            x[i] *= 5.0f;
        double want = 0, first_sum = 0;
        for (int i = 0; i < n; i++)
            want += exp((double)(x[i] - 3.0f));
        for (int v = 0; v < levels; v++) {
            double got = level[v]->exp_sum(x, 3.0f, n);
            /* Each term is within 1 ulp, 2^-23 of it at most. */
            assert_true(fabs(got - want) <= 0x1p-23 * want);
            if (v == 0) first_sum = got;
            assert_true(got == first_sum);
            memcpy(y, x, sizeof y);
            y[n] = CANARY;
            level[v]->exp_scale(y, 3.0f, 0.25f, n);
            assert_true(y[n] == CANARY);
            for (int i = 0; i < n; i++)
                assert_true(fabs((double)y[i] - 0.25 * exp((double)(x[i] - 3.0f))) <= 0x1p-22 * (double)y[i]);
            if (v == 0) memcpy(first, y, sizeof y);
            assert_memory_equal(first, y, (size_t)n * sizeof *y);
        }
    }
}

static int find_levels(void **state)
{
    (void)state;
    static const char *const names[] = {"generic", "avx2", "avx512"};
    for (int i = 0; i < 3; i++) {
        const fl_kernels *k;
        if (fl_kernels_select(&k, names[i]) == FL_OK) level[levels++] = k->gemm;
    }
    fl_rng_seed(&rng, 2026);
    fill(a, MOST_ROWS * MOST_K);
    fill(b, MOST_COLS * MOST_K);
    fill(bias, MOST_COLS);
    fill(source, SIZE * SIZE * 3);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tile_is_the_chain),          cmocka_unit_test(test_row_panels_are_the_chain),
        cmocka_unit_test(test_cutting_k_changes_no_bit),   cmocka_unit_test(test_chain_is_the_product),
        cmocka_unit_test(test_pack_tiles_for_all_strides), cmocka_unit_test(test_pack_panels_for_all_strides),
        cmocka_unit_test(test_unpack_every_16_bit_value),  cmocka_unit_test(test_maximum_takes_the_first_of_equals),
        cmocka_unit_test(test_exp_sum_and_scale),
    };
    return cmocka_run_group_tests(tests, find_levels, NULL);
}
