#include "cli/plan_output.h"

#include <stdlib.h>
#include <string.h>

#define STEPS 200 /* what Position Interpolation needs; the others no more */
#define COMMANDS 3

static const char *basis_name(fl_plan_basis basis)
{
    static const char *const names[] = {[FL_PLAN_LAW] = "law",
                                        [FL_PLAN_CONSTRUCTION] = "by construction",
                                        [FL_PLAN_RULE] = "rule of thumb",
                                        [FL_PLAN_NONE] = "none"};
    return names[basis];
}

const char *cli_method_flags(char text[128], const fl_plan_method *m)
{
    *text = 0;
    if (m->stream)
        snprintf(text, 128, "--overflow stream");
    else if (m->base > 0)
        snprintf(text, 128, "--rope-freq-base %.6g", m->base);
    else if (m->scale > 0)
        snprintf(text, 128, "--rope-scaling %s --rope-scale %.6g", m->name, m->scale);
    return text;
}

/* The recipe of furlong train that tunes a method as its paper did. */
static const char *recipe_of(const char *method)
{
    static const char *const pairs[][2] = {{"linear", "pi"}, {"yarn", "yarn"}, {"base", "scaling-law"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!strcmp(pairs[i][0], method)) return pairs[i][1];
    return NULL;
}

/* Exact lines: write the model untrained, or tune it, and look at what came out. */
static void commands(const fl_plan *p, const fl_plan_method *m, const char *model, char line[COMMANDS][1024])
{
    char flags[128], lengths[128];
    cli_method_flags(flags, m);
    long long to = p->target, trained = p->trained_window;
    int n = snprintf(lengths, sizeof lengths, "%lld", trained);
    for (long long length = 2 * trained; length < to && n < 100; length *= 2)
        n += snprintf(lengths + n, sizeof lengths - (size_t)n, ",%lld", length);
    if (to > trained) snprintf(lengths + n, sizeof lengths - (size_t)n, ",%lld", to);
    bool changed = *flags;
    const char *recipe = recipe_of(m->name);
    snprintf(line[0], 1024, "furlong extend -m %s %s -o %s-%lld", model, flags, m->name, to);
    if (recipe)
        snprintf(line[1], 1024, "furlong train -m %s --recipe %s --to %lld --data TEXT -o %s-%lld-tuned", model, recipe,
                 to, m->name, to);
    else
        snprintf(line[1], 1024,
                 "furlong train -m %s%s%s --length %lld --batch 1 --steps %d --data TEXT -o %s-%lld-tuned", model,
                 changed ? " " : "", flags, (long long)m->tune_length, STEPS, m->name, to);
    if (m->passes) {
        snprintf(line[0], 1024, "furlong generate -m %s %s -f PROMPT", model, flags);
        if (!m->stream) snprintf(line[0], 1024, "furlong generate -m %s %s -c %lld -f PROMPT", model, flags, to);
        snprintf(line[1], 1024, "furlong eval passkey -m %s %s --length %lld", model, flags, to);
        snprintf(line[2], 1024, "furlong eval ppl -m %s %s -f TEXT --protocol matched --lengths %s", model, flags,
                 lengths);
        return;
    }
    snprintf(line[2], 1024, "furlong eval ppl -m %s-%lld-tuned -f TEXT --protocol matched --lengths %s", m->name, to,
             lengths);
    if (!changed)
        snprintf(line[0], 1024, "furlong eval ppl -m %s -f TEXT --protocol matched --lengths %s", model, lengths);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *method_json(const fl_plan *p, const fl_plan_method *m, const char *model)
{
    char flags[128], line[COMMANDS][1024];
    json_t *list = json_array();
    commands(p, m, model, line);
    for (int i = 0; list && i < COMMANDS; i++)
        json_array_append_new(list, cli_json_text(line[i], strlen(line[i])));
    return json_pack("{ss ss sb sb sb sf sf sf sf sI sf sf sI sI sI sf sf ss so ss}", "name", m->name, "basis",
                     basis_name(m->basis), "tuned", m->tuned, "degenerate", m->degenerate, "passes", m->passes,
                     "predicted_window", m->window, "rope_scale", m->scale, "rope_freq_base", m->base, "change",
                     m->change, "memory_bytes", (json_int_t)m->memory_bytes, "read_seconds", m->read_seconds,
                     "token_seconds", m->token_seconds, "tune_length", (json_int_t)m->tune_length, "training_bytes",
                     (json_int_t)m->train_bytes, "training_recompute_bytes", (json_int_t)m->train_recompute_bytes,
                     "training_step_seconds", m->train_seconds, "training_recompute_step_seconds",
                     m->train_recompute_seconds, "flags", cli_method_flags(flags, m), "commands", list, "note",
                     m->note);
}

int cli_plan_json(const fl_plan *p, const char *model)
{
    json_t *methods = json_array(), *caches = json_object(), *smallest = json_null();
    if (p->smallest >= 0) smallest = json_string(p->method[p->smallest].name);
    for (int i = 0; methods && i < p->methods; i++)
        json_array_append_new(methods, method_json(p, &p->method[i], model ? model : "MODEL"));
    for (int i = 0; caches && i < FL_PLAN_CACHES; i++)
        if (p->cache[i].bytes) json_object_set_new(caches, p->cache[i].type, json_integer(p->cache[i].bytes));
    json_t *o =
        json_pack("{sI sI sI si sf si sf sf sf sf sf sf sI sf sb}", "target", (json_int_t)p->target, "trained_window",
                  (json_int_t)p->trained_window, "tune_length", (json_int_t)p->tune_length, "rotary_dim", p->rotary_dim,
                  "critical_pairs", p->critical_pairs, "critical_dimension", p->critical_dimension, "beta0", p->beta0,
                  "beta1", p->beta1, "beta2", p->beta2, "beta3", p->beta3, "base_for_target", p->base_for_target,
                  "lowest_base", p->lowest_base, "first_negative", (json_int_t)p->first_negative, "interpolation_bound",
                  p->interpolation_bound, "degenerate", p->degenerate);
    json_t *m = json_pack(
        "{sI sI so sI sI sI sI sf sf sI sI sf sf so so}", "weight_bytes", (json_int_t)p->weight_bytes, "kv_bytes",
        (json_int_t)p->kv_bytes, "kv_bytes_by_type", caches, "scratch_bytes", (json_int_t)p->scratch_bytes,
        "memory_bytes", (json_int_t)p->read_bytes, "training_bytes", (json_int_t)p->train_bytes,
        "training_recompute_bytes", (json_int_t)p->train_recompute_bytes, "training_step_seconds", p->train_seconds,
        "training_recompute_step_seconds", p->train_recompute_seconds, "lora_bytes", (json_int_t)p->lora_bytes,
        "lora_recompute_bytes", (json_int_t)p->lora_recompute_bytes, "lora_step_seconds", p->lora_seconds,
        "lora_recompute_step_seconds", p->lora_recompute_seconds, "smallest", smallest, "methods", methods);
    if (o && m) json_object_update(o, m);
    json_decref(m);
    return cli_print_json(o);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static const char *seconds_text(char text[32], double s)
{
    if (s <= 0)
        snprintf(text, 32, "-");
    else if (s < 0.1)
        snprintf(text, 32, "%.2g ms", 1000 * s);
    else if (s < 120)
        snprintf(text, 32, "%.3g s", s);
    else if (s < 7200)
        snprintf(text, 32, "%.3g min", s / 60);
    else
        snprintf(text, 32, "%.3g h", s / 3600);
    return text;
}

static void print_geometry(const fl_plan *p)
{
    printf("trained window %lld tokens, target %lld, %d rotated components, tuning on %lld\n",
           (long long)p->trained_window, (long long)p->target, p->rotary_dim, (long long)p->tune_length);
    printf("critical dimension %d (%.4g pairs turn fully inside the window)\n", p->critical_dimension,
           p->critical_pairs);
    printf(
        "bases: beta0 %.6g, beta1 %.6g, beta2 %.6g, beta3 %.6g; for the target by its bound %.6g, by similarity %.6g\n",
        p->beta0, p->beta1, p->beta2, p->beta3, p->base_for_target, p->lowest_base);
    printf("the present base tells near from far up to %lld tokens\n", (long long)p->first_negative);
    if (p->degenerate)
        printf("the law degenerates at this head size: rounding its critical dimension decides; trust it to a factor "
               "of two at best\n");
}

static void print_methods(const fl_plan *p)
{
    bool counted = p->read_bytes > 0, timed = counted && p->method[0].read_seconds > 0;
    printf("\n%-14s  %10s  %-15s  %-6s  %6s", "method", "reaches", "basis", "tuning", "change");
    if (counted) printf("  %10s", "memory");
    if (timed) printf("  %9s  %9s", "reading", "per token");
    if (counted) printf("  %10s", "training");
    if (timed) printf("  %9s", "a step");
    printf("  flags\n");
    for (int i = 0; i < p->methods; i++) {
        const fl_plan_method *m = &p->method[i];
        char flags[128], bytes[32], seconds[32];
        printf("%-14s  %10.0f  %-15s  %-6s  %6.3g", m->name, m->window,
               m->degenerate ? "law, degenerate" : basis_name(m->basis), m->tuned ? "yes" : "no", m->change);
        if (counted) printf("  %10s", cli_bytes(bytes, (double)m->memory_bytes));
        if (timed) printf("  %9s", seconds_text(seconds, m->read_seconds));
        if (timed) printf("  %9s", seconds_text(seconds, m->token_seconds));
        if (counted) printf("  %10s", cli_bytes(bytes, (double)m->train_bytes));
        if (timed) printf("  %9s", seconds_text(seconds, m->train_seconds));
        printf("  %s\n", cli_method_flags(flags, m));
    }
    printf("\n");
    for (int i = 0; i < p->methods; i++)
        printf("%-14s  %s\n", p->method[i].name, p->method[i].note);
}

static void print_memory(const fl_plan *p)
{
    char a[32], b[32], c[32], d[32];
    printf("\nreading %lld tokens: %s resident: weights %s, keys and values %s, activations %s\n", (long long)p->target,
           cli_bytes(a, (double)p->read_bytes), cli_bytes(b, (double)p->weight_bytes),
           cli_bytes(c, (double)p->kv_bytes), cli_bytes(d, (double)p->scratch_bytes));
    printf("keys and values by type:");
    for (int i = 0; i < FL_PLAN_CACHES; i++)
        printf("%s %s %s", i ? "," : "", p->cache[i].type,
               p->cache[i].bytes ? cli_bytes(a, (double)p->cache[i].bytes) : "does not fit the heads");
    printf("\n");
    if (!p->lora_bytes) return;
    printf("adapters on sequences of %lld (furlong train --recipe longlora --to %lld): %s, with --recompute %s",
           (long long)p->target, (long long)p->target, cli_bytes(a, (double)p->lora_bytes),
           cli_bytes(b, (double)p->lora_recompute_bytes));
    if (p->lora_seconds > 0)
        printf("; a step %s, with --recompute %s", seconds_text(c, p->lora_seconds),
               seconds_text(d, p->lora_recompute_seconds));
    printf("\n");
}

/* The method worth planning for first, with what it costs and what to type. */
static void print_smallest(const fl_plan *p, const char *model)
{
    char line[COMMANDS][1024], a[32], b[32], c[32], d[32];
    const fl_plan_method *m = &p->method[p->smallest];
    printf("\nthe smallest change that reaches %lld: %s", (long long)p->target, m->name);
    if (m->train_bytes)
        printf("; training it on sequences of %lld takes %s, with --recompute %s", (long long)m->tune_length,
               cli_bytes(a, (double)m->train_bytes), cli_bytes(b, (double)m->train_recompute_bytes));
    if (m->train_seconds > 0)
        printf("; a step %s, with --recompute %s", seconds_text(c, m->train_seconds),
               seconds_text(d, m->train_recompute_seconds));
    printf("\n");
    commands(p, m, model ? model : "MODEL", line);
    for (int i = 0; i < COMMANDS; i++)
        printf("  %s\n", line[i]);
}

int cli_plan_text(const fl_plan *p, const char *model)
{
    print_geometry(p);
    print_methods(p);
    if (p->read_bytes) print_memory(p);
    if (p->smallest < 0)
        printf("\nnothing here is sure to reach %lld\n", (long long)p->target);
    else
        print_smallest(p, model);
    return cli_finish_output();
}
