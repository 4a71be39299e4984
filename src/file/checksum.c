#include "file/checksum.h"

#include <string.h>

#define PRIME1 0x9E3779B185EBCA87u
#define PRIME2 0xC2B2AE3D27D4EB4Fu
#define PRIME3 0x165667B19E3779F9u
#define PRIME4 0x85EBCA77C2B2AE63u
#define PRIME5 0x27D4EB2F165667C5u

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

/* Little-endian on every machine; compilers make it one load where it is one. */
static inline uint64_t u64_at(const uint8_t *p)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static inline uint64_t round_of(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * PRIME2, 31) * PRIME1;
}

static inline uint64_t merge(uint64_t value, uint64_t lane)
{
    return (value ^ round_of(0, lane)) * PRIME1 + PRIME4;
}

void fl_checksum_start(fl_checksum *c)
{
    *c = (fl_checksum){.lane = {PRIME1 + PRIME2, PRIME2, 0, 0 - PRIME1}};
}

static void add_stripes(fl_checksum *c, const uint8_t *p, size_t stripes)
{
    uint64_t a = c->lane[0], b = c->lane[1], d = c->lane[2], e = c->lane[3];
    for (; stripes; stripes--, p += 32) {
        a = round_of(a, u64_at(p));
        b = round_of(b, u64_at(p + 8));
        d = round_of(d, u64_at(p + 16));
        e = round_of(e, u64_at(p + 24));
    }
    c->lane[0] = a;
    c->lane[1] = b;
    c->lane[2] = d;
    c->lane[3] = e;
}

void fl_checksum_add(fl_checksum *c, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    if (n == 0) return;
    c->total += n;
    if (c->holding) {
        size_t wanted = sizeof c->held - c->holding, taken = n < wanted ? n : wanted;
        memcpy(c->held + c->holding, p, taken);
        c->holding += taken;
        p += taken;
        n -= taken;
        if (c->holding < sizeof c->held) return;
        add_stripes(c, c->held, 1);
        c->holding = 0;
    }
    add_stripes(c, p, n / 32);
    c->holding = n % 32;
    memcpy(c->held, p + n - n % 32, n % 32);
}

uint64_t fl_checksum_value(const fl_checksum *c)
{
    uint64_t value = c->lane[2] + PRIME5;
    if (c->total >= 32) {
        value = rotate(c->lane[0], 1) + rotate(c->lane[1], 7) + rotate(c->lane[2], 12) + rotate(c->lane[3], 18);
        for (int i = 0; i < 4; i++)
            value = merge(value, c->lane[i]);
    }
    value += c->total;
    const uint8_t *p = c->held, *end = c->held + c->holding;
    for (; end - p >= 8; p += 8)
        value = rotate(value ^ round_of(0, u64_at(p)), 27) * PRIME1 + PRIME4;
    if (end - p >= 4) {
        uint64_t x = p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
        value = rotate(value ^ x * PRIME1, 23) * PRIME2 + PRIME3;
        p += 4;
    }
    for (; p < end; p++)
        value = rotate(value ^ *p * PRIME5, 11) * PRIME1;
    value = (value ^ value >> 33) * PRIME2;
    value = (value ^ value >> 29) * PRIME3;
    return value ^ value >> 32;
}
