/* David Blackman, Sebastiano Vigna: Scrambled Linear Pseudorandom Number Generators, 2019; splitmix64: Sebastiano
 * Vigna. */
#include "base/rng.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void fl_rng_seed(fl_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

uint64_t fl_rng_next(fl_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double fl_rng_uniform(fl_rng *r)
{
    return (double)(fl_rng_next(r) >> 11) * 0x1p-53;
}

/* Daniel Lemire: Fast Random Integer Generation in an Interval, 2019. */
uint64_t fl_rng_below(fl_rng *r, uint64_t bound)
{
    unsigned __int128 product = (unsigned __int128)fl_rng_next(r) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = -bound % bound;
        while ((uint64_t)product < threshold)
            product = (unsigned __int128)fl_rng_next(r) * bound;
    }
    return (uint64_t)(product >> 64);
}

/* Box-Muller with the second value thrown away: the state stays four words. */
double fl_rng_normal(fl_rng *r)
{
    double radius = sqrt(-2.0 * log1p(-fl_rng_uniform(r)));
    return radius * cos(6.283185307179586476925 * fl_rng_uniform(r));
}
