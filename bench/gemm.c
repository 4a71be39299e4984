/* Dense products: how near they come to what the cores can do, which is measured between them, and to oneDNN's sgemm.
 *
 *     bench_gemm [CPU level]      generic, avx2, avx512; the best one if none is named
 *
 * Other programs may run on the same cores: every figure is the best of several short runs, and the share of the peak
 * compares it with the best run of a loop of fused multiply-adds on registers (few rows: of a loop of loads over as
 * many bytes) taken in turn with it. One thread's time is what it had of its core; that of several is the time that
 * passed, so their figures mean something on quiet cores only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "device/device.h"
#include "kernel/kernel.h"

#if defined(FL_HAVE_ONEDNN)
#include <dnnl.h>
extern void omp_set_num_threads(int) __attribute__((weak)); /* of the OpenMP that oneDNN was built with */
#endif

#define ROUNDS 12
#define PEAK_STEPS 200000
#define READ_BYTES ((int64_t)256 << 20)
#define READ_TASKS 64

typedef enum form { PACKED, STORED, NN, TN, FORMS } form;

static const char *const form_name[FORMS] = {"packed", "stored", "dX=dY W", "dW+=dY'X"};

typedef struct shape {
    form form;
    int64_t m, n, k;
    fl_dtype type;
} shape;

static const shape shapes[] = {
    {PACKED, 2048, 2048, 2048, FL_F32}, {PACKED, 512, 4096, 4096, FL_F32}, {PACKED, 4096, 512, 512, FL_F32},
    {PACKED, 2048, 288, 288, FL_F32},   {PACKED, 8192, 768, 288, FL_F32},  {PACKED, 256, 32000, 288, FL_F32},
    {PACKED, 2048, 768, 768, FL_F32},   {PACKED, 512, 4096, 4096, FL_F16}, {PACKED, 2048, 768, 768, FL_BF16},
    {PACKED, 64, 2048, 2048, FL_F32},   {PACKED, 16, 2048, 2048, FL_F16},  {STORED, 2048, 2048, 2048, FL_F32},
    {STORED, 2048, 768, 768, FL_F32},   {STORED, 2048, 288, 288, FL_F32},  {STORED, 256, 768, 288, FL_F32},
    {NN, 2048, 2048, 2048, FL_F32},     {NN, 2048, 768, 768, FL_F32},      {NN, 8192, 288, 768, FL_F32},
    {NN, 2048, 768, 2048, FL_BF16},     {TN, 768, 768, 2048, FL_F32},      {TN, 288, 768, 8192, FL_F32},
    {TN, 2048, 512, 32768, FL_F32},     {TN, 32000, 288, 256, FL_F32},     {PACKED, 1, 8192, 8192, FL_F32},
    {PACKED, 1, 8192, 8192, FL_F16},    {PACKED, 1, 8192, 8192, FL_BF16},  {PACKED, 1, 32000, 2048, FL_F32},
    {PACKED, 1, 768, 288, FL_F32},      {PACKED, 4, 8192, 8192, FL_F32},   {PACKED, 8, 8192, 8192, FL_BF16},
};

/* ---- what the machine can do ---------------------------------------------------------------------------------- */

static volatile float sink;
static const fl_kernels *kernels;
static fl_pool *pool;
static float *read_data;

