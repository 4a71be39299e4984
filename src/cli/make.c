/* furlong extend and furlong init: model folders made without training. */
#include "cli/commands.h"

typedef struct make_options {
    cli_common common; /* first: see cli/common.h */
    const char *out, *type, *config;
    int64_t to, seed;
} make_options;

#define AT(member) offsetof(make_options, member)

static const cli_flag extend_flags[] = {
    {"to", 0, "N", CLI_INTEGER, AT(to), "0", 0, 0x1p40, NULL, "the window wanted, in tokens; chooses --rope-scale"},
    {"out", 'o', "FOLDER", CLI_TEXT, AT(out), NULL, 0, 0, NULL, "where the model is written"},
    {"type", 0, "TYPE", CLI_TEXT, AT(type), "f32", 0, 0, NULL, "of the written weights: f32, f16, bf16"},
};
static const cli_group extend_group = CLI_GROUP("Extension", extend_flags);

static int print_written(const make_options *o)
{
    if (o->common.json) return cli_print_json(json_pack("{ss}", "out", o->out));
    printf("%s\n", o->out);
    return cli_finish_output();
}

static int extend(const cli_call *call)
{
    make_options o = *(const make_options *)call->options;
    if (!o.out) return cli_misused(call, "name the folder to write with -o FOLDER");
    if (!o.common.rope.scaling && o.common.rope.freq_base == 0 && o.common.rope.scale == 0 &&
        !o.common.rope.longrope_factors)
        return cli_misused(call, "say how to stretch: --rope-scaling NAME --to N, or --rope-freq-base BASE");
    if (o.to) o.common.context = o.to;
    cli_work w = {0};
    int status = cli_open_model(&w, call, &o.common);
    if (status == CLI_OK) {
        fl_status s = fl_model_export(w.model, o.out, o.type);
        status = s == FL_OK ? print_written(&o) : cli_failed(s);
    }
    cli_close(&w);
    return status;
}

static const cli_group *const extend_groups[] = {&cli_group_model, &extend_group, &cli_group_positions,
                                                 &cli_group_output, NULL};
const cli_command cli_extend = {
    "extend",
    "write a model with stretched positions, untrained",
    NULL,
    "The written folder's config carries the new rotary scaling in the keys that Transformers 4 and 5 read.",
    sizeof(make_options),
    extend_groups,
    extend};

static const cli_flag init_flags[] = {
    {"config", 0, "FILE", CLI_TEXT, AT(config), NULL, 0, 0, NULL, "config.json of the architecture"},
    {"out", 'o', "FOLDER", CLI_TEXT, AT(out), NULL, 0, 0, NULL, "where the model is written"},
    {"seed", 's', "N", CLI_INTEGER, AT(seed), "0", 0, 0x1p62, NULL, "of the random weights"},
};
static const cli_group init_group = CLI_GROUP("New model", init_flags);

static int init(const cli_call *call)
{
    const make_options *o = call->options;
    if (!o->config) return cli_misused(call, "name the architecture with --config config.json");
    if (!o->out) return cli_misused(call, "name the folder to write with -o FOLDER");
    fl_status s = fl_model_init(o->config, o->out, (uint64_t)o->seed);
    return s == FL_OK ? print_written(o) : cli_failed(s);
}

static const cli_group *const init_groups[] = {&init_group, &cli_group_output, NULL};
const cli_command cli_init = {"init",
                              "write a new model with random weights, to be trained from scratch",
                              NULL,
                              NULL,
                              sizeof(make_options),
                              init_groups,
                              init};
