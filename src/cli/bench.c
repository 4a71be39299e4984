/* furlong bench: reading and generating speed at chosen depths of a context. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cli/bench_profile.h"
#include "cli/interrupt.h"

typedef struct bench_options {
    cli_common common;
    cli_integers depths;
    int64_t prefill, decode, repeats;
    const char *file;
    bool profile, gemm;
} bench_options;

#define AT(member) offsetof(bench_options, member)

static const cli_flag flags[] = {
    {"depths", 'd', "N,N,...", CLI_INTEGERS, AT(depths), "0", 0, 0x1p40, NULL,
     "tokens in the context before what is timed"},
    {"n-prompt", 'p', "N", CLI_INTEGER, AT(prefill), "512", 1, 0x1p30, NULL, "tokens read at each depth"},
    {"n-gen", 'n', "N", CLI_INTEGER, AT(decode), "64", 1, 0x1p30, NULL, "tokens generated at each depth, one by one"},
    {"repetitions", 'r', "N", CLI_INTEGER, AT(repeats), "3", 1, 1000, NULL,
     "times each is measured; the median counts, and the spread is (slowest - fastest) / median time"},
    {"file", 'f', "FILE", CLI_TEXT, AT(file), NULL, 0, 0, NULL,
     "tokens of this text, over and over, instead of random ones"},
    {"profile", 0, NULL, CLI_SWITCH, AT(profile), NULL, 0, 0, NULL,
     "also show where the time goes by operator, and each one's share of what the machine can do"},
    {"gemm", 0, NULL, CLI_SWITCH, AT(gemm), NULL, 0, 0, NULL,
     "measure products of matrices instead, beside the machine's limits and oneDNN if its library is there; no model"},
    {"seed", 's', "N", CLI_INTEGER, AT(common.seed), "0", 0, (double)INT64_MAX, NULL, "of the random tokens"},
};
static const cli_group group = CLI_GROUP("Measurement", flags);
static const cli_group *const groups[] = {
    &group, &cli_group_model, &cli_group_positions, &cli_group_reading, &cli_group_cache, &cli_group_output, NULL};

typedef struct timing {
    double rate, spread; /* tokens per second; of the times, relative to their median */
    double seconds;      /* all of them */
} timing;

