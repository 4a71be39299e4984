/* furlong train: fine-tune on texts and write a Hugging Face folder. */
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/calibrate.h"
#include "cli/documents.h"
#include "cli/interrupt.h"
#include "cli/overlap.h"
#include "cli/recipe.h"
#include "cli/settings.h"
#include "file/hf_config.h"
#include "model/lora_positions.h"

typedef struct train_options {
    cli_common common; /* first: see cli/common.h */
    cli_texts data;
    cli_data reading;
    int bos, eos, packing;
    const char *recipe, *config;
    int64_t to;
    const char *out, *state, *log, *type, *cache, *tensorboard, *lora_targets, *trainable, *calibration;
    int positions;
    int64_t position_range, length, batch, accumulate, steps, warmup, save_every, seed, lora_rank, memory_limit, group;
    double lora_alpha, lr, lr_end, beta1, beta2, eps, weight_decay, clip;
    int schedule, attention, store;
    bool recompute, no_recompute, resume, merge, no_time;
    cli_texts eval_files;
    bool no_overlap;
    cli_integers eval_lengths;
    int eval_protocol;
    int64_t eval_every, eval_score, eval_blocks, eval_tokens;
} train_options;

#define AT(member) offsetof(train_options, member)
#define MANY 0x1p40

#define MARKS "auto|on|off"
static const cli_flag data_flags[] = {
    {"data", 'f', "FILE", CLI_TEXTS, AT(data), NULL, 0, 0, NULL,
     "a text, JSON lines, either compressed (.zst), or a folder of such files"},
    CLI_DATA_FLAGS(AT(reading)),
    {"bos", 0, "WHEN", CLI_CHOICE, AT(bos), "auto", 0, 0, MARKS,
     "BOS before each document; auto: if the tokenizer puts it there"},
    {"eos", 0, "WHEN", CLI_CHOICE, AT(eos), "auto", 0, 0, MARKS, "EOS after each document, likewise"},
    {"packing", 0, "NAME", CLI_CHOICE, AT(packing), "join", 0, 0, "join|cut|single",
     "documents in one sequence: read as one stream, the same with attention cut between them, or never two in one"},
    {"cache", 0, "FOLDER", CLI_TEXT, AT(cache), NULL, 0, 0, NULL,
     "tokenise once and keep the ids here; without it they are kept in memory"},
};
static const cli_group data_group = CLI_GROUP("Data", data_flags);

