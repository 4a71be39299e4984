/* Storage types to and from fp32 on one core: GB/s of fp32 written and of stored bytes read, beside memcpy's, and GB/s
 * of fp32 read where a type is also written. Then the generic product of a stored row with a row of quantised
 * activations, in billions of multiply-adds per second: what faster kernels start from.
 *
 *   bench_quant [values]     in a row; the default stays in the second-level cache, as when a weight is packed */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "kernel/quant.h"
#include "tensor/dtype.h"

#define SECONDS 0.003 /* short enough to fall between other programs' turns */
#define ROUNDS 100

/* fl_quant_type of a storage type, FL_QUANT_TYPES for plain ones. */
static fl_quant_type quant_type(fl_dtype type)
{
    static const fl_dtype types[FL_QUANT_TYPES] = {
        [FL_QUANT_Q8_0] = FL_Q8_0, [FL_QUANT_Q4_0] = FL_Q4_0,     [FL_QUANT_Q4_1] = FL_Q4_1, [FL_QUANT_Q5_0] = FL_Q5_0,
        [FL_QUANT_Q5_1] = FL_Q5_1, [FL_QUANT_IQ4_NL] = FL_IQ4_NL, [FL_QUANT_Q2_K] = FL_Q2_K, [FL_QUANT_Q3_K] = FL_Q3_K,
        [FL_QUANT_Q4_K] = FL_Q4_K, [FL_QUANT_Q5_K] = FL_Q5_K,     [FL_QUANT_Q6_K] = FL_Q6_K,
    };
    int found = 0;
    while (found < FL_QUANT_TYPES && types[found] != type)
        found++;
    return (fl_quant_type)found;
}

typedef enum { COPY, READ, WRITE, DOT } work;

/* Values per second in billions, best of many rounds. */
static double rate(work what, fl_dtype type, unsigned char *stored, float *values, const fl_quant_row *row, int64_t n)
{
    volatile float sink = 0;
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = fl_clock_seconds(), seconds = 0;
        int64_t calls = 0;
        while (seconds < SECONDS) {
            if (what == COPY)
                memcpy(values, stored, (size_t)n * sizeof *values);
            else if (what == READ)
                fl_to_f32(type, stored, values, n);
            else if (what == WRITE)
                fl_from_f32(type, values, stored, n);
            else
                sink = fl_quant_kernels_generic.dot[quant_type(type)](stored, row, n);
            __asm__ volatile("" ::: "memory");
            calls++;
            seconds = fl_clock_seconds() - begin;
        }
        double found = (double)calls * (double)n / seconds / 1e9;
        best = found > best ? found : best;
    }
    (void)sink;
    return best;
}

int main(int argc, char **argv)
{
    int64_t n = argc > 1 ? atoll(argv[1]) / 256 * 256 : 65536;
    float *to = n > 0 ? fl_alloc_aligned((size_t)n * sizeof *to) : NULL;
    unsigned char *from = n > 0 ? fl_alloc_aligned((size_t)n * sizeof(double)) : NULL;
    fl_quant_row row = {0};
    if (n > 0) {
        row.q = fl_alloc_aligned((size_t)n);
        row.scale = fl_alloc_aligned((size_t)n / 32 * sizeof *row.scale);
        row.sum = fl_alloc_aligned((size_t)n / 16 * sizeof *row.sum);
    }
    if (!to || !from || !row.q || !row.scale || !row.sum) {
        fprintf(stderr, "bench_quant: needs room for at least 256 values\n");
        return 1;
    }
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    double copy = rate(COPY, FL_F32, from, to, &row, n) * sizeof *to;
    printf("%lld values\n%-8s %12s %12s %12s %12s %12s\n", (long long)n, "type", "GB/s to fp32", "stored", "of memcpy",
           "from fp32", "GMAC/s");
    printf("%-8s %12.2f %12.2f %12.2f\n", "memcpy", copy, copy, 1.0);
    for (int t = 0; t < FL_DTYPE_COUNT; t++) {
        const fl_dtype_info *info = fl_dtype_get((fl_dtype)t);
        if (!info->real) continue;
        for (int64_t i = 0; i < n * 8; i++)
            from[i] = (unsigned char)(fl_rng_next(&rng) & 0x3f); /* scales neither denormal nor infinite */
        double rows = rate(READ, (fl_dtype)t, from, to, &row, n);
        printf("%-8s %12.2f %12.2f %12.2f", info->name, rows * sizeof *to,
               rows / info->block * (double)info->block_bytes, rows * sizeof *to / copy);
        for (int64_t i = 0; i < n; i++)
            to[i] = (float)fl_rng_normal(&rng);
        if (info->written)
            printf(" %12.2f", rate(WRITE, (fl_dtype)t, from, to, &row, n) * sizeof *to);
        else
            printf(" %12s", "-");
        if (quant_type((fl_dtype)t) == FL_QUANT_TYPES) {
            printf(" %12s\n", "-");
            continue;
        }
        fl_quant_kernels_generic.quantise(to, n, &row);
        printf(" %12.2f\n", rate(DOT, (fl_dtype)t, from, to, &row, n));
    }
    fl_free_aligned(row.q);
    fl_free_aligned(row.scale);
    fl_free_aligned(row.sum);
    fl_free_aligned(from);
    fl_free_aligned(to);
    return 0;
}