typedef struct bench {
    cli_work work;
    const bench_options *options;
    int32_t *ids; /* [total] */
    int64_t total;
    double *seconds;     /* [repeats] */
    cli_profile profile; /* counts NULL: not wanted */
    json_t *results;
} bench;

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int by_real(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static timing summarise(double *seconds, int64_t repeats, int64_t tokens)
{
    double sum = 0;
    for (int64_t i = 0; i < repeats; i++)
        sum += seconds[i];
    qsort(seconds, (size_t)repeats, sizeof *seconds, by_real);
    double median = (seconds[(repeats - 1) / 2] + seconds[repeats / 2]) / 2;
    return (timing){(double)tokens / median, (seconds[repeats - 1] - seconds[0]) / median, sum};
}

/* Read `count` tokens at `depth`, `step` at a time, as often as asked; the session is back at depth afterwards. */
static fl_status measure(bench *b, int64_t depth, int64_t count, int64_t step, int64_t repeats, timing *out)
{
    fl_session *session = b->work.session;
    if (b->profile.counts) fl_profile_reset(b->profile.counts);
    for (int64_t r = 0; r < repeats; r++) {
        double start = fl_clock_seconds();
        for (int64_t done = 0; done < count; done += step) {
            int64_t n = count - done < step ? count - done : step;
            fl_status s = fl_session_read(session, b->ids + depth + done, n);
            if (s != FL_OK) return s;
        }
        b->seconds[r] = fl_clock_seconds() - start;
        fl_session_truncate(session, depth);
    }
    *out = summarise(b->seconds, repeats, count);
    return FL_OK;
}

static json_t *row_of(const bench *b, int64_t depth, timing prefill, timing decode)
{
    const bench_options *o = b->options;
    return json_pack("{s:I, s:I, s:f, s:f, s:I, s:f, s:f, s:I, s:I}", "depth", (json_int_t)depth, "prefill_tokens",
                     (json_int_t)o->prefill, "prefill_tokens_per_second", prefill.rate, "prefill_spread",
                     prefill.spread, "decode_tokens", (json_int_t)o->decode, "decode_tokens_per_second", decode.rate,
                     "decode_spread", decode.spread, "kv_bytes", (json_int_t)fl_session_bytes(b->work.session),
                     "peak_bytes", (json_int_t)fl_peak_resident_bytes());
}

static void print_head(void)
{
    printf("%10s %12s %7s %12s %7s %14s\n", "depth", "read tok/s", "spread", "gen tok/s", "spread", "peak memory");
}

static void print_row(int64_t depth, timing prefill, timing decode)
{
    char bytes[32];
    printf("%10lld %12.1f %6.1f%% %12.1f %6.1f%% %14s\n", (long long)depth, prefill.rate, 100 * prefill.spread,
           decode.rate, 100 * decode.spread, cli_bytes(bytes, (double)fl_peak_resident_bytes()));
    fflush(stdout);
}

/* What the last measurement's operators did: into `found`, or printed. */
static void keep_profile(const bench *b, const char *title, timing t, json_t **found)
{
    *found = NULL;
    if (!b->profile.counts) return;
    if (b->options->common.json)
        *found = cli_profile_json(&b->profile, t.seconds);
    else
        cli_profile_print(&b->profile, title, t.seconds);
}

static fl_status measure_depth(bench *b, int64_t depth)
{
    const bench_options *o = b->options;
    int64_t held = fl_session_tokens(b->work.session);
    fl_status s = fl_session_read(b->work.session, b->ids + held, depth - held);
    timing prefill, decode;
    json_t *reading = NULL, *generating = NULL;
    if (s == FL_OK) s = measure(b, depth, o->prefill, o->prefill, o->repeats, &prefill);
    if (s == FL_OK) keep_profile(b, "reading", prefill, &reading);
    if (s == FL_OK) s = measure(b, depth, o->decode, 1, o->repeats, &decode);
    if (s == FL_OK) keep_profile(b, "generating", decode, &generating);
    if (s == FL_OK && o->common.json) {
        json_t *row = row_of(b, depth, prefill, decode);
        if (reading) json_object_set(row, "reading", reading);
        if (generating) json_object_set(row, "generating", generating);
        json_array_append_new(b->results, row);
    } else if (s == FL_OK) {
        if (b->profile.counts) print_head();
        print_row(depth, prefill, decode);
    }
    json_decref(reading);
    json_decref(generating);
    return s;
}

/* Weights are paged in and threads awake before anything is timed. */
static fl_status warm_up(bench *b)
{
    timing ignored;
    int64_t few = b->total < 16 ? b->total : 16;
    fl_status s = measure(b, 0, few, few, 1, &ignored);
    return s == FL_OK ? measure(b, 0, few < 4 ? few : 4, 1, 1, &ignored) : s;
}

static int measure_all(bench *b)
{
    const bench_options *o = b->options;
    if (!o->common.json && !o->profile) print_head();
    fl_status s = warm_up(b);
    if (s == FL_OK && o->profile) s = cli_profile_open(&b->profile, b->work.engine);
    for (int i = 0; s == FL_OK && i < o->depths.count; i++)
        s = measure_depth(b, o->depths.item[i]);
    if (s != FL_OK) return cli_failed(s);
    if (!o->common.json) return cli_finish_output();
    json_t *results = b->results;
    b->results = NULL;
    return cli_print_json(
        json_pack("{s:o, s:i, s:s, s:I, s:I, s:o}", "model", cli_json_text(o->common.model, strlen(o->common.model)),
                  "threads", fl_engine_threads(b->work.engine), "cpu", fl_engine_cpu(b->work.engine), "batch_size",
                  (json_int_t)o->common.batch, "repetitions", (json_int_t)o->repeats, "results", results));
}

/* ---- tokens ----------------------------------------------------------------------------------------------------- */

static int ids_from_file(bench *b, const cli_call *call)
{
    char *text;
    size_t length;
    int32_t *found = NULL;
    int64_t count = 0;
    int status = cli_read_file(b->options->file, &text, &length);
    if (status != CLI_OK) return status;
    status = cli_open_tokenizer(&b->work, call, &b->options->common);
    if (status == CLI_OK) status = cli_encode(b->work.tokenizer, text, length, true, false, &found, &count);
    free(text);
    if (status == CLI_OK && !count) {
        cli_error("%s: holds no tokens", b->options->file);
        status = CLI_ERROR;
    }
    for (int64_t i = 0; status == CLI_OK && i < b->total; i++)
        b->ids[i] = found[i % count];
    free(found);
    return status;
}

static int make_ids(bench *b, const cli_call *call)
{
    const bench_options *o = b->options;
    b->ids = malloc((size_t)b->total * sizeof *b->ids);
    b->seconds = malloc((size_t)o->repeats * sizeof *b->seconds);
    b->results = json_array();
    if (!b->ids || !b->seconds || !b->results) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    if (o->file) return ids_from_file(b, call);
    fl_model_info info = {.size = sizeof info};
    fl_status s = fl_model_get_info(b->work.model, &info);
    if (s != FL_OK) return cli_failed(s);
    fl_rng rng;
    fl_rng_seed(&rng, (uint64_t)o->common.seed);
    for (int64_t i = 0; i < b->total; i++)
        b->ids[i] = (int32_t)fl_rng_below(&rng, (uint64_t)info.vocab);
    return CLI_OK;
}

static int run(const cli_call *call)
{
    bench_options o = *(const bench_options *)call->options;
    bench b = {.options = &o};
    if (o.gemm) return cli_bench_gemm(&o.common);
    qsort(o.depths.item, (size_t)o.depths.count, sizeof *o.depths.item, by_number);
    b.total = o.depths.item[o.depths.count - 1] + (o.prefill > o.decode ? o.prefill : o.decode);
    if (!o.common.context) o.common.context = b.total;
    int status = cli_open_session(&b.work, call, &o.common);
    if (status == CLI_OK) status = make_ids(&b, call);
    if (status == CLI_OK) {
        cli_interrupt_arm(b.work.session);
        status = measure_all(&b);
        cli_interrupt_disarm();
    }
    free(b.ids);
    free(b.seconds);
    cli_profile_close(&b.profile);
    json_decref(b.results);
    cli_close(&b.work);
    return status;
}

const cli_command cli_bench = {"bench",
                               "measure reading and generating speed at chosen depths",
                               NULL,
                               "Measure tokens per second while reading (prefill) and while generating one by one "
                               "(decode), with a context that already holds each of the depths.",
                               sizeof(bench_options),
                               groups,
                               run};