static const cli_flag train_flags[] = {
    {"recipe", 0, "NAME", CLI_TEXT, AT(recipe), NULL, 0, 0, CLI_RECIPES,
     "options of a paper, scaled to the model; docs/training.md. Options given by --config or typed win"},
    {"config", 0, "FILE", CLI_TEXT, AT(config), NULL, 0, 0, NULL,
     "any of these options from a file: a JSON object, or lines key = value; what is typed wins"},
    {"to", 0, "N", CLI_INTEGER, AT(to), "0", 0, MANY, NULL,
     "the window wanted, in tokens; chooses --rope-scale, or the recipe's base"},
    {"out", 'o', "FOLDER", CLI_TEXT, AT(out), NULL, 0, 0, NULL, "where the trained model is written"},
    {"type", 0, "TYPE", CLI_TEXT, AT(type), "f32", 0, 0, NULL, "of the written weights: f32, f16, bf16"},
    {"length", 0, "N", CLI_INTEGER, AT(length), "0", 0, MANY, NULL, "tokens per sequence; 0: the (scaled) window"},
    {"positions", 0, "NAME", CLI_CHOICE, AT(positions), "plain", 0, 0, "plain|randomized|subsampled",
     "where tokens stand: 0, 1, 2, ..., or at drawn positions, so that larger distances are met (docs/methods.md)"},
    {"position-range", 0, "N", CLI_INTEGER, AT(position_range), "0", 0, MANY, NULL,
     "drawn positions stay below N; 0: the length"},
    {"batch", 0, "N", CLI_INTEGER, AT(batch), "8", 1, 1 << 20, NULL, "sequences per step"},
    {"accumulate", 0, "N", CLI_INTEGER, AT(accumulate), "0", 0, 1 << 20, NULL,
     "passes a step is cut into, to save memory; 0: as few as fit"},
    {"steps", 0, "N", CLI_INTEGER, AT(steps), "1000", 0, MANY, NULL, "steps in all"},
    {"lr", 0, "R", CLI_REAL, AT(lr), "2e-5", 0, 1e3, NULL, "peak learning rate"},
    {"warmup", 0, "N", CLI_INTEGER, AT(warmup), "20", 0, MANY, NULL, "steps from 10 % of the peak to the peak"},
    {"schedule", 0, "NAME", CLI_CHOICE, AT(schedule), "constant", 0, 0, "constant|linear|cosine",
     "the rate after the warm-up"},
    {"lr-end", 0, "F", CLI_REAL, AT(lr_end), "0", 0, 1, NULL, "linear, cosine: share of the peak at the last step"},
    {"beta1", 0, "F", CLI_REAL, AT(beta1), "0.9", 0, 1, NULL, "AdamW"},
    {"beta2", 0, "F", CLI_REAL, AT(beta2), "0.95", 0, 1, NULL, "AdamW"},
    {"eps", 0, "F", CLI_REAL, AT(eps), "1e-8", 0, 1, NULL, "AdamW"},
    {"weight-decay", 0, "F", CLI_REAL, AT(weight_decay), "0", 0, 1e3, NULL, "AdamW, of matrices only"},
    {"clip", 0, "F", CLI_REAL, AT(clip), "1", 0, 1e30, NULL, "largest gradient norm; 0: off"},
    {"seed", 's', "N", CLI_INTEGER, AT(seed), "0", 0, 0x1p62, NULL, "order of the data"},
    {"lora-rank", 0, "R", CLI_INTEGER, AT(lora_rank), "0", 0, 65536, NULL,
     "train low-rank adapters of this rank, the model frozen; 0: train the model"},
    {"lora-alpha", 0, "R", CLI_REAL, AT(lora_alpha), "16", -1e9, 1e9, NULL, "an adapter adds alpha / rank times B A"},
    {"lora-targets", 0, "NAMES", CLI_TEXT, AT(lora_targets), NULL, 0, 0, NULL,
     "modules with adapters, as in q_proj,v_proj; without it those of attention"},
    {"trainable", 0, "NAMES", CLI_TEXT, AT(trainable), NULL, 0, 0, NULL,
     "train tensors with one of these in their name whole, as in embed,norm, and freeze the others"},
    {"merge", 0, NULL, CLI_SWITCH, AT(merge), NULL, 0, 0, NULL,
     "with adapters: write the merged model instead of a PEFT folder"},
    {"attention", 0, "NAME", CLI_CHOICE, AT(attention), "full", 0, 0, "full|shifted",
     "while training: shifted cuts each sequence into groups, for half of the heads half a group further (LongLoRA)"},
    {"group", 0, "N", CLI_INTEGER, AT(group), "0", 0, MANY, NULL,
     "shifted: tokens of a group; 0: a quarter of the sequence"},
    {"recompute", 0, NULL, CLI_SWITCH, AT(recompute), NULL, 0, 0, NULL,
     "keep less for the backward pass: less memory, a third more time, the same bits; without it, where nothing else "
     "fits"},
    {"no-recompute", 0, NULL, CLI_SWITCH, AT(no_recompute), NULL, 0, 0, NULL, "never do that"},
    {"store", 0, "TYPE", CLI_CHOICE, AT(store), "f32", 0, 0, "f32|bf16",
     "activations that wait for the backward pass; bf16: half their memory, gradients rounded by about 0.4 %"},
    {"memory-limit", 0, "MIB", CLI_INTEGER, AT(memory_limit), "0", 0, 1 << 30, NULL,
     "MiB that training may take; 0: what the machine or control group has"},
    {"calibration", 0, "FILE", CLI_TEXT, AT(calibration), NULL, 0, 0, NULL,
     "read what this machine does per second from the file, or measure it and write the file"},
    {"no-time", 0, NULL, CLI_SWITCH, AT(no_time), NULL, 0, 0, NULL, "measure nothing, predict no times"},
    {"state", 0, "FILE", CLI_TEXT, AT(state), NULL, 0, 0, NULL, "save everything needed to resume exactly"},
    {"save-every", 0, "N", CLI_INTEGER, AT(save_every), "0", 0, MANY, NULL,
     "steps between saves; 0: at the end and on Ctrl-C"},
    {"resume", 0, NULL, CLI_SWITCH, AT(resume), NULL, 0, 0, NULL, "continue from --state if it exists"},
    {"log", 0, "FILE", CLI_TEXT, AT(log), NULL, 0, 0, NULL, "one JSON line per step"},
    {"tensorboard", 0, "FOLDER", CLI_TEXT, AT(tensorboard), NULL, 0, 0, NULL,
     "the same numbers as event files for TensorBoard"},
};
static const cli_group train_group = CLI_GROUP("Training", train_flags);

