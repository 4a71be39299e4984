#include "cli/common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 0x1p40 /* more than any context */

#define AT(member) offsetof(cli_common, member)

static const cli_flag model_flags[] = {
    {"model", 'm', "MODEL", CLI_TEXT, AT(model), NULL, 0, 0, NULL,
     "a Hugging Face folder, a .safetensors file in one, a GGUF file, a llama2.c .bin, or a packed file"},
    {"lora", 0, "PATH", CLI_TEXT, AT(lora), NULL, 0, 0, NULL,
     "add a low-rank adapter to the weights: a folder of PEFT or a GGUF file"},
    {"lora-scaled", 0, "PATH:S", CLI_TEXT, AT(lora_scaled), NULL, 0, 0, NULL, "the same, its effect times S"},
    {"tokenizer", 0, "FILE", CLI_TEXT, AT(tokenizer), NULL, 0, 0, NULL,
     "tokenizer.json, tokenizer.model, a llama2.c tokenizer.bin or a GGUF file, if not the model's own"},
    {"ctx-size", 'c', "N", CLI_INTEGER, AT(context), "0", 0, TOKENS, NULL,
     "most tokens of prompt and answer together; 0: the model's window"},
    {"threads", 't', "N", CLI_INTEGER, AT(threads), "0", 0, 1024, NULL, "threads; 0: every core"},
};
const cli_group cli_group_model = CLI_GROUP("Model", model_flags);

static const cli_flag position_flags[] = {
    {"rope-scaling", 0, "NAME", CLI_TEXT, AT(rope.scaling), NULL, 0, 0,
     "none|linear|pi|ntk|ntk-parts|ntk-linear|dynamic|dynamic-linear|dynamic-yarn|yarn|llama3|longrope|mixed-radix|"
     "power|truncated|self-extend|rerope|leaky-rerope|dual-chunk",
     "stretch the positions by this method instead of the one in the model's file; pi is linear; the last four change "
     "distances and keep the file's frequencies"},
    {"rope-scale", 0, "S", CLI_REAL, AT(rope.scale), NULL, 0, 1e6, NULL,
     "factor S >= 1 of the window; without it, --ctx-size / trained window"},
    {"rope-freq-base", 0, "BASE", CLI_REAL, AT(rope.freq_base), NULL, 0, 1e12, NULL, "base of the rotary frequencies"},
    {"rope-freq-scale", 0, "F", CLI_REAL, AT(rope.freq_scale), NULL, 0, 1, NULL, "1 / S"},
    {"rope-shape", 0, "X", CLI_REAL, AT(rope.shape), NULL, 0, 1e12, NULL,
     "of ntk-linear the first pair divided in full, of mixed-radix and power the exponent, of truncated the longest "
     "period kept; without it, the papers' values"},
    {"longrope-factors", 0, "FILE", CLI_TEXT, AT(rope.longrope_factors), NULL, 0, 0, NULL,
     "JSON of LongRoPE's factors: what config.json calls rope_scaling"},
    {"blockwise", 0, "N", CLI_INTEGER, AT(blockwise), "0", -1, TOKENS, NULL,
     "blockwise causal attention: a token sees its own half of N and the half before it; 0: as the model says (xPos), "
     "-1: off"},
    {"yarn-orig-ctx", 0, "N", CLI_INTEGER, AT(rope.yarn_orig_ctx), NULL, 0, TOKENS, NULL,
     "window the model was trained on before scaling"},
    {"yarn-ext-factor", 0, "F", CLI_REAL, AT(yarn_ext), "-1", -1, 1, NULL,
     "weight of extrapolation, from 0 (every pair is interpolated) to 1; -1: as the model says"},
    {"yarn-attn-factor", 0, "F", CLI_REAL, AT(rope.yarn_attn_factor), NULL, 0, 1e6, NULL,
     "further factor of the attention magnitude"},
    {"yarn-beta-fast", 0, "F", CLI_REAL, AT(rope.yarn_beta_fast), NULL, 0, 1e6, NULL,
     "turns in the window from which on a pair is not scaled"},
    {"yarn-beta-slow", 0, "F", CLI_REAL, AT(rope.yarn_beta_slow), NULL, 0, 1e6, NULL,
     "turns in the window below which a pair is scaled in full"},
    {"grp-attn-n", 0, "G", CLI_INTEGER, AT(passes.group), NULL, 0, TOKENS, NULL,
     "Self-Extend: so many positions become one beyond --grp-attn-w; 1: off"},
    {"grp-attn-w", 0, "W", CLI_INTEGER, AT(passes.group_window), NULL, 1, TOKENS, NULL,
     "Self-Extend: distances below W are exact, a multiple of G; without it, a quarter of the window"},
    {"rerope-window", 0, "W", CLI_INTEGER, AT(passes.rerope_window), NULL, 1, TOKENS, NULL,
     "ReRoPE: distances below W are exact; without it, half of the window"},
    {"rerope-leak", 0, "K", CLI_REAL, AT(passes.rerope_leak), NULL, 1, 1e9, NULL,
     "leaky ReRoPE: beyond, K positions count as one"},
    {"dual-chunk-size", 0, "N", CLI_INTEGER, AT(passes.chunk_size), NULL, 1, TOKENS, NULL,
     "dual chunk attention: the largest position of a query; without it, the window less 1"},
    {"dual-chunk-local", 0, "N", CLI_INTEGER, AT(passes.chunk_local), NULL, 1, TOKENS, NULL,
     "dual chunk attention: the size less the length of a chunk, which without it is 3/4 of the window"},
    {"logn", 0, "WHERE", CLI_TEXT, AT(passes.logn), NULL, 0, 0, "off|beyond|everywhere|length",
     "scale logits by ln(tokens seen) / ln(L): beyond L alone, or everywhere; length: by 1 + 0.1 ln(text / L) beyond "
     "L"},
    {"logn-window", 0, "L", CLI_INTEGER, AT(passes.logn_window), NULL, 2, TOKENS, NULL,
     "L of --logn; without it, the trained window"},
};
const cli_group cli_group_positions = CLI_GROUP("Positions", position_flags);

