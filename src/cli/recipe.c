#include "cli/recipe.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/output.h"

#define PI_PAPER "Chen et al. 2023 (Position Interpolation)"
#define YARN_PAPER "Peng et al. 2023 (YaRN)"
#define LAW_PAPER "Liu et al. 2024 (scaling laws)"
#define LONGLORA_PAPER "Chen et al. 2023 (LongLoRA)"
#define LLAMA2_PAPER "Touvron et al. 2023 (Llama 2)"

typedef struct setting {
    const char *flag, *value;
} setting;

/* Scaled by the model: see rates and batches below. */
typedef struct recipe {
    const char *name, *paper;
    double lr;         /* of a model of 1.4e9 parameters or more */
    int64_t sequences; /* of each step of the 7B model */
    int64_t tokens;    /* of each such sequence */
    bool stretched;    /* sequences are of the target window, else of the trained one */
    const setting fixed[16];
} recipe;

static const recipe recipes[] = {
    {"pi",
     PI_PAPER,
     2e-5,
     64,
     8192,
     true,
     {{"rope-scaling", "linear"},
      {"steps", "1000"},
      {"schedule", "constant"},
      {"warmup", "20"},
      {"beta1", "0.9"},
      {"beta2", "0.95"},
      {"weight-decay", "0"}}},
    {"yarn",
     YARN_PAPER,
     2e-5,
     64,
     65536,
     true,
     {{"rope-scaling", "yarn"},
      {"steps", "400"},
      {"schedule", "linear"},
      {"warmup", "20"},
      {"beta1", "0.9"},
      {"beta2", "0.95"},
      {"weight-decay", "0"},
      {"bos", "on"},
      {"eos", "on"}}},
    {"scaling-law",
     LAW_PAPER,
     2e-5,
     128,
     4096,
     false,
     {{"steps", "1000"},
      {"schedule", "constant"},
      {"warmup", "0"},
      {"beta1", "0.9"},
      {"beta2", "0.95"},
      {"weight-decay", "0"}}},
    {"longlora",
     LONGLORA_PAPER,
     2e-5,
     64,
     8192,
     true,
     {{"rope-scaling", "linear"},
      {"steps", "1000"},
      {"schedule", "constant"},
      {"warmup", "20"},
      {"beta1", "0.9"},
      {"beta2", "0.95"},
      {"weight-decay", "0"},
      {"lora-rank", "8"},
      {"lora-alpha", "16"},
      {"trainable", "embed,norm"},
      {"merge", "true"},
      {"attention", "shifted"}}},
    {"pretrain",
     LLAMA2_PAPER,
     3e-4,
     1024,
     4096,
     false,
     {{"schedule", "cosine"},
      {"lr-end", "0.1"},
      {"beta1", "0.9"},
      {"beta2", "0.95"},
      {"eps", "1e-5"},
      {"weight-decay", "0.1"},
      {"clip", "1"}}},
};

static int give(const cli_call *call, const char *flag, const char *value, const char *note)
{
    return cli_set(call, cli_flag_find(call->command, flag), value, CLI_FROM_RECIPE, note);
}

static int give_integer(const cli_call *call, const char *flag, int64_t value, const char *note)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return give(call, flag, text, note);
}

static int give_real(const cli_call *call, const char *flag, double value, const char *note)
{
    char text[32];
    snprintf(text, sizeof text, "%.3g", value);
    return give(call, flag, text, note);
}

/* Small models train at higher rates: the paper's rate times that of Kaplan et al. 2020, equation D.1, over the 3e-4
 * that large ones are trained with. */
static int give_rate(const cli_call *call, const recipe *r, double parameters)
{
    char note[256];
    double factor = fmax(1, (0.003239 - 0.0001395 * log(parameters)) / 3e-4);
    if (factor > 1)
        snprintf(note, sizeof note, "%s: %g, times %.2g for %.3g parameters (Kaplan et al. 2020, D.1)", r->paper, r->lr,
                 factor, parameters);
    else
        snprintf(note, sizeof note, "%s", r->paper);
    return give_real(call, "lr", r->lr * factor, note);
}

/* Tokens of a step in proportion to parameters, from those of 7e9; 8192 at least, and one sequence. */
static int give_batch(const cli_call *call, const recipe *r, double parameters, int64_t length, int64_t *batch)
{
    char note[256];
    double share = fmin(1, parameters / 7e9), tokens = fmax(8192, share * (double)(r->sequences * r->tokens));
    *batch = (int64_t)fmax(1, floor(tokens / (double)length + 0.5));
    snprintf(note, sizeof note, "%s: %" PRId64 " x %" PRId64 " tokens at 7e9 parameters, in proportion, at least 8192",
             r->paper, r->sequences, r->tokens);
    return give_integer(call, "batch", *batch, note);
}

/* A text of twenty tokens per parameter, read once. */
static int give_pretraining(const cli_call *call, double parameters, int64_t length, int64_t batch)
{
    char note[128];
    int64_t steps = (int64_t)fmax(1, ceil(20 * parameters / (double)(length * batch)));
    int status = give_integer(call, "steps", steps, "20 tokens per parameter (Hoffmann et al. 2022)");
    if (status != CLI_OK) return status;
    snprintf(note, sizeof note, LLAMA2_PAPER ": 2000; a fiftieth of the steps if that is less");
    return give_integer(call, "warmup", steps / 50 < 2000 ? steps / 50 : 2000, note);
}

static int give_positions(const cli_call *call, const recipe *r, const cli_recipe_facts *f)
{
    bool law = !strcmp(r->name, "scaling-law");
    if (!strcmp(r->name, "pretrain")) return CLI_OK;
    if (!f->to) {
        cli_error("--recipe %s: name the window wanted with --to N", r->name);
        return CLI_USAGE;
    }
    if (f->to <= f->trained_window) {
        cli_error("--recipe %s --to %" PRId64 ": the model's trained window is %" PRId64 " already", r->name, f->to,
                  f->trained_window);
        return CLI_USAGE;
    }
    if (law && f->base <= 0) {
        cli_error("--recipe scaling-law --to %" PRId64 ": the law gives no base below 1e9; choose --rope-freq-base",
                  f->to);
        return CLI_ERROR;
    }
    if (law)
        return give_integer(call, "rope-freq-base", (int64_t)ceil(f->base),
                            LAW_PAPER ": the least base whose bound is --to");
    if (strcmp(r->name, "longlora")) return CLI_OK;
    double factor = ceil((double)f->to / (double)f->trained_window);
    return give_real(call, "rope-scale", factor, LONGLORA_PAPER ": --to over the trained window, rounded up");
}

int cli_apply_recipe(const cli_call *call, const char *name, const cli_recipe_facts *f)
{
    const recipe *r = recipes;
    while (strcmp(r->name, name))
        r++; /* the flag's choices are these names */
    int status = give_positions(call, r, f);
    for (const setting *s = r->fixed; status == CLI_OK && s->flag; s++)
        status = give(call, s->flag, s->value, r->paper);
    int64_t length = f->length ? f->length : r->stretched ? f->to : f->trained_window, batch = 0;
    double parameters = (double)f->parameters;
    if (status == CLI_OK)
        status = give_integer(call, "length", length,
                              r->stretched ? "--to: sequences of the new window" : "the trained window");
    if (status == CLI_OK) status = give_rate(call, r, parameters);
    if (status == CLI_OK) status = give_batch(call, r, parameters, length, &batch);
    if (status == CLI_OK && !strcmp(name, "pretrain"))
        status = give_pretraining(call, parameters, length, f->batch ? f->batch : batch);
    return status;
}
