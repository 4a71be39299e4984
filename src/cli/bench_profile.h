/* furlong bench --profile: time and share of the machine's limits by operator. */
#ifndef FL_CLI_BENCH_PROFILE_H
#define FL_CLI_BENCH_PROFILE_H

#include "cli/commands.h"
#include "device/profile.h"

typedef struct cli_profile {
    fl_profile *counts;
    double multiply_adds, byte_products, read; /* per second, of loops that do nothing else; 0: not known */
} cli_profile;

/* Measures the limits; operators are counted from here on. */
fl_status cli_profile_open(cli_profile *p, fl_engine *engine);
void cli_profile_close(cli_profile *p);

/* What was counted since the last reset, during `seconds`: rows that took time, and the rest of the time. */
json_t *cli_profile_json(const cli_profile *p, double seconds);
void cli_profile_print(const cli_profile *p, const char *title, double seconds);

#endif