static const cli_flag reading_flags[] = {
    {"batch-size", 'b', "N", CLI_INTEGER, AT(batch), "512", 1, 1 << 20, NULL, "tokens computed at once while reading"},
    {"overflow", 0, "POLICY", CLI_CHOICE, AT(overflow), "error", 0, 0, "error|extend|stream",
     "a text longer than the context is refused, or read on with the positions as they are, or read with the first "
     "--sinks and the last --window tokens in view and the rest forgotten (StreamingLLM)"},
    {"window", 0, "N", CLI_INTEGER, AT(window), "0", 0, TOKENS, NULL,
     "a token sees only the last N tokens, itself included; 0: as the model says, or what a stream has room for"},
    {"sinks", 0, "N", CLI_INTEGER, AT(sinks), "0", -1, TOKENS, NULL,
     "with --window or a stream: the first N tokens stay visible; in a stream 0 means 4, -1 none"},
};
const cli_group cli_group_reading = CLI_GROUP("Reading", reading_flags);

#define CACHE_TYPES "f32|f16|bf16|q8_0|q4_0"
static const cli_flag cache_flags[] = {
    {"cache-type-k", 0, "TYPE", CLI_TEXT, AT(type_k), "f32", 0, 0, CACHE_TYPES, "how keys are stored"},
    {"ctk", 0, "TYPE", CLI_TEXT, AT(type_k), NULL, 0, 0, CACHE_TYPES, "the same"},
    {"cache-type-v", 0, "TYPE", CLI_TEXT, AT(type_v), "f32", 0, 0, CACHE_TYPES, "how values are stored"},
    {"ctv", 0, "TYPE", CLI_TEXT, AT(type_v), NULL, 0, 0, CACHE_TYPES, "the same"},
};
const cli_group cli_group_cache = CLI_GROUP("Keys and values", cache_flags);

