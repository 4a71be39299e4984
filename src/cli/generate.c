/* furlong generate: the prompt and its completion on stdout, nothing else. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/interrupt.h"

typedef struct generate_options {
    cli_common common;
    const char *prompt, *file;
    int64_t predict;
    cli_texts stop;
    bool ignore_eos;
} generate_options;

#define AT(member) offsetof(generate_options, member)

static const cli_flag flags[] = {
    {"prompt", 'p', "TEXT", CLI_TEXT, AT(prompt), NULL, 0, 0, NULL, "the text to continue"},
    {"file", 'f', "FILE", CLI_TEXT, AT(file), NULL, 0, 0, NULL,
     "read the prompt from FILE (- is stdin), without its last line end"},
    {"predict", 'n', "N", CLI_INTEGER, AT(predict), "128", -2, 0x1p40, NULL,
     "tokens to generate; -1: until the text or the context ends; -2: until the context is full"},
    {"stop", 0, "TEXT", CLI_TEXTS, AT(stop), NULL, 0, 0, NULL, "end before this text"},
    {"ignore-eos", 0, NULL, CLI_SWITCH, AT(ignore_eos), NULL, 0, 0, NULL, "go on past tokens that end the text"},
};
static const cli_group group = CLI_GROUP("Generation", flags);
static const cli_group *const groups[] = {
    &group,           &cli_group_model,    &cli_group_positions, &cli_group_reading,
    &cli_group_cache, &cli_group_sampling, &cli_group_output,    NULL};

typedef struct prompt {
    const char *text;
    size_t length;
    char *owned; /* what was read from a file */
    int32_t *ids;
    int64_t count;
} prompt;