static const cli_flag eval_flags[] = {
    {"eval-file", 0, "FILE", CLI_TEXTS, AT(eval_files), NULL, 0, 0, NULL,
     "score these texts before, during and after training; read as --data is"},
    {"no-overlap", 0, NULL, CLI_SWITCH, AT(no_overlap), NULL, 0, 0, NULL,
     "do not look for 13-grams of these texts in --data first (furlong overlap)"},
    {"eval-every", 0, "K", CLI_INTEGER, AT(eval_every), "100", 1, MANY, NULL, "steps between evaluations"},
    {"eval-lengths", 0, "N,...", CLI_INTEGERS, AT(eval_lengths), NULL, 2, MANY, NULL,
     "context lengths; without it the length of training sequences"},
    {"eval-protocol", 0, "NAME", CLI_CHOICE, AT(eval_protocol), "matched", 0, 0, "matched|disjoint",
     "as in furlong eval ppl"},
    {"eval-score", 0, "N", CLI_INTEGER, AT(eval_score), "128", 1, MANY, NULL, "matched: target tokens of a block"},
    {"eval-blocks", 0, "N", CLI_INTEGER, AT(eval_blocks), "16", 1, 1 << 20, NULL, "matched: blocks of each text"},
    {"eval-tokens", 0, "N", CLI_INTEGER, AT(eval_tokens), "0", 0, MANY, NULL,
     "disjoint: tokens of each text that are used; 0: all"},
};
static const cli_group eval_group = CLI_GROUP("Evaluation", eval_flags);

static const char *duration(char text[32], double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s >= 60)
        snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else if (seconds >= 1)
        snprintf(text, 32, "%.2f s", seconds);
    else
        snprintf(text, 32, "%.3g ms", 1000 * seconds);
    return text;
}

/* Twenty lines for a run, and every step of a short one. */
static void show_step(const fl_train_step *s, void *user)
{
    const train_options *o = user;
    char each[32], left[32];
    int64_t every = o->steps > 20 ? o->steps / 20 : 1;
    if (s->step % every && s->step != o->steps && s->step != 1) return;
    cli_note("step %lld of %lld: loss %.4f, gradient norm %.3f, rate %.3g, %.0f tokens/s, %s a step, %s left",
             (long long)s->step, (long long)o->steps, s->loss, s->grad_norm, s->lr, (double)s->tokens / s->seconds,
             duration(each, s->seconds), duration(left, s->seconds * (double)(o->steps - s->step)));
}

/* What the run will take, and how it was made to fit. */
static void show_plan(const fl_train_memory *m, const fl_train_options *o)
{
    char total[32], limit[32], model[32], parameters[32], pass[32], batch[32];
    cli_note("plan: %lld numbers train; a step is %lld x %lld tokens in %lld %s of %lld, blocks %s",
             (long long)m->trained, (long long)o->batch, (long long)o->length, (long long)m->accumulate,
             m->accumulate == 1 ? "pass" : "passes", (long long)(o->batch / m->accumulate),
             m->recompute ? "recomputed" : "kept");
    cli_note("plan: %s of %s: model %s, what trains %s, a pass %s, its batch %s",
             cli_bytes(total, (double)m->total_bytes), cli_bytes(limit, (double)m->limit_bytes),
             cli_bytes(model, (double)m->model_bytes), cli_bytes(parameters, (double)m->parameter_bytes),
             cli_bytes(pass, (double)m->pass_bytes), cli_bytes(batch, (double)m->batch_bytes));
}

