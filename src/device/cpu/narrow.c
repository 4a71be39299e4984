/* fp32 to bf16 and back inside one buffer: what saved activations go through when they are kept in half their room.
 *
 * The compact values lie at or before the full ones. Element i is written in the 2 bytes from to + 2i and read from the
 * 4 bytes from from + 4i >= to + 4i; a round over elements [m, 2m) therefore writes below everything that later rounds
 * read, and its own elements are independent: threads share each round. Widening runs the rounds backwards. */
#include <string.h>

#include "base/size.h"
#include "device/cpu/cpu.h"
#include "device/cpu/range.h"

#define BLOCK 4096 /* elements: the first round, by one thread through a copy, and the pieces of later ones */

typedef struct narrow_job {
    char *half, *full;
    int64_t first, end; /* of the round */
} narrow_job;

/* Round to nearest even; NaN stays NaN. */
static void narrow_values(const char *from, char *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, from + 4 * i, sizeof bits);
        uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
        bool nan = (bits & 0x7fffffff) > 0x7f800000;
        uint16_t half = (uint16_t)((nan ? bits | 0x400000 : rounded) >> 16);
        memcpy(to + 2 * i, &half, sizeof half);
    }
}

static void widen_values(const char *from, char *to, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(to + 4 * i, &bits, sizeof bits);
    }
}

static void narrow_blocks(void *context, int64_t first, int64_t end)
{
    const narrow_job *j = context;
    int64_t i = j->first + first * BLOCK, n = fl_min64(j->first + end * BLOCK, j->end) - i;
    narrow_values(j->full + 4 * i, j->half + 2 * i, n);
}

static void widen_blocks(void *context, int64_t first, int64_t end)
{
    const narrow_job *j = context;
    int64_t i = j->first + first * BLOCK, n = fl_min64(j->first + end * BLOCK, j->end) - i;
    widen_values(j->half + 2 * i, j->full + 4 * i, n);
}

static void round_of(fl_device *d, narrow_job *j, int64_t first, int64_t n, void (*work)(void *, int64_t, int64_t))
{
    j->first = first;
    j->end = fl_min64(2 * first, n);
    fl_cpu_ranges(d, (j->end - first + BLOCK - 1) / BLOCK, BLOCK, work, j);
}

void fl_cpu_narrow(fl_device *d, void *to, const void *from, int64_t n)
{
    char head[4 * BLOCK];
    int64_t least = fl_min64(n, BLOCK);
    narrow_job j = {.half = to, .full = (char *)(uintptr_t)from};
    memcpy(head, from, 4 * (size_t)least);
    narrow_values(head, to, least);
    for (int64_t first = BLOCK; first < n; first *= 2)
        round_of(d, &j, first, n, narrow_blocks);
}

void fl_cpu_widen(fl_device *d, void *to, const void *from, int64_t n)
{
    char head[2 * BLOCK];
    int64_t least = fl_min64(n, BLOCK), first = BLOCK;
    narrow_job j = {.half = (char *)(uintptr_t)from, .full = to};
    while (first < n)
        first *= 2;
    for (first /= 2; first >= BLOCK; first /= 2)
        round_of(d, &j, first, n, widen_blocks);
    memcpy(head, from, 2 * (size_t)least);
    widen_values(head, to, least);
}