static int read_prompt(prompt *p, const cli_call *call, const generate_options *o)
{
    if (!o->prompt == !o->file) return cli_misused(call, "give the prompt either with -p TEXT or with -f FILE");
    if (o->prompt) {
        p->text = o->prompt;
        p->length = strlen(o->prompt);
        return CLI_OK;
    }
    int status = cli_read_file(o->file, &p->owned, &p->length);
    p->text = p->owned;
    if (status == CLI_OK && p->length && p->text[p->length - 1] == '\n') p->length--;
    return status;
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

typedef struct output {
    FILE *to;
    char *text; /* of a memory stream, for JSON */
    size_t length;
} output;

static int write_text(const char *text, size_t length, void *user)
{
    FILE *to = ((output *)user)->to;
    return fwrite(text, 1, length, to) != length || fflush(to) || cli_interrupted();
}

static const char *finish_name(fl_finish finish)
{
    static const char *const name[] = {[FL_FINISH_LENGTH] = "length",
                                       [FL_FINISH_EOS] = "end of text",
                                       [FL_FINISH_STOP] = "stop",
                                       [FL_FINISH_CONTEXT] = "context",
                                       [FL_FINISH_CALLER] = "interrupted"};
    return name[finish];
}

static int print_json(const cli_work *w, const prompt *p, const output *out, const fl_generate_result *r,
                      double seconds)
{
    int64_t held = fl_session_tokens(w->session), begin = fl_session_ids_begin(w->session);
    int64_t first = begin > p->count ? begin : p->count; /* a stream forgets ids too */
    json_t *ids = json_array();
    for (int64_t i = first; i < held; i++)
        json_array_append_new(ids, json_integer(fl_session_ids(w->session)[i - begin]));
    return cli_print_json(json_pack("{s:o, s:o, s:o, s:I, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "prompt",
                                    cli_json_text(p->text, p->length), "text", cli_json_text(out->text, out->length),
                                    "ids", ids, "ids_from", (json_int_t)first, "finish", finish_name(r->finish), "prompt_tokens", (json_int_t)p->count,
                                    "tokens", (json_int_t)r->tokens, "prefill_seconds", seconds,
                                    "prefill_tokens_per_second", (double)p->count / seconds, "seconds", r->seconds,
                                    "tokens_per_second", r->seconds > 0 ? (double)r->tokens / r->seconds : 0.0,
                                    "memory_bytes", (json_int_t)fl_session_bytes(w->session)));
}

static void print_statistics(const cli_work *w, const prompt *p, const fl_generate_result *r, double seconds)
{
    char bytes[32];
    cli_note("prompt: %lld tokens in %.3f s, %.1f tokens/s", (long long)p->count, seconds, (double)p->count / seconds);
    cli_note("answer: %lld tokens in %.3f s, %.1f tokens/s; ended by %s", (long long)r->tokens, r->seconds,
             r->seconds > 0 ? (double)r->tokens / r->seconds : 0.0, finish_name(r->finish));
    cli_note("context: %lld of %lld tokens, %s of keys and values; peak memory %s",
             (long long)fl_session_tokens(w->session), (long long)fl_session_context(w->session),
             cli_bytes((char[32]){0}, (double)fl_session_bytes(w->session)),
             cli_bytes(bytes, (double)fl_peak_resident_bytes()));
}

static int generate(cli_work *w, const prompt *p, const generate_options *o, output *out, double prefill)
{
    fl_generate_options options = FL_GENERATE_OPTIONS_INIT;
    int64_t left = fl_session_context(w->session) - p->count;
    options.max_tokens = o->predict != -2 ? o->predict
                         : o->common.overflow == FL_OVERFLOW_STREAM ? -1 /* never full */
                         : left > 0 ? left : 0;
    options.ignore_eos = o->ignore_eos || o->predict == -2;
    options.stop = o->stop.item;
    options.stop_count = o->stop.count;
    options.text = write_text;
    options.text_user = out;
    cli_sampler_options(&options.sampler, &o->common);
    fl_generate_result result;
    fl_status s = fl_generate(w->session, w->tokenizer, &options, &result);
    fflush(out->to);
    if (s != FL_OK) return cli_failed(s);
    if (cli_interrupted()) return cli_failed(FL_ERR_CANCELLED);
    if (o->common.json) return print_json(w, p, out, &result, prefill);
    if (isatty(STDOUT_FILENO)) putchar('\n');
    if (result.finish == FL_FINISH_CONTEXT && o->predict != -2)
        cli_warn("the context of %lld tokens is full after %lld new ones; a larger one: --ctx-size",
                 (long long)fl_session_context(w->session), (long long)result.tokens);
    if (o->common.verbose) print_statistics(w, p, &result, prefill);
    return cli_finish_output();
}

static int read_and_generate(cli_work *w, const prompt *p, const generate_options *o, output *out)
{
    double start = fl_clock_seconds();
    fl_status s = fl_session_read(w->session, p->ids, p->count);
    if (s != FL_OK) return cli_failed(s);
    double prefill = fl_clock_seconds() - start;
    if (!o->common.json) fwrite(p->text, 1, p->length, stdout);
    return generate(w, p, o, out, prefill);
}

static int run(const cli_call *call)
{
    const generate_options *o = call->options;
    cli_work w = {0};
    prompt p = {0};
    output out = {.to = stdout};
    int status = read_prompt(&p, call, o);
    if (status == CLI_OK) status = cli_open_session(&w, call, &o->common);
    if (status == CLI_OK) status = cli_open_tokenizer(&w, call, &o->common);
    if (status == CLI_OK) status = cli_encode(w.tokenizer, p.text, p.length, true, true, &p.ids, &p.count);
    if (status == CLI_OK && p.count == 0) status = cli_misused(call, "the prompt is empty");
    if (status == CLI_OK && o->common.json && !(out.to = open_memstream(&out.text, &out.length))) {
        cli_error("out of memory");
        status = CLI_ERROR;
    }
    if (status == CLI_OK) {
        cli_interrupt_arm(w.session);
        status = read_and_generate(&w, &p, o, &out);
        cli_interrupt_disarm();
    }
    if (out.to && out.to != stdout) fclose(out.to);
    free(out.text);
    free(p.owned);
    free(p.ids);
    cli_close(&w);
    return status;
}

const cli_command cli_generate = {"generate",
                                  "continue a prompt",
                                  NULL,
                                  "Continue a prompt. Prints the prompt and its completion, nothing else; -v adds "
                                  "speed and memory on stderr. Ctrl-C ends it cleanly.",
                                  sizeof(generate_options),
                                  groups,
                                  run};
