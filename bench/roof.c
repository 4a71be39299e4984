/* What the machine can do: fp32 and byte products on registers, reading memory.
 *
 *     bench_roof [THREADS [MEGABYTES [CPU level]]]
 *
 * One line that ends in GFLOP/s, GOP/s (a product and a sum are two) and GB/s of reading an array of that size, 256 MB
 * without it, over and over; the best of several short runs each, taken in turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "device/cpu/cpu.h"
#include "device/cpu/roof.h"
#include "kernel/kernel.h"

#define ROUNDS 12

static double best(double a, double b)
{
    return a > b ? a : b;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    long long megabytes = argc > 2 ? atoll(argv[2]) : 256;
    if (threads < 0 || megabytes < 1 || megabytes > 1 << 20) {
        fprintf(stderr, "usage: %s [THREADS [MEGABYTES [CPU level]]]\n", argv[0]);
        return 2;
    }
    fl_pool *pool;
    const fl_kernels *kernels;
    fl_device *d;
    if (fl_pool_create(&pool, threads) || fl_kernels_select(&kernels, argc > 3 ? argv[3] : NULL) ||
        fl_cpu_device_create(&d, pool, kernels)) {
        fprintf(stderr, "%s\n", fl_error_message());
        return 1;
    }
    size_t bytes = (size_t)megabytes * 1000000 & ~(size_t)4095;
    char *data = fl_alloc_aligned(bytes);
    if (!data) {
        fprintf(stderr, "no room for %lld MB\n", megabytes);
        return 1;
    }
    memset(data, 1, bytes);
    double multiply_adds = 0, byte_products = 0, read = 0;
    for (int i = 0; i < ROUNDS; i++) {
        multiply_adds = best(multiply_adds, fl_roof_multiply_adds(d));
        byte_products = best(byte_products, fl_roof_byte_products(d));
        read = best(read, fl_roof_read(d, data, bytes));
    }
    printf("%d threads, %s: GFLOP/s, GOP/s, GB/s: %.1f %.1f %.2f\n", fl_pool_threads(pool), kernels->name,
           1e-9 * multiply_adds, 1e-9 * byte_products, 1e-9 * read);
    fl_free_aligned(data);
    fl_cpu_device_destroy(d);
    fl_pool_destroy(pool);
    return 0;
}
