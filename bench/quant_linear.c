/* Products with quantised weights, of the shapes in a model of 110 million weights: many rows in GOP/s (a product and a
 * sum are two) beside a loop of the same instruction on registers, one row in GB/s of packed weights beside a loop of
 * loads over as many bytes.
 *
 *     bench_quant_linear [CPU level [type]]
 *
 * Every figure is the best of several short runs taken in turn with its loop, and one thread's time is
 * what it had of its core. The read figures are over weights of all shapes in turn, as in a model: 85 MB of Q8_0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/rng.h"
#include "device/cpu/roof.h"
#include "kernel/kernel.h"

#define ROWS 512
#define ROUNDS 7
#define COPIES 12 /* layers: the weights of one row's products do not stay in a core's own caches */

static const struct {
    int64_t n, k;
    int times; /* in a layer */
} shapes[] = {{768, 768, 4}, {2048, 768, 2}, {768, 2048, 1}};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

static fl_pool *pool;
static char *read_data;

static double best(double a, double b)
{
    return a > b ? a : b;
}

static void *room(size_t bytes)
{
    void *p = fl_alloc_aligned(bytes);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

static void multiply(fl_device *d, fl_packed *packed, const fl_stored *w, int64_t m, float *x, float *y)
{
    fl_operand operand = {packed, *w};
    fl_tensor from = {.type = FL_F32, .rows = m, .cols = w->cols, .ld = w->cols, .data = x};
    fl_tensor to = {.type = FL_F32, .rows = m, .cols = w->rows, .ld = w->rows, .data = y};
    d->table->linear(d, &operand, NULL, &from, &to, false);
}

static void measure(fl_device *d, fl_dtype type)
{
    const fl_dtype_info *info = fl_dtype_get(type);
    int64_t most = 2048 * 2048;
    size_t bytes = (size_t)most / (size_t)info->block * info->block_bytes;
    char *data = room(bytes);
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(fl_rng_next(&rng) & 0x3f); /* scales neither denormal nor infinite */
    float *x = room(ROWS * 2048 * sizeof *x), *y = room(ROWS * 2048 * sizeof *y);
    for (int64_t i = 0; i < ROWS * 2048; i++)
        x[i] = (float)fl_rng_normal(&rng);

    fl_packed *packed[SHAPES][COPIES * 4];
    fl_stored w[SHAPES];
    double per_layer = 0, many = 0, one = 0, peak = 0, read = 0;
    int64_t packed_bytes = 0;
    for (int s = 0; s < SHAPES; s++) {
        w[s] = (fl_stored){type, shapes[s].n, shapes[s].k, shapes[s].k, 1, data};
        per_layer += 2.0 * ROWS * (double)shapes[s].n * (double)shapes[s].k * shapes[s].times;
    }
    for (int layer = 0; layer < COPIES; layer++) { /* in the order of their use, as models are opened */
        for (int s = 0; s < SHAPES; s++) {
            for (int i = 0; i < shapes[s].times; i++) {
                if (d->table->pack(d, &w[s], &packed[s][layer * shapes[s].times + i]) != FL_OK) exit(1);
                packed_bytes += (int64_t)d->table->packed_bytes(d, &w[s]);
            }
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        peak = best(peak, fl_roof_byte_products(d) * 1e-9);
        double start = fl_roof_seconds(d);
        for (int s = 0; s < SHAPES; s++)
            for (int i = 0; i < shapes[s].times; i++)
                multiply(d, packed[s][i], &w[s], ROWS, x, y);
        many = best(many, per_layer / (fl_roof_seconds(d) - start) * 1e-9);
        read = best(read, fl_roof_read(d, read_data, (size_t)packed_bytes) * 1e-9);
        start = fl_roof_seconds(d);
        for (int layer = 0; layer < COPIES; layer++)
            for (int s = 0; s < SHAPES; s++)
                for (int i = 0; i < shapes[s].times; i++)
                    multiply(d, packed[s][layer * shapes[s].times + i], &w[s], 1, x, y);
        one = best(one, (double)packed_bytes / (fl_roof_seconds(d) - start) * 1e-9);
    }
    printf("%-7s %3d %10.1f %10.1f %6.2f %12.2f %10.2f %6.2f\n", info->name, fl_pool_threads(pool), many, peak,
           peak > 0 ? many / peak : 0.0, one, read, read > 0 ? one / read : 0.0);
    fflush(stdout);
    for (int s = 0; s < SHAPES; s++)
        for (int i = 0; i < COPIES * shapes[s].times; i++)
            d->table->packed_free(d, packed[s][i]);
    fl_free_aligned(data), fl_free_aligned(x), fl_free_aligned(y);
}

int main(int count, char **arguments)
{
    const fl_kernels *kernels;
    if (fl_kernels_select(&kernels, count > 1 ? arguments[1] : NULL) != FL_OK) {
        fprintf(stderr, "%s\n", fl_error_message());
        return 2;
    }
    size_t bytes = (size_t)512 << 20;
    read_data = room(bytes);
    memset(read_data, 0, bytes);
    printf("%s, %d rows: GOP/s; 1 row: GB/s of packed weights\n", kernels->name, ROWS);
    printf("%-7s %3s %10s %10s %6s %12s %10s %6s\n", "type", "thr", "many rows", "bytes", "share", "one row", "loads",
           "share");
    fl_pool *all;
    if (fl_pool_create(&all, 0) != FL_OK) return 1;
    int most = fl_pool_threads(all);
    fl_pool_destroy(all);
    static const fl_dtype types[] = {FL_F32,    FL_Q8_0, FL_Q4_0, FL_Q4_1, FL_Q5_0, FL_Q5_1,
                                     FL_IQ4_NL, FL_Q2_K, FL_Q3_K, FL_Q4_K, FL_Q5_K, FL_Q6_K};
    for (int threads = 1;; threads = most) {
        fl_device *d;
        if (fl_pool_create(&pool, threads) != FL_OK || fl_cpu_device_create(&d, pool, kernels) != FL_OK) return 1;
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (count < 3 || strcmp(arguments[2], fl_dtype_get(types[i])->name) == 0) measure(d, types[i]);
        fl_cpu_device_destroy(d);
        fl_pool_destroy(pool);
        if (threads == most) break;
    }
    fl_free_aligned(read_data);
    return 0;
}
