/* furlong plan: what a longer window will take and reach, before anything is trained. */
#include "cli/commands.h"

typedef struct plan_options {
    cli_common common; /* first: see cli/common.h */
    int64_t to, head_dim, trained, tune_length;
    double base;
} plan_options;

#define AT(member) offsetof(plan_options, member)

static const cli_flag plan_flags[] = {
    {"to", 0, "N", CLI_INTEGER, AT(to), "0", 0, 0x1p40, NULL, "the window wanted, in tokens"},
    {"tune-length", 0, "N", CLI_INTEGER, AT(tune_length), "0", 0, 0x1p40, NULL,
     "tokens per sequence of the fine-tune; 0: the trained window"},
    {"head-dim", 0, "D", CLI_INTEGER, AT(head_dim), "0", 0, 512, NULL, "without a model: rotated components of a head"},
    {"window", 0, "T", CLI_INTEGER, AT(trained), "0", 0, 0x1p40, NULL, "without a model: the trained window, tokens"},
    {"base", 0, "B", CLI_REAL, AT(base), "10000", 1, 1e15, NULL, "without a model: the rotary base"},
};
static const cli_group plan_group = CLI_GROUP("Plan", plan_flags);

static const char *basis_name(fl_plan_basis basis)
{
    static const char *const names[] = {[FL_PLAN_LAW] = "law",
                                        [FL_PLAN_CONSTRUCTION] = "by construction",
                                        [FL_PLAN_RULE] = "rule of thumb",
                                        [FL_PLAN_NONE] = "none"};
    return names[basis];
}

static int print_json(const fl_plan *p)
{
    json_t *methods = json_array();
    for (int i = 0; methods && i < p->methods; i++) {
        const fl_plan_method *m = &p->method[i];
        json_array_append_new(methods, json_pack("{ss ss sb sf sf sf sI ss}", "name", m->name, "basis",
                                                 basis_name(m->basis), "tuned", m->tuned, "predicted_window", m->window,
                                                 "rope_scale", m->scale, "rope_freq_base", m->base, "memory_bytes",
                                                 (json_int_t)p->read_bytes, "note", m->note));
    }
    return cli_print_json(json_pack(
        "{sI sI si sf si sf sf sf sf sf sf sI sf sb sI sI sI sI so}", "target", (json_int_t)p->target, "trained_window",
        (json_int_t)p->trained_window, "rotary_dim", p->rotary_dim, "critical_pairs", p->critical_pairs,
        "critical_dimension", p->critical_dimension, "beta0", p->beta0, "beta1", p->beta1, "beta2", p->beta2, "beta3",
        p->beta3, "base_for_target", p->base_for_target, "lowest_base", p->lowest_base, "first_negative",
        (json_int_t)p->first_negative, "interpolation_bound", p->interpolation_bound, "degenerate", p->degenerate,
        "weight_bytes", (json_int_t)p->weight_bytes, "kv_bytes", (json_int_t)p->kv_bytes, "memory_bytes",
        (json_int_t)p->read_bytes, "training_bytes", (json_int_t)p->train_bytes, "methods", methods));
}

static void print_memory(const fl_plan *p)
{
    char weights[32], kv[32], reading[32], training[32];
    printf("\nmemory at %lld tokens: weights %s, keys and values %s, in all while reading %s; training %s\n",
           (long long)p->target, cli_bytes(weights, (double)p->weight_bytes), cli_bytes(kv, (double)p->kv_bytes),
           cli_bytes(reading, (double)p->read_bytes), cli_bytes(training, (double)p->train_bytes));
}

static int print_text(const plan_options *o, const fl_plan *p)
{
    printf("trained window %lld tokens, target %lld, %d rotated components\n", (long long)p->trained_window,
           (long long)p->target, p->rotary_dim);
    printf("critical dimension %d (%.4g pairs turn fully inside the window)\n", p->critical_dimension,
           p->critical_pairs);
    printf(
        "bases: beta0 %.6g, beta1 %.6g, beta2 %.6g, beta3 %.6g; for the target by its bound %.6g, by similarity %.6g\n",
        p->beta0, p->beta1, p->beta2, p->beta3, p->base_for_target, p->lowest_base);
    printf("the present base tells near from far up to %lld tokens\n", (long long)p->first_negative);
    if (p->degenerate)
        printf("note: with so few pairs the rounding of the critical dimension decides; trust the law to a factor of "
               "two\n");
    printf("\n%-9s  %12s  %-16s  %-7s  %s\n", "method", "reaches", "basis", "tuning", "flags");
    for (int i = 0; i < p->methods; i++) {
        const fl_plan_method *m = &p->method[i];
        char flags[96] = "";
        if (m->base > 0)
            snprintf(flags, sizeof flags, "--rope-freq-base %.6g", m->base);
        else if (m->scale > 0)
            snprintf(flags, sizeof flags, "--rope-scaling %s --rope-scale %.6g", m->name, m->scale);
        printf("%-9s  %12.0f  %-16s  %-7s  %s\n", m->name, m->window, basis_name(m->basis), m->tuned ? "yes" : "no",
               flags);
    }
    printf("\n");
    for (int i = 0; i < p->methods; i++)
        printf("%-9s  %s\n", p->method[i].name, p->method[i].note);
    if (p->read_bytes) print_memory(p);
    if (o->common.model)
        printf(
            "\nto begin: furlong train -m %s --rope-scaling linear --rope-scale %.6g --length %lld --steps 200 --data "
            "TEXT -o OUT\n",
            o->common.model, (double)p->target / (double)p->trained_window, (long long)p->target);
    return cli_finish_output();
}

static int run(const cli_call *call)
{
    const plan_options *o = call->options;
    if (!o->to) return cli_misused(call, "say which window is wanted with --to N");
    if (!o->common.model && (!o->head_dim || !o->trained))
        return cli_misused(call, "name a model with -m MODEL, or give --head-dim D --window T --base B");
    cli_work w = {0};
    int status = o->common.model ? cli_open_model(&w, call, &o->common) : CLI_OK;
    if (status == CLI_OK) {
        fl_plan_options options = FL_PLAN_OPTIONS_INIT;
        options.model = w.model;
        options.head_dim = (int)o->head_dim;
        options.window = o->trained;
        options.base = o->base;
        options.to = o->to;
        options.tune_length = o->tune_length;
        fl_plan plan = {.size = sizeof plan};
        fl_status s = fl_plan_make(&plan, &options);
        status = s != FL_OK ? cli_failed(s) : o->common.json ? print_json(&plan) : print_text(o, &plan);
    }
    cli_close(&w);
    return status;
}

static const cli_group *const plan_groups[] = {&cli_group_model, &plan_group, &cli_group_output, NULL};
const cli_command cli_plan = {"plan",
                              "predict which window each method reaches, and the memory it takes",
                              NULL,
                              "The windows follow from the scaling laws of RoPE extrapolation and from how each method "
                              "moves positions; each says "
                              "what it rests on. Memory is counted by running the model's own code with shapes only.",
                              sizeof(plan_options),
                              plan_groups,
                              run};