static const cli_flag sampling_flags[] = {
    {"temp", 0, "T", CLI_REAL, AT(temperature), "0.8", 0, 1e6, NULL, "temperature; 0: always the most likely token"},
    {"top-k", 0, "N", CLI_INTEGER, AT(top_k), "40", 0, INT32_MAX, NULL, "keep the N most likely tokens; 0: all"},
    {"top-p", 0, "P", CLI_REAL, AT(top_p), "0.95", 0, 1, NULL,
     "keep the most likely tokens that together reach P; 1: all"},
    {"min-p", 0, "P", CLI_REAL, AT(min_p), "0.05", 0, 1, NULL,
     "drop tokens less likely than P times the most likely one; 0: none"},
    {"repeat-penalty", 0, "F", CLI_REAL, AT(repeat_penalty), "1", 1e-3, 1e3, NULL,
     "make tokens less likely that occurred lately; 1: off"},
    {"repeat-last-n", 0, "N", CLI_INTEGER, AT(repeat_last), "64", -1, TOKENS, NULL,
     "how many tokens are lately; -1: all of them"},
    {"seed", 's', "N", CLI_INTEGER, AT(seed), "0", 0, (double)INT64_MAX, NULL,
     "the same seed, flags and files give the same text"},
};
const cli_group cli_group_sampling = CLI_GROUP("Sampling", sampling_flags);

static const cli_flag output_flags[] = {
    {"json", 0, NULL, CLI_SWITCH, AT(json), NULL, 0, 0, NULL, "print one JSON object"},
    {"verbose", 'v', NULL, CLI_SWITCH, AT(verbose), NULL, 0, 0, NULL, "say on stderr what is done and how fast"},
};
const cli_group cli_group_output = CLI_GROUP("Output", output_flags);

