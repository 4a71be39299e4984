#include <string.h>

#include "kernel/kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>

#define BIT_AVX_VNNI (1u << 4) /* of EAX; not every compiler's header names it */

enum {
    FEATURE_AVX2 = 1 << 0,
    FEATURE_FMA = 1 << 1,
    FEATURE_F16C = 1 << 2,
    FEATURE_AVX512F = 1 << 3,
    FEATURE_AVX512BW = 1 << 4,
    FEATURE_AVX512DQ = 1 << 5,
    FEATURE_AVX512VL = 1 << 6,
    SAVES_YMM = 1 << 7, /* the operating system saves these registers on a switch of threads */
    SAVES_ZMM = 1 << 8,
    FEATURE_VNNI = 1 << 9,
    FEATURE_AVX_VNNI = 1 << 10, /* the same on YMM registers, without AVX-512 */

    NEEDED_AVX2 = FEATURE_AVX2 | FEATURE_FMA | FEATURE_F16C | SAVES_YMM,
    NEEDED_AVX512 = NEEDED_AVX2 | FEATURE_AVX512F | FEATURE_AVX512BW | FEATURE_AVX512DQ | FEATURE_AVX512VL | SAVES_ZMM,
    NEEDED_VNNI = NEEDED_AVX512 | FEATURE_VNNI,
    NEEDED_AVX_VNNI = NEEDED_AVX2 | FEATURE_AVX_VNNI,
};

static const struct {
    unsigned feature;
    const char *name;
} feature_names[] = {
    {FEATURE_AVX2, "AVX2"},
    {FEATURE_FMA, "FMA"},
    {FEATURE_F16C, "F16C"},
    {FEATURE_AVX512F, "AVX512F"},
    {FEATURE_AVX512BW, "AVX512BW"},
    {FEATURE_AVX512DQ, "AVX512DQ"},
    {FEATURE_AVX512VL, "AVX512VL"},
    {SAVES_YMM, "the operating system's saving of YMM registers"},
    {SAVES_ZMM, "the operating system's saving of ZMM registers"},
};

/* Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, 14.3 and 15.2. */
static unsigned cpu_features(void)
{
    unsigned a, b, c, d, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (c & bit_FMA) found |= FEATURE_FMA;
    if (c & bit_F16C) found |= FEATURE_F16C;
    if (c & bit_OSXSAVE) {
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        if ((low & 0x06) == 0x06) found |= SAVES_YMM;
        if ((low & 0xe6) == 0xe6) found |= SAVES_ZMM;
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    if (b & bit_AVX2) found |= FEATURE_AVX2;
    if (b & bit_AVX512F) found |= FEATURE_AVX512F;
    if (b & bit_AVX512BW) found |= FEATURE_AVX512BW;
    if (b & bit_AVX512DQ) found |= FEATURE_AVX512DQ;
    if (b & bit_AVX512VL) found |= FEATURE_AVX512VL;
    if (c & bit_AVX512VNNI) found |= FEATURE_VNNI;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & BIT_AVX_VNNI)) found |= FEATURE_AVX_VNNI;
    return found;
}
#endif

static const struct {
    const char *name;
    const fl_kernels *kernels;
    unsigned needed;
} levels[] = {
/* Best first; of several with one name a machine takes the first it can. */
#if defined(__x86_64__)
    {"avx512", &fl_kernels_avx512_vnni, NEEDED_VNNI},
    {"avx512", &fl_kernels_avx512, NEEDED_AVX512},
    {"avx2", &fl_kernels_avx2_vnni, NEEDED_AVX_VNNI},
    {"avx2", &fl_kernels_avx2, NEEDED_AVX2},
#endif
    {"generic", &fl_kernels_generic, 0},
};

/* missing: features the level needs and the machine lacks, not 0. */
static fl_status refuse(const char *level, unsigned missing)
{
    const char *feature = "";
#if defined(__x86_64__)
    for (size_t i = sizeof feature_names / sizeof feature_names[0]; i > 0; i--)
        if (missing & feature_names[i - 1].feature) feature = feature_names[i - 1].name;
#endif
    (void)missing;
    return fl_fail(FL_ERR_UNSUPPORTED, "CPU level = %s: this machine lacks %s; use \"auto\"", level, feature);
}

fl_status fl_kernels_select(const fl_kernels **out, const char *name)
{
    bool best = !name || strcmp(name, "auto") == 0;
    unsigned found = 0;
#if defined(__x86_64__)
    found = cpu_features();
#endif
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        unsigned missing = levels[i].needed & ~found;
        if (best ? missing != 0 : strcmp(name, levels[i].name) != 0) continue;
        bool again = i + 1 < sizeof levels / sizeof levels[0] && strcmp(levels[i + 1].name, levels[i].name) == 0;
        if (missing && again) continue;
        if (missing) return refuse(name, missing);
        *out = levels[i].kernels;
        return FL_OK;
    }
#if !defined(__x86_64__)
    if (strcmp(name, "avx2") == 0 || strcmp(name, "avx512") == 0)
        return fl_fail(FL_ERR_UNSUPPORTED, "CPU level = %s: only on x86-64; use \"auto\"", name);
#endif
    return fl_fail(FL_ERR_ARGUMENT, "CPU level = %s: unknown; use auto, generic, avx2 or avx512", name);
}
