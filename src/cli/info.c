/* furlong info: what a model is, and what its context costs. */
#include <math.h>
#include <string.h>

#include "cli/commands.h"

typedef struct info_options {
    cli_common common;
} info_options;

static const cli_group *const groups[] = {&cli_group_model, &cli_group_positions, &cli_group_cache, &cli_group_output,
                                          NULL};

static json_t *text_or_null(const char *text)
{
    return text ? cli_json_text(text, strlen(text)) : json_null();
}

static json_t *id_or_null(int32_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

static json_t *rope_json(const fl_model_info *m)
{
    if (!m->rotary) return json_null();
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:s, s:I}", "scaling", m->rope_scaling, "base",
                     m->rope_base, "factor", m->rope_factor, "first_frequency", m->rope_first_frequency,
                     "last_frequency", m->rope_last_frequency, "magnitude", m->rope_magnitude, "passes", m->passes,
                     "passes_detail", m->passes_detail, "logn", m->logn, "logn_window", (json_int_t)m->logn_window);
}

static int print_json(const fl_model_info *m, int64_t context)
{
    return cli_print_json(json_pack(
        "{s:o, s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:s, s:o, s:o, s:o}",
        "path", text_or_null(m->path), "format", m->format, "family", m->family, "tokenizer",
        text_or_null(m->tokenizer), "parameters", (json_int_t)m->parameters, "weight_bytes",
        (json_int_t)m->weight_bytes, "mapped_bytes", (json_int_t)m->mapped_bytes, "stored_type", m->stored_type,
        "vocab", (json_int_t)m->vocab, "width", (json_int_t)m->width, "layers", (json_int_t)m->layers, "heads",
        (json_int_t)m->heads, "kv_heads", (json_int_t)m->kv_heads, "head_dim", (json_int_t)m->head_dim, "ffn",
        (json_int_t)m->ffn, "window", (json_int_t)m->window, "trained_window", (json_int_t)m->trained_window, "context",
        (json_int_t)context, "kv_bytes_per_token", (json_int_t)m->kv_bytes_per_token, "kv_bytes",
        (json_int_t)(m->kv_bytes_per_token * context), "positions", m->positions, "rope", rope_json(m), "bos",
        id_or_null(m->bos), "eos", id_or_null(m->eos)));
}

static void print_text(const fl_model_info *m, int64_t context)
{
    char bytes[32];
    printf("model            %s\n", m->path);
    printf("format           %s, weights %s\n", m->format, m->stored_type);
    printf("family           %s\n", m->family);
    printf("parameters       %lld, %s in memory", (long long)m->parameters, cli_bytes(bytes, (double)m->weight_bytes));
    if (m->mapped_bytes) printf(", %s of it mapped", cli_bytes(bytes, (double)m->mapped_bytes));
    putchar('\n');
    printf("layers           %lld of width %lld, feed-forward %lld\n", (long long)m->layers, (long long)m->width,
           (long long)m->ffn);
    printf("heads            %lld of %lld, %lld for keys and values\n", (long long)m->heads, (long long)m->head_dim,
           (long long)m->kv_heads);
    printf("vocabulary       %lld\n", (long long)m->vocab);
    printf("tokenizer        %s\n", m->tokenizer ? m->tokenizer : "none beside the model");
    printf("window           %lld tokens, trained on %lld\n", (long long)m->window, (long long)m->trained_window);
    if (m->rotary) {
        printf("rope scaling     %s", m->rope_scaling);
        if (m->rope_factor != 1) printf(", factor %.6g", m->rope_factor);
        printf("\nrope base        %.10g\n", m->rope_base);
        printf("rope frequency   first pair %.8g, last %.8g: one turn in %.0f tokens\n", m->rope_first_frequency,
               m->rope_last_frequency, 2 * M_PI / m->rope_last_frequency);
        printf("rope magnitude   %.8g\n", m->rope_magnitude);
        if (strcmp(m->passes, "plain")) printf("distances        %s: %s\n", m->passes, m->passes_detail);
    }
    if (strcmp(m->positions, "rotary")) printf("positions        %s\n", m->positions);
    if (strcmp(m->logn, "off")) printf("log-n scaling    %s, L = %lld tokens\n", m->logn, (long long)m->logn_window);
    printf("keys and values  %lld bytes per token, %s for %lld tokens\n", (long long)m->kv_bytes_per_token,
           cli_bytes(bytes, (double)m->kv_bytes_per_token * (double)context), (long long)context);
}

static int run(const cli_call *call)
{
    const info_options *o = call->options;
    cli_work w = {0};
    int status = cli_open_model(&w, call, &o->common);
    fl_model_info m = {.size = sizeof m};
    fl_status s = status == CLI_OK ? fl_model_get_info(w.model, &m) : FL_OK;
    if (status == CLI_OK && s == FL_OK)
        s = fl_model_kv_bytes(w.model, o->common.type_k, o->common.type_v, &m.kv_bytes_per_token);
    if (s != FL_OK) status = cli_failed(s);
    int64_t context = o->common.context ? o->common.context : m.window;
    if (status == CLI_OK && o->common.json) {
        status = print_json(&m, context);
    } else if (status == CLI_OK) {
        print_text(&m, context);
        status = cli_finish_output();
    }
    cli_close(&w);
    return status;
}

const cli_command cli_info = {"info",
                              "show what a model is and what its context costs",
                              NULL,
                              "Show a model's shape, its window, the rotary values in force and the bytes of its "
                              "context (of --ctx-size tokens, else of its window).",
                              sizeof(info_options),
                              groups,
                              run};
