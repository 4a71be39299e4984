/* What opening a model costs: time, and memory of this process after opening it and after reading eight tokens.
 *
 *   bench_open MODEL [seconds]     stay for so long afterwards, so that a second process can be seen to share pages
 *
 * rss counts pages that are mapped from the file too; pss divides shared ones among their processes; anonymous ones are
 * this process's alone. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "furlong.h"

#define TOKENS 8

static void print_memory(const char *when)
{
    static const char *const names[] = {"Rss", "Pss", "Anonymous"};
    long kib[3] = {0};
    char line[256];
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    while (f && fgets(line, sizeof line, f))
        for (int i = 0; i < 3; i++) {
            char format[32];
            snprintf(format, sizeof format, "%s: %%ld", names[i]);
            sscanf(line, format, &kib[i]);
        }
    if (f) fclose(f);
    printf("%-14s rss %7.1f MiB  pss %7.1f MiB  anonymous %7.1f MiB\n", when, (double)kib[0] / 1024,
           (double)kib[1] / 1024, (double)kib[2] / 1024);
}

static int failed(fl_status status)
{
    if (status != FL_OK) fprintf(stderr, "bench_open: %s\n", fl_error_message());
    return status != FL_OK;
}

int main(int argc, char **argv)
{
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_session_options session_options = FL_SESSION_OPTIONS_INIT;
    static const int32_t ids[TOKENS] = {1, 5, 7, 9, 11, 3, 2, 8};
    fl_engine *engine;
    fl_model *model;
    fl_session *session;
    if (argc < 2) return fprintf(stderr, "usage: bench_open MODEL [seconds]\n"), 2;
    if (failed(fl_engine_create(&engine, &engine_options))) return 1;
    double start = fl_clock_seconds();
    if (failed(fl_model_open(&model, engine, argv[1], &model_options))) return 1;
    printf("open           %.2f ms\n", 1e3 * (fl_clock_seconds() - start));
    print_memory("after opening");
    session_options.context = 2 * TOKENS;
    if (failed(fl_session_create(&session, model, &session_options))) return 1;
    for (int pass = 0; pass < 2; pass++) {
        start = fl_clock_seconds();
        if (failed(fl_session_read(session, ids, TOKENS))) return 1;
        printf("%s 8 tokens  %.2f ms\n", pass ? "next" : "first", 1e3 * (fl_clock_seconds() - start));
    }
    print_memory("after reading");
    if (argc > 2) {
        fflush(stdout);
        sleep((unsigned)atoi(argv[2]));
        print_memory("later");
    }
    fl_session_destroy(session);
    fl_model_close(model);
    fl_engine_destroy(engine);
    return 0;
}