/* How long it will take, by what this machine does per second. */
static fl_status show_time(const train_options *o, const fl_train_options *options, const fl_model *model)
{
    fl_rates rates;
    double seconds;
    char each[32], all[32];
    fl_status s = cli_calibrate(&rates, o->calibration, model);
    if (s == FL_OK) s = fl_train_step_seconds(&seconds, model, options, &rates);
    if (s != FL_OK) return s;
    cli_note("plan: about %s a step, %s for %lld steps on an idle machine%s", duration(each, seconds),
             duration(all, seconds * (double)o->steps), (long long)o->steps,
             options->eval ? ", evaluations apart" : "");
    return FL_OK;
}

static void show_eval(int64_t step, const fl_ppl_result *r, int count, void *user)
{
    (void)user;
    for (int i = 0; i < count; i++)
        cli_note("step %lld: at %lld tokens nll %.4f +- %.4f, perplexity %.3f", (long long)step, (long long)r[i].length,
                 r[i].nll, r[i].stderr_nll, r[i].ppl);
}

static int print_result(const train_options *o, const fl_train_step *last)
{
    if (o->common.json)
        return cli_print_json(json_pack("{ss sI sf sf}", "out", o->out, "steps", (json_int_t)last->step, "loss",
                                        last->loss, "grad_norm", last->grad_norm));
    printf("%s: %lld steps, loss %.4f\n", o->out, (long long)last->step, last->loss);
    return cli_finish_output();
}

/* What is evaluated, and the texts it points to. */
typedef struct evaluation {
    cli_documents texts;
    fl_ppl_options options;
    fl_train_eval eval;
} evaluation;

static int open_evaluation(evaluation *e, const train_options *o, const cli_work *w)
{
    int status = cli_read_documents(&e->texts, w->tokenizer, &o->reading, &o->eval_files);
    if (status != CLI_OK) return status;
    e->options = (fl_ppl_options)FL_PPL_OPTIONS_INIT;
    e->options.protocol = o->eval_protocol ? FL_PPL_DISJOINT : FL_PPL_MATCHED;
    e->options.lengths = o->eval_lengths.count ? o->eval_lengths.item : &o->length;
    e->options.length_count = o->eval_lengths.count ? o->eval_lengths.count : 1;
    e->options.score = o->eval_score;
    e->options.blocks = o->eval_blocks;
    e->options.max_tokens = o->eval_tokens;
    e->eval =
        (fl_train_eval){o->eval_every, e->texts.item, e->texts.count, cli_bos(w->model), &e->options, show_eval, NULL};
    return CLI_OK;
}

static void train_options_of(fl_train_options *out, const train_options *o, const fl_train_eval *eval)
{
    *out = (fl_train_options)FL_TRAIN_OPTIONS_INIT;
    out->length = o->length;
    out->batch = o->batch;
    out->accumulate = o->accumulate;
    out->steps = o->steps;
    out->lr = o->lr;
    out->warmup = o->warmup;
    out->schedule = (fl_schedule)o->schedule;
    out->lr_end = o->lr_end;
    out->beta1 = o->beta1;
    out->beta2 = o->beta2;
    out->eps = o->eps;
    out->weight_decay = o->weight_decay;
    out->clip = o->clip;
    out->lora_rank = o->lora_rank;
    out->lora_alpha = o->lora_alpha;
    out->lora_targets = o->lora_targets;
    out->trainable = o->trainable;
    out->recompute = o->recompute ? FL_RECOMPUTE_ON : o->no_recompute ? FL_RECOMPUTE_OFF : FL_RECOMPUTE_AUTO;
    if (o->attention) out->shifted_group = o->group ? o->group : (o->length + 3) / 4;
    out->store = (fl_store)o->store;
    out->memory_limit = o->memory_limit << 20;
    out->seed = (uint64_t)o->seed;
    out->packing = (fl_packing)o->packing;
    out->positions = (fl_train_positions)o->positions;
    out->position_range = o->position_range;
    out->state = o->state;
    out->save_every = o->save_every;
    out->resume = o->resume;
    out->log = o->log;
    out->tensorboard = o->tensorboard;
    out->eval = eval;
    out->on_step = show_step;
    out->on_step_user = (void *)(uintptr_t)o;
    out->progress = cli_progress;
}

