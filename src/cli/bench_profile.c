#include "cli/bench_profile.h"

#include <string.h>

#include "base/alloc.h"
#include "device/cpu/roof.h"
#include "device/engine.h"

#define ROUNDS 5
#define READ_BYTES ((size_t)256 << 20) /* more than caches hold */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

fl_status cli_profile_open(cli_profile *p, fl_engine *engine)
{
    fl_device *d = engine->device;
    *p = (cli_profile){0};
    void *data = fl_alloc_aligned(READ_BYTES);
    if (!data) return fl_fail(FL_ERR_MEMORY, "room to measure reading");
    memset(data, 1, READ_BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        p->multiply_adds = larger(p->multiply_adds, fl_roof_multiply_adds(d));
        p->byte_products = larger(p->byte_products, fl_roof_byte_products(d));
        p->read = larger(p->read, fl_roof_read(d, data, READ_BYTES));
    }
    fl_free_aligned(data);
    return fl_profile_open(&p->counts, d);
}

void cli_profile_close(cli_profile *p)
{
    fl_profile_close(p->counts);
    *p = (cli_profile){0};
}

/* The least time the machine needs for a row's work, over the time it took; 0 if its limits are not known. */
static double share(const cli_profile *p, const fl_profile_row *r)
{
    if (!(p->multiply_adds > 0 && p->byte_products > 0 && p->read > 0)) return 0;
    double arithmetic = r->operations / p->multiply_adds + r->byte_operations / p->byte_products;
    return larger(arithmetic, r->bytes / p->read) / r->seconds;
}

json_t *cli_profile_json(const cli_profile *p, double seconds)
{
    json_t *rows = json_array();
    double rest = seconds;
    for (int i = 0; i < fl_profile_rows(); i++) {
        fl_profile_row r = fl_profile_get(p->counts, i);
        if (!r.calls) continue;
        rest -= r.seconds;
        json_array_append_new(rows, json_pack("{s:s, s:I, s:f, s:f, s:f, s:f, s:f}", "operator", r.name, "calls",
                                              (json_int_t)r.calls, "seconds", r.seconds, "operations", r.operations,
                                              "byte_operations", r.byte_operations, "bytes", r.bytes,
                                              "share_of_roofline", share(p, &r)));
    }
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:o}", "seconds", seconds, "elsewhere", rest, "roof_multiply_adds",
                     p->multiply_adds, "roof_byte_products", p->byte_products, "roof_read", p->read, "operators", rows);
}

void cli_profile_print(const cli_profile *p, const char *title, double seconds)
{
    double rest = seconds;
    printf("\n%-22s %8s %10s %7s %9s %8s %9s\n", title, "calls", "ms", "time", "GOP/s", "GB/s", "roofline");
    for (int i = 0; i < fl_profile_rows(); i++) {
        fl_profile_row r = fl_profile_get(p->counts, i);
        if (!r.calls) continue;
        rest -= r.seconds;
        printf("  %-20s %8lld %10.2f %6.1f%% %9.1f %8.1f %9.2f\n", r.name, (long long)r.calls, r.seconds * 1e3,
               100 * r.seconds / seconds, (r.operations + r.byte_operations) / r.seconds * 1e-9,
               r.bytes / r.seconds * 1e-9, share(p, &r));
    }
    printf("  %-20s %8s %10.2f %6.1f%%\n", "elsewhere", "", rest * 1e3, 100 * rest / seconds);
    printf("  roofline: %.0f GFLOP/s, %.0f GOP/s of bytes, %.1f GB/s from memory; caches give more\n",
           p->multiply_adds * 1e-9, p->byte_products * 1e-9, p->read * 1e-9);
    fflush(stdout);
}