#if defined(__x86_64__)
#define FMA(name, target_name, lanes)                                                                                  \
    typedef float name##_vector __attribute__((vector_size(4 * (lanes)), aligned(4)));                                 \
    __attribute__((target(target_name))) static void fma_##name(void *context, int64_t task, int thread)               \
    {                                                                                                                  \
        (void)context, (void)task, (void)thread;                                                                       \
        name##_vector a = {0}, b = {0}, s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0},          \
                      s7 = {0};                                                                                        \
        name##_vector s8 = {0}, s9 = {0};                                                                              \
        a = a + 0.999f, b = b + 1e-3f;                                                                                 \
        for (int i = 0; i < PEAK_STEPS; i++) {                                                                         \
            __asm__ volatile("vfmadd231ps %10, %11, %0\n\tvfmadd231ps %10, %11, %1\n\t"                                \
                             "vfmadd231ps %10, %11, %2\n\tvfmadd231ps %10, %11, %3\n\t"                                \
                             "vfmadd231ps %10, %11, %4\n\tvfmadd231ps %10, %11, %5\n\t"                                \
                             "vfmadd231ps %10, %11, %6\n\tvfmadd231ps %10, %11, %7\n\t"                                \
                             "vfmadd231ps %10, %11, %8\n\tvfmadd231ps %10, %11, %9"                                    \
                             : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7),         \
                               "+v"(s8), "+v"(s9)                                                                      \
                             : "v"(a), "v"(b));                                                                        \
        }                                                                                                              \
        s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9;                                                              \
        sink = s0[0];                                                                                                  \
    }                                                                                                                  \
    __attribute__((target(target_name))) static void read_##name(void *context, int64_t task, int thread)              \
    {                                                                                                                  \
        (void)thread;                                                                                                  \
        int64_t n = *(const int64_t *)context / 4 / READ_TASKS / (8 * (lanes)) * (8 * (lanes));                        \
        const float *x = read_data + task * n;                                                                         \
        name##_vector sum[8] = {{0}};                                                                                  \
        for (int64_t i = 0; i < n; i += 8 * (lanes))                                                                   \
            for (int j = 0; j < 8; j++)                                                                                \
                sum[j] += *(const name##_vector *)(const void *)(x + i + j * (lanes));                                 \
        for (int j = 1; j < 8; j++)                                                                                    \
            sum[0] += sum[j];                                                                                          \
        sink = sum[0][0];                                                                                              \
    }
FMA(avx2, "avx2,fma", 8)
FMA(avx512, "avx512f", 16)
#endif

static double seconds_now(void)
{
    if (fl_pool_threads(pool) > 1) return fl_clock_seconds();
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of the register loop, 0 where there is none. */
static double run_peak(void)
{
#if defined(__x86_64__)
    bool wide = strcmp(kernels->name, "avx512") == 0;
    if (!wide && strcmp(kernels->name, "avx2") != 0) return 0;
    int threads = fl_pool_threads(pool);
    double start = seconds_now();
    fl_pool_run(pool, threads, wide ? fma_avx512 : fma_avx2, NULL);
    return (double)threads * PEAK_STEPS * 10 * (wide ? 32 : 16) / (seconds_now() - start) * 1e-9;
#else
    return 0;
#endif
}

/* GB/s of reading so many bytes, at most READ_BYTES. */
static double run_read(int64_t bytes)
{
#if defined(__x86_64__)
    bool wide = strcmp(kernels->name, "avx512") == 0;
    if (!wide && strcmp(kernels->name, "avx2") != 0) return 0;
    double start = seconds_now();
    fl_pool_run(pool, READ_TASKS, wide ? read_avx512 : read_avx2, &bytes);
    return (double)bytes / (seconds_now() - start) * 1e-9;
#else
    (void)bytes;
    return 0;
#endif
}

/* ---- products ------------------------------------------------------------------------------------------------- */

static float *numbers(int64_t n)
{
    float *x = fl_alloc_aligned((size_t)n * sizeof *x);
    if (!x) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    fl_rng rng;
    fl_rng_seed(&rng, (uint64_t)n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)fl_rng_uniform(&rng) - 0.5f;
    return x;
}

/* c[m, n] in the shape's form; a is x or dY, b is W or X. */
typedef struct product {
    const shape *s;
    fl_device *d;
    fl_stored a, b;
    fl_packed *packed;
    float *c;
} product;

static void run_ours(const product *p)
{
    const shape *s = p->s;
    if (s->form == NN || s->form == TN) {
        p->d->table->matmul(p->d, &p->a, &p->b, p->c, s->n, s->form == TN);
        return;
    }
    fl_operand w = {.packed = p->packed, .stored = p->b};
    fl_tensor x = {.type = FL_F32, .rows = s->m, .cols = s->k, .ld = s->k, .data = (void *)(uintptr_t)p->a.data};
    fl_tensor y = {.type = FL_F32, .rows = s->m, .cols = s->n, .ld = s->n, .data = p->c};
    p->d->table->linear(p->d, &w, NULL, &x, &y, false);
}

/* False if oneDNN is absent or does not have this. */
static bool run_onednn(const product *p)
{
#if defined(FL_HAVE_ONEDNN)
    const shape *s = p->s;
    if (s->type != FL_F32) return false;
    bool a_transposed = s->form == TN, b_transposed = s->form == PACKED || s->form == STORED;
    return dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', s->m, s->n, s->k, 1.0f, p->a.data,
                      a_transposed ? s->m : s->k, p->b.data, b_transposed ? s->k : s->n, s->form == TN ? 1.0f : 0.0f,
                      p->c, s->n) == dnnl_success;
#else
    (void)p;
    return false;
#endif
}

static double best(double a, double b)
{
    return a > b ? a : b;
}

static void measure(fl_device *d, const shape *s)
{
    int64_t m = s->m, n = s->n, k = s->k;
    float *a = numbers(m * k), *values = numbers(n * k), *c = numbers(m * n);
    void *b = values;
    if (s->type != FL_F32) {
        b = numbers(n * k);
        fl_from_f32(s->type, values, b, n * k);
    }
    product p = {.s = s, .d = d, .c = c};
    p.a = (fl_stored){FL_F32, m, k, s->form == TN ? 1 : k, s->form == TN ? m : 1, a};
    bool across = s->form == NN || s->form == TN;
    p.b = (fl_stored){s->type, n, k, across ? 1 : k, across ? n : 1, b};
    if (s->form == PACKED && d->table->pack(d, &p.b, &p.packed) != FL_OK) exit(1);

    bool reading = m < 16;
    double amount = reading ? (double)(n * k) * (s->type == FL_F32 ? 4e-9 : 2e-9) : 2e-9 * (double)(m * n) * (double)k;
    double ours = 0, peak = 0, onednn = 0;
    for (int round = 0; round < ROUNDS; round++) {
        peak = best(peak, reading ? run_read((int64_t)(amount * 1e9)) : run_peak());
        double start = seconds_now(), seconds;
        int times = 0;
        do {
            double t = seconds_now();
            run_ours(&p);
            ours = best(ours, amount / (seconds_now() - t));
            times++;
            seconds = seconds_now() - start;
        } while (seconds < 4e-3 || times < 2);
    }
    for (int round = 0; round < ROUNDS / 2; round++) {
        double t = seconds_now();
        if (!run_onednn(&p)) break;
        onednn = best(onednn, amount / (seconds_now() - t));
    }
    char text[64], other[32] = "-";
    snprintf(text, sizeof text, "%lld x %lld x %lld", (long long)m, (long long)n, (long long)k);
    if (onednn > 0) snprintf(other, sizeof other, "%.1f", onednn);
    printf("%-9s %-5s %-20s %3d %9.1f %-7s %8.1f %6.2f %9s\n", form_name[s->form], fl_dtype_get(s->type)->name, text,
           fl_pool_threads(pool), ours, reading ? "GB/s" : "GFLOP/s", peak, peak > 0 ? ours / peak : 0.0, other);
    fflush(stdout);
    usleep(20000); /* oneDNN's threads spin for a while */
    if (p.packed) d->table->packed_free(d, p.packed);
    if (b != values) fl_free_aligned(b);
    fl_free_aligned(a), fl_free_aligned(values), fl_free_aligned(c);
}

int main(int count, char **arguments)
{
    if (fl_kernels_select(&kernels, count > 1 ? arguments[1] : NULL) != FL_OK) {
        fprintf(stderr, "%s\n", fl_error_message());
        return 2;
    }
    read_data = numbers(READ_BYTES / 4);
    printf("%s; rows x outputs x inputs\n", kernels->name);
    printf("%-9s %-5s %-20s %3s %9s %-7s %8s %6s %9s\n", "form", "type", "shape", "thr", "furlong", "", "peak", "share",
           "oneDNN");
    fl_pool *all;
    if (fl_pool_create(&all, 0) != FL_OK) return 1;
    int most = fl_pool_threads(all);
    fl_pool_destroy(all);
    for (int threads = 1;; threads = most) {
        fl_device *d;
        if (fl_pool_create(&pool, threads) != FL_OK || fl_cpu_device_create(&d, pool, kernels) != FL_OK) return 1;
#if defined(FL_HAVE_ONEDNN)
        if (omp_set_num_threads) omp_set_num_threads(threads);
#endif
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            measure(d, &shapes[i]);
        fl_cpu_device_destroy(d);
        fl_pool_destroy(pool);
        if (threads == most) break;
    }
    fl_free_aligned(read_data);
    return 0;
}