int cli_misused(const cli_call *call, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cli_error("%s", text);
    cli_note("try: furlong %s --help", call->command->name);
    return CLI_USAGE;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

int cli_open_engine(cli_work *w, const cli_common *o)
{
    if (w->engine) return CLI_OK;
    fl_engine_options options = FL_ENGINE_OPTIONS_INIT;
    const char *cpu = getenv("FURLONG_CPU");
    if (cpu && *cpu) options.cpu = cpu;
    options.threads = (int)o->threads;
    options.log = cli_log;
    options.log_level = o->verbose ? FL_LOG_DEBUG : FL_LOG_WARN;
    fl_status s = fl_engine_create(&w->engine, &options);
    if (s != FL_OK) return cli_failed(s);
    if (o->verbose) cli_note("%d threads, %s kernels", fl_engine_threads(w->engine), fl_engine_cpu(w->engine));
    return CLI_OK;
}

fl_rope_options cli_rope_options(const cli_common *o)
{
    fl_rope_options rope = o->rope;
    if (o->yarn_ext >= 0) rope.yarn_ext_factor = o->yarn_ext > 0 ? o->yarn_ext : FL_YARN_EXT_NONE;
    return rope;
}

void cli_model_options(fl_model_options *out, const cli_common *o)
{
    *out = (fl_model_options)FL_MODEL_OPTIONS_INIT;
    out->rope = cli_rope_options(o);
    out->blockwise = o->blockwise;
    out->passes = o->passes;
    out->context = o->context;
    out->progress = cli_progress;
}

/* --lora and --lora-scaled; path keeps what options point to. */
static int adapter_options(fl_model_options *options, char *path, size_t capacity, const cli_call *call,
                           const cli_common *o)
{
    if (o->lora && o->lora_scaled) return cli_misused(call, "give --lora or --lora-scaled, not both");
    options->lora = o->lora;
    if (!o->lora_scaled) return CLI_OK;
    const char *colon = strrchr(o->lora_scaled, ':');
    char *end = NULL;
    double scale = colon ? strtod(colon + 1, &end) : 0;
    if (!colon || end == colon + 1 || *end || (size_t)(colon - o->lora_scaled) >= capacity)
        return cli_misused(call, "--lora-scaled %s: give PATH:SCALE, as in adapter:0.5", o->lora_scaled);
    snprintf(path, capacity, "%.*s", (int)(colon - o->lora_scaled), o->lora_scaled);
    options->lora = path;
    options->lora_scale = scale;
    return CLI_OK;
}

int cli_open_model(cli_work *w, const cli_call *call, const cli_common *o)
{
    if (w->model) return CLI_OK;
    if (!o->model) return cli_misused(call, "name a model with -m MODEL");
    int status = cli_open_engine(w, o);
    if (status != CLI_OK) return status;
    fl_model_options options;
    char adapter[4096];
    cli_model_options(&options, o);
    status = adapter_options(&options, adapter, sizeof adapter, call, o);
    if (status != CLI_OK) return status;
    fl_status s = fl_model_open(&w->model, w->engine, o->model, &options);
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

int cli_open_tokenizer(cli_work *w, const cli_call *call, const cli_common *o)
{
    int status = cli_open_model(w, call, o);
    if (status != CLI_OK || w->tokenizer) return status;
    fl_status s = fl_tokenizer_load(&w->tokenizer, o->tokenizer, w->model);
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

void cli_session_options(fl_session_options *out, const cli_common *o)
{
    *out = (fl_session_options)FL_SESSION_OPTIONS_INIT;
    out->context = o->context;
    out->chunk = o->batch;
    out->overflow = (fl_overflow)o->overflow;
    out->sliding_window = o->window;
    out->sinks = o->sinks;
    out->type_k = o->type_k;
    out->type_v = o->type_v;
    out->progress = cli_progress;
}

const char *cli_method_name(const cli_common *o, const fl_model_info *info)
{
    if (o->overflow == FL_OVERFLOW_STREAM) return "stream";
    return strcmp(info->passes, "plain") ? info->passes : info->rope_scaling;
}

int cli_open_session(cli_work *w, const cli_call *call, const cli_common *o)
{
    int status = cli_open_model(w, call, o);
    if (status != CLI_OK || w->session) return status;
    fl_session_options options;
    cli_session_options(&options, o);
    fl_status s = fl_session_create(&w->session, w->model, &options);
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

void cli_sampler_options(fl_sampler_options *out, const cli_common *o)
{
    *out = (fl_sampler_options){.size = sizeof *out,
                                .temperature = o->temperature,
                                .top_k = (int)o->top_k,
                                .top_p = o->top_p,
                                .min_p = o->min_p,
                                .repeat_penalty = o->repeat_penalty,
                                .repeat_last = o->repeat_last,
                                .seed = (uint64_t)o->seed};
}

void cli_close(cli_work *w)
{
    fl_session_destroy(w->session);
    fl_tokenizer_close(w->tokenizer);
    fl_model_close(w->model);
    fl_engine_destroy(w->engine);
    *w = (cli_work){0};
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

int cli_read_file(const char *path, char **text, size_t *length)
{
    bool standard = !strcmp(path, "-");
    FILE *file = standard ? stdin : fopen(path, "rbe");
    const char *name = standard ? "stdin" : path;
    if (!file) {
        cli_error("%s: cannot open: %s", name, strerror(errno));
        return CLI_ERROR;
    }
    size_t size = 0, capacity = 1 << 16;
    char *bytes = malloc(capacity);
    while (bytes) {
        size += fread(bytes + size, 1, capacity - 1 - size, file);
        if (size + 1 < capacity) break;
        char *more = realloc(bytes, capacity *= 2);
        if (!more) free(bytes);
        bytes = more;
    }
    bool failed = ferror(file);
    int why = errno;
    if (!standard) fclose(file);
    if (!bytes || failed) {
        cli_error("%s: cannot read: %s", name, bytes ? strerror(why) : "out of memory");
        free(bytes);
        return CLI_ERROR;
    }
    bytes[size] = 0;
    *text = bytes;
    *length = size;
    return CLI_OK;
}

int cli_encode(const fl_tokenizer *t, const char *text, size_t length, bool add_special, bool parse_special,
               int32_t **ids, int64_t *count)
{
    /* A token is at least a byte but for what is added around the text; one call is enough but for odd tokenizers. */
    int64_t capacity = (int64_t)length + 16;
    for (;;) {
        int32_t *made = malloc((size_t)capacity * sizeof *made);
        if (!made) {
            cli_error("out of memory");
            return CLI_ERROR;
        }
        fl_status s = fl_tokenize(t, text, length, add_special, parse_special, made, capacity, count);
        if (s == FL_OK && *count <= capacity) {
            *ids = made;
            return CLI_OK;
        }
        free(made);
        if (s != FL_OK) return cli_failed(s);
        capacity = *count;
    }
}
