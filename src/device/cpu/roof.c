#include "device/cpu/roof.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "kernel/kernel.h"

#define STEPS 100000
#define READ_TASKS 64

double fl_roof_seconds(const fl_device *d)
{
    if (fl_pool_threads(d->pool) > 1) return fl_clock_seconds();
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double loop_rate(fl_device *d, fl_task_fn loop, double operations)
{
    double start = fl_roof_seconds(d);
    fl_pool_run(d->pool, fl_pool_threads(d->pool), loop, NULL);
    return fl_pool_threads(d->pool) * operations / (fl_roof_seconds(d) - start);
}

#if defined(__x86_64__)

typedef float wide __attribute__((vector_size(64)));
typedef float narrow __attribute__((vector_size(32)));

/* Ten sums, each independent of the others; `one` is the instruction for sum number n from %10 and %11. */
#define TEN(one)                                                                                                       \
    one("0") "\n\t" one("1") "\n\t" one("2") "\n\t" one("3") "\n\t" one("4") "\n\t" one("5") "\n\t" one(               \
        "6") "\n\t" one("7") "\n\t" one("8") "\n\t" one("9")
#define LOOP(name, features, vector, one)                                                                              \
    __attribute__((target(features))) static void name(void *context, int64_t task, int thread)                        \
    {                                                                                                                  \
        (void)context, (void)task, (void)thread;                                                                       \
        vector a = {0}, b = {0}, s[10] = {{0}};                                                                        \
        for (int i = 0; i < STEPS; i++)                                                                                \
            __asm__ volatile(TEN(one)                                                                                  \
                             : "+v"(s[0]), "+v"(s[1]), "+v"(s[2]), "+v"(s[3]), "+v"(s[4]), "+v"(s[5]), "+v"(s[6]),     \
                               "+v"(s[7]), "+v"(s[8]), "+v"(s[9])                                                      \
                             : "v"(a), "v"(b));                                                                        \
    }

#define FMA(n) "vfmadd231ps %10, %11, %" n
#define DOT(n) "vpdpbusd %10, %11, %" n
/* Without VNNI a sum of four takes three instructions. */
#define PAIRS(n) "vpmaddubsw %10, %11, %%ymm15\n\tvpmaddwd %%ymm15, %10, %%ymm15\n\tvpaddd %%ymm15, %" n ", %" n

LOOP(fma_avx512, "avx512f", wide, FMA)
LOOP(fma_avx2, "avx2,fma", narrow, FMA)
LOOP(dot_vnni, "avx512f,avx512vnni", wide, DOT)

/* The prefix keeps assemblers from writing it for AVX-512. */
#define DOT_VEX(n) "%{vex%} vpdpbusd %10, %11, %" n

__attribute__((target("avx2"))) static void dot_avx_vnni(void *context, int64_t task, int thread)
{
    (void)context, (void)task, (void)thread;
    narrow a = {0}, b = {0}, s[10] = {{0}};
    for (int i = 0; i < STEPS; i++)
        __asm__ volatile(TEN(DOT_VEX)
                         : "+x"(s[0]), "+x"(s[1]), "+x"(s[2]), "+x"(s[3]), "+x"(s[4]), "+x"(s[5]), "+x"(s[6]),
                           "+x"(s[7]), "+x"(s[8]), "+x"(s[9])
                         : "x"(a), "x"(b));
}

__attribute__((target("avx2"))) static void dot_avx2(void *context, int64_t task, int thread)
{
    (void)context, (void)task, (void)thread;
    narrow a = {0}, b = {0}, s[10] = {{0}};
    for (int i = 0; i < STEPS; i++)
        __asm__ volatile(TEN(PAIRS)
                         : "+x"(s[0]), "+x"(s[1]), "+x"(s[2]), "+x"(s[3]), "+x"(s[4]), "+x"(s[5]), "+x"(s[6]),
                           "+x"(s[7]), "+x"(s[8]), "+x"(s[9])
                         : "x"(a), "x"(b)
                         : "xmm15");
}

typedef struct read_job {
    const char *data;
    size_t bytes; /* of a task */
} read_job;

static volatile float sink;

#define READ(name, features, vector)                                                                                   \
    __attribute__((target(features))) static void name(void *context, int64_t task, int thread)                        \
    {                                                                                                                  \
        (void)thread;                                                                                                  \
        const read_job *j = context;                                                                                   \
        const char *from = j->data + (size_t)task * j->bytes;                                                          \
        vector sum[8] = {{0}};                                                                                         \
        for (size_t i = 0; i < j->bytes; i += 8 * sizeof(vector))                                                      \
            for (size_t k = 0; k < 8; k++)                                                                             \
                sum[k] += *(const vector *)(const void *)(from + i + k * sizeof(vector));                              \
        for (int k = 1; k < 8; k++)                                                                                    \
            sum[0] += sum[k];                                                                                          \
        sink = sum[0][0];                                                                                              \
    }
READ(read_avx512, "avx512f", wide)
READ(read_avx2, "avx2", narrow)

static bool is_level(const fl_device *d, const char *name)
{
    return strcmp(d->kernels->name, name) == 0;
}

double fl_roof_multiply_adds(fl_device *d)
{
    if (is_level(d, "avx512")) return loop_rate(d, fma_avx512, STEPS * 10.0 * 32);
    return is_level(d, "avx2") ? loop_rate(d, fma_avx2, STEPS * 10.0 * 16) : 0;
}

double fl_roof_byte_products(fl_device *d)
{
    if (d->kernels == &fl_kernels_avx512_vnni) return loop_rate(d, dot_vnni, STEPS * 10.0 * 128);
    if (d->kernels == &fl_kernels_avx2_vnni) return loop_rate(d, dot_avx_vnni, STEPS * 10.0 * 64);
    return is_level(d, "generic") ? 0 : loop_rate(d, dot_avx2, STEPS * 10.0 * 64);
}

double fl_roof_read(fl_device *d, const void *data, size_t bytes)
{
    if (is_level(d, "generic")) return 0;
    read_job job = {data, bytes / READ_TASKS / 512 * 512};
    double start = fl_roof_seconds(d);
    fl_pool_run(d->pool, READ_TASKS, is_level(d, "avx512") ? read_avx512 : read_avx2, &job);
    return (double)(job.bytes * READ_TASKS) / (fl_roof_seconds(d) - start);
}

#else

double fl_roof_multiply_adds(fl_device *d)
{
    (void)d, (void)loop_rate;
    return 0;
}

double fl_roof_byte_products(fl_device *d)
{
    (void)d;
    return 0;
}

double fl_roof_read(fl_device *d, const void *data, size_t bytes)
{
    (void)d, (void)data, (void)bytes;
    return 0;
}

#endif