/* A model that cannot be written would be trained in vain. */
static fl_status check_written(const train_options *o, const fl_model *model)
{
    json_t *config = NULL;
    if (o->lora_rank && !o->merge) return FL_OK;
    fl_status s = fl_hf_config_write(&config, &model->config, FL_F32);
    json_decref(config);
    return s;
}

/* What the step will take, before anything long is done. */
static int plan(const train_options *o, fl_train_options *options, const fl_model *model)
{
    fl_train_memory memory = {.size = sizeof memory};
    fl_status s = check_written(o, model);
    if (s == FL_OK) s = fl_train_memory_plan(&memory, model, options);
    if (s != FL_OK) return cli_failed(s);
    options->accumulate = memory.accumulate;
    options->recompute = memory.recompute ? FL_RECOMPUTE_ON : FL_RECOMPUTE_OFF;
    show_plan(&memory, options);
    if (!o->no_time) s = show_time(o, options, model);
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

/* An adapter's files as PEFT has them say nothing of positions. */
static void warn_of_positions(const cli_call *call, const fl_model *model)
{
    const train_options *o = call->options;
    if (!fl_lora_positions_changed(model)) return;
    char *path = fl_path_join(o->out, "base_config.json");
    fl_buffer flags = {0};
    if (o->to) fl_buffer_format(&flags, " --ctx-size %lld", (long long)o->to);
    cli_given_flags(&flags, call, &cli_group_positions);
    if (path && fl_file_exists(path))
        cli_warn(
            "%s was trained at other positions than its base model's, which PEFT's files cannot say: furlong reads "
            "them from %s with --lora; elsewhere load the base model with that file as its configuration, or write "
            "the merged model with --merge",
            o->out, path);
    else
        cli_warn(
            "%s was trained at other positions than its base model's, which PEFT's files cannot say and config.json "
            "has no spelling for: give --lora %s together with%s",
            o->out, o->out, flags.data ? flags.data : "");
    fl_buffer_free(&flags);
    fl_free(path);
}

static int train(const cli_call *call, const fl_train_options *options, const fl_model *model, const fl_data *data)
{
    const train_options *o = call->options;
    fl_trainer *trainer;
    fl_train_step last = {0};
    fl_status s = fl_trainer_create(&trainer, model, options);
    if (s != FL_OK) return cli_failed(s);
    cli_sequences_note(data, options->length, options->packing);
    cli_interrupt_arm(NULL);
    s = fl_trainer_run(trainer, data, &last);
    cli_interrupt_disarm();
    if (s == FL_OK)
        s = o->lora_rank && !o->merge ? fl_trainer_export_adapter(trainer, o->out)
                                      : fl_trainer_export(trainer, o->out, o->type);
    if (s == FL_OK && o->lora_rank && !o->merge) warn_of_positions(call, model);
    fl_trainer_destroy(trainer);
    return s == FL_OK ? print_result(o, &last) : cli_failed(s);
}

static int open_data(fl_data **out, const train_options *o, const fl_tokenizer *t)
{
    fl_data_options options;
    cli_data_options(&options, &o->reading, &o->data);
    options.bos = (fl_mark)o->bos;
    options.eos = (fl_mark)o->eos;
    options.cache = o->cache;
    fl_status s = fl_data_open(out, t, &options);
    if (s != FL_OK) return cli_failed(s);
    cli_data_note(*out);
    return CLI_OK;
}

/* What a recipe's values follow from, of the model as it is on disk. */
static int recipe_facts(cli_recipe_facts *out, const cli_call *call, const train_options *o)
{
    cli_common plain = o->common;
    plain.rope = (fl_rope_options){.scaling = NULL};
    plain.yarn_ext = -1;
    plain.context = 0;
    cli_work w = {0};
    int status = cli_open_model(&w, call, &plain);
    fl_model_info info = {.size = sizeof info};
    fl_plan plan = {.size = sizeof plan};
    fl_plan_options options = FL_PLAN_OPTIONS_INIT;
    options.model = w.model;
    options.to = o->to;
    fl_status s = FL_OK;
    if (status == CLI_OK) s = fl_model_get_info(w.model, &info);
    if (status == CLI_OK && s == FL_OK && info.rotary && o->to > info.trained_window) s = fl_plan_make(&plan, &options);
    if (s != FL_OK) status = cli_failed(s);
    bool typed_batch = call->given[cli_flag_find(call->command, "batch")].from > CLI_FROM_RECIPE;
    *out = (cli_recipe_facts){.parameters = info.parameters,
                              .trained_window = info.trained_window,
                              .to = o->to,
                              .length = o->length,
                              .batch = typed_batch ? o->batch : 0,
                              .base = plan.base_for_target};
    cli_close(&w);
    return status;
}

/* Options beyond those typed: of the file, then of the recipe, shown as one list. */
static int settle(const cli_call *call)
{
    const train_options *o = call->options;
    int status = o->config ? cli_read_settings(call, o->config) : CLI_OK;
    cli_recipe_facts facts;
    if (status == CLI_OK && o->recipe) status = recipe_facts(&facts, call, o);
    if (status == CLI_OK && o->recipe) status = cli_apply_recipe(call, o->recipe, &facts);
    if (status == CLI_OK && (o->recipe || o->config)) cli_print_settings(call);
    return status;
}

/* 0: the window that the model is meant for. */
static int settle_length(train_options *o, const fl_model *model)
{
    fl_model_info info = {.size = sizeof info};
    if (o->length) return CLI_OK;
    fl_status s = fl_model_get_info(model, &info);
    o->length = info.window;
    return s == FL_OK ? CLI_OK : cli_failed(s);
}

static int run(const cli_call *call)
{
    int status = settle(call);
    if (status != CLI_OK) return status;
    train_options *o = call->options;
    if (!o->data.count) return cli_misused(call, "name a text with --data FILE");
    if (!o->out) return cli_misused(call, "name the folder to write with -o FOLDER");
    if (o->merge && !o->lora_rank) return cli_misused(call, "--merge needs adapters: --lora-rank R");
    if (o->group && !o->attention) return cli_misused(call, "--group needs --attention shifted");
    if (o->recompute && o->no_recompute) return cli_misused(call, "--recompute and --no-recompute exclude each other");
    if (o->resume && !o->state) return cli_misused(call, "--resume needs --state FILE");
    if (o->to) o->common.context = o->to;
    cli_work w = {0};
    evaluation e = {.texts = {NULL, 0, 0}};
    fl_train_options options;
    fl_data *data = NULL;
    status = cli_open_tokenizer(&w, call, &o->common);
    if (status == CLI_OK) status = settle_length(o, w.model);
    if (status == CLI_OK && o->eval_files.count) status = open_evaluation(&e, o, &w);
    train_options_of(&options, o, o->eval_files.count ? &e.eval : NULL);
    if (status == CLI_OK) status = plan(o, &options, w.model);
    if (status == CLI_OK) status = open_data(&data, o, w.tokenizer);
    if (status == CLI_OK && o->eval_files.count && !o->no_overlap)
        status = cli_overlap_note(&o->data, &o->eval_files, &o->reading);
    if (status == CLI_OK) status = train(call, &options, w.model, data);
    cli_documents_free(&e.texts);
    fl_data_close(data);
    cli_close(&w);
    return status;
}

static const cli_group *const train_groups[] = {&cli_group_model,     &data_group,       &train_group, &eval_group,
                                                &cli_group_positions, &cli_group_output, NULL};
const cli_command cli_train = {"train",
                               "fine-tune a model on texts, with its positions stretched if asked",
                               NULL,
                               "Next-token loss and AdamW, on the whole model or, with --lora-rank, on adapters. "
                               "--recipe takes the options of a paper, "
                               "scaled to the model, and lists them all; --config reads options from a file. With "
                               "--rope-scaling the positions are "
                               "stretched first and the written model says so in its config. Memory is planned before "
                               "anything is read. Same seed, "
                               "flags, threads and files: same bits, also after --resume.",
                               sizeof(train_options),
                               train_groups,
                               run};
