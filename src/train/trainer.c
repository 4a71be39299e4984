/* The training loop in its smallest form: next-token loss on packed text, AdamW, clipping. */
#include "train/trainer.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/size.h"
#include "model/export.h"
#include "model/lora_positions.h"
#include "model/lora_write.h"
#include "train/draw.h"
#include "train/evaluate.h"
#include "train/log.h"
#include "train/memory.h"
#include "train/order.h"
#include "train/schedule.h"
#include "train/windows.h"

fl_status fl_train_options_check(const fl_model *m, const fl_train_options *o)
{
    struct {
        const char *flag;
        double value, least, most;
    } list[] = {
        {"--length", (double)o->length, 0, 1e9},
        {"--batch", (double)o->batch, 1, 1e6},
        {"--accumulate", (double)o->accumulate, 0, 1e6},
        {"--steps", (double)o->steps, 0, 1e12},
        {"--group", (double)o->shifted_group, 0, 1e9},
        {"--lr", o->lr, 0, 1e3},
        {"--warmup", (double)o->warmup, 0, 1e12},
        {"--lr-end", o->lr_end, 0, 1},
        {"--beta1", o->beta1, 0, 0.999999999},
        {"--beta2", o->beta2, 0, 0.999999999},
        {"--eps", o->eps, 1e-30, 1},
        {"--weight-decay", o->weight_decay, 0, 1e3},
        {"--clip", o->clip, 0, 1e30},
        {"--save-every", (double)o->save_every, 0, 1e12},
        {"--position-range", (double)o->position_range, 0, 1e12},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!(list[i].value >= list[i].least && list[i].value <= list[i].most))
            return fl_fail(FL_ERR_ARGUMENT, "%s = %g: must lie between %g and %g", list[i].flag, list[i].value,
                           list[i].least, list[i].most);
    FL_TRY(fl_checkpoint_need_rows(m->checkpoint, "trained"));
    if (o->accumulate && o->batch % o->accumulate)
        return fl_fail(FL_ERR_ARGUMENT, "--accumulate %lld does not divide --batch %lld", (long long)o->accumulate,
                       (long long)o->batch);
    if (m->config.passes.kind != FL_PASSES_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "--rope-scaling %s serves inference only: train without it, or with linear, ntk or yarn",
                       fl_passes_name(&m->config.passes));
    if ((unsigned)o->positions > FL_TRAIN_POSITIONS_SUBSAMPLED)
        return fl_fail(FL_ERR_ARGUMENT, "--positions: no such kind %d", (int)o->positions);
    if (o->positions != FL_TRAIN_POSITIONS_PLAIN && m->config.positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED, "--positions: only rotary positions can be drawn; this model has %s ones",
                       fl_positions_name(m->config.positions));
    if (o->position_range && o->position_range < (o->length ? o->length : m->config.window))
        return fl_fail(FL_ERR_ARGUMENT, "--position-range %lld: less than the %lld tokens of a sequence",
                       (long long)o->position_range, (long long)(o->length ? o->length : m->config.window));
    if (m->config.positions == FL_POSITIONS_LEARNED && o->length > m->config.window)
        return fl_fail(FL_ERR_WINDOW, "--length %lld: family %s has %lld learned positions", (long long)o->length,
                       m->config.family, (long long)m->config.window);
    return FL_OK;
}

static fl_status copy_string(char **out, const char *s)
{
    *out = s ? fl_strdup(s) : NULL;
    return s && !*out ? FL_ERR_MEMORY : FL_OK;
}

static fl_status allocate_part(fl_trainer *t)
{
    int64_t sequences = t->options.batch / t->options.accumulate, length = t->options.length;
    size_t rows;
    if (!fl_size_product((int64_t[]){sequences, length}, 2, &rows))
        return fl_fail(FL_ERR_MEMORY, "--batch %lld of --length %lld: too many tokens", (long long)t->options.batch,
                       (long long)length);
    t->part.seq = fl_calloc(rows, sizeof *t->part.seq); /* a document has at least a token */
    t->part.input = fl_calloc(rows, sizeof *t->part.input);
    t->part.target = fl_calloc(rows, sizeof *t->part.target);
    t->part.nll = fl_calloc(rows, sizeof *t->part.nll);
    t->part.weight = fl_calloc(rows, sizeof *t->part.weight);
    bool draws = t->options.positions != FL_TRAIN_POSITIONS_PLAIN;
    if (draws) t->part.position = fl_calloc(rows, sizeof *t->part.position);
    bool all =
        (!draws || t->part.position) && t->part.seq && t->part.input && t->part.target && t->part.nll && t->part.weight;
    return all ? FL_OK : FL_ERR_MEMORY;
}

fl_status fl_trainer_create(fl_trainer **out, const fl_model *model, const fl_train_options *options)
{
    if (!out || !model || !options || options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT, "fl_trainer_create: an argument is NULL or options.size is not %zu",
                       sizeof(fl_train_options));
    fl_train_memory memory = {.size = sizeof memory};
    FL_TRY(fl_train_memory_plan(&memory, model, options)); /* checks the options too */
    fl_trainer *t = fl_calloc(1, sizeof *t);
    if (!t) return FL_ERR_MEMORY;
    t->model = model;
    t->options = *options;
    if (t->options.length == 0) t->options.length = fl_model_window(model);
    t->options.accumulate = memory.accumulate;
    t->scheme = model->scheme;
    t->scheme.shifted_group = options->shifted_group;
    if (t->options.position_range == 0) t->options.position_range = t->options.length;
    fl_status s = copy_string(&t->state_path, options->state);
    if (s == FL_OK) s = copy_string(&t->log_path, options->log);
    if (s == FL_OK) s = copy_string(&t->lora_targets, options->lora_targets);
    if (s == FL_OK) s = copy_string(&t->trainable, options->trainable);
    if (s == FL_OK) s = copy_string(&t->tensorboard_path, options->tensorboard);
    t->options.state = t->state_path;
    t->options.log = t->log_path;
    t->options.lora_targets = t->lora_targets;
    t->options.trainable = t->trainable;
    t->options.tensorboard = t->tensorboard_path;
    if (s == FL_OK) s = fl_parameters_create(&t->parameters, model, &t->options);
    if (s == FL_OK) s = fl_run_create(&t->run, model->engine, 0, false);
    if (s == FL_OK) s = allocate_part(t);
    if (s != FL_OK) {
        fl_trainer_destroy(t);
        return s;
    }
    t->run->recompute = memory.recompute;
    t->run->half = options->store == FL_STORE_BF16;
    t->run->cancel = &t->cancel;
    *out = t;
    return FL_OK;
}

void fl_trainer_destroy(fl_trainer *t)
{
    if (!t) return;
    fl_parameters_destroy(&t->parameters);
    if (t->run) fl_run_destroy(t->run);
    fl_free(t->state_path);
    fl_free(t->log_path);
    fl_free(t->lora_targets);
    fl_free(t->trainable);
    fl_free(t->part.seq);
    fl_free(t->part.input);
    fl_free(t->part.target);
    fl_free(t->part.nll);
    fl_free(t->part.weight);
    fl_free(t->part.position);
    fl_free(t->tensorboard_path);
    fl_free(t);
}

void fl_trainer_cancel(fl_trainer *t)
{
    atomic_store_explicit(&t->cancel, true, memory_order_relaxed);
}

/* How many documents begin at fresh[first .. end). fresh may be NULL: none. */
static int64_t count_fresh(const bool *fresh, int64_t first, int64_t end)
{
    int64_t n = 0;
    for (int64_t i = first; fresh && i < end; i++)
        n += fresh[i];
    return n;
}

/* Append a window of length + 1 ids: one sequence for each document in it, no target across their boundaries. */
static void add_window(fl_train_part *a, int64_t length, const int32_t *ids, const bool *fresh, float weight)
{
    for (int64_t i = 0; i < length; i++) {
        if (i == 0 || (fresh && fresh[i])) a->seq[a->sequences++] = (fl_batch_seq){.first_row = a->rows};
        a->seq[a->sequences - 1].rows++;
        bool last = fresh && fresh[i + 1];
        a->input[a->rows] = ids[i];
        a->target[a->rows] = last ? -1 : ids[i + 1];
        a->weight[a->rows++] = last ? 0 : weight;
    }
}

/* `windows` rows of length + 1 ids as one pass. Gradients of the mean loss over `all` targets are accumulated; *loss
 * gains this pass's sum of negative log-likelihoods. */
static fl_status pass(fl_trainer *t, const int32_t *ids, const bool *fresh, int64_t windows, int64_t all, double *loss)
{
    int64_t length = t->options.length;
    fl_train_part *p = &t->part;
    p->sequences = p->rows = 0;
    for (int64_t i = 0; i < windows; i++)
        add_window(p, length, ids + i * (length + 1), fresh ? fresh + i * (length + 1) : NULL,
                   (float)(1.0 / (double)all));
    for (int64_t i = 0; p->position && i < p->sequences; i++) {
        fl_batch_seq *s = &p->seq[i];
        s->position = p->position + s->first_row;
        fl_draw_positions(&t->drawing, t->options.positions, t->options.position_range, s->rows,
                          p->position + s->first_row);
    }
    fl_batch batch = {
        .sequences = (int)p->sequences, .seq = p->seq, .rows = p->rows, .tokens = p->input, .scheme = &t->scheme};
    fl_head_spec spec = {.n = p->rows, .target = p->target, .nll = p->nll, .loss_weight = p->weight};
    FL_TRY(fl_model_pass(t->model, t->run, &batch, &t->parameters.overlay, true, &spec));
    for (int64_t i = 0; i < p->rows; i++)
        *loss += p->nll[i];
    return FL_OK;
}

static void zero_gradients(fl_trainer *t)
{
    fl_tensor all = {
        .type = FL_F32, .rows = 1, .cols = t->parameters.count, .ld = t->parameters.count, .data = t->parameters.grad};
    t->run->device->table->zero(t->run->device, &all);
}

static void update(fl_trainer *t, double lr, double grad_scale)
{
    const fl_train_options *o = &t->options;
    fl_parameters *p = &t->parameters;
    fl_device *d = t->run->device;
    double steps = (double)(t->step + 1);
    for (int i = 0; i < p->arrays;) {
        int end = i + 1;
        while (end < p->arrays && p->array[end].decays == p->array[i].decays)
            end++;
        int64_t from = p->array[i].offset;
        fl_adamw_args args = {.n = (end < p->arrays ? p->array[end].offset : p->count) - from,
                              .weight = p->master + from,
                              .moment1 = p->moment1 + from,
                              .moment2 = p->moment2 + from,
                              .grad = p->grad + from,
                              .lr = (float)lr,
                              .beta1 = (float)o->beta1,
                              .beta2 = (float)o->beta2,
                              .eps = (float)o->eps,
                              .weight_decay = p->array[i].decays ? (float)o->weight_decay : 0,
                              .grad_scale = (float)grad_scale,
                              .bias1 = 1 - pow(o->beta1, steps),
                              .bias2 = 1 - pow(o->beta2, steps)};
        d->table->adamw(d, &args);
        i = end;
    }
}

fl_status fl_trainer_step(fl_trainer *t, const int32_t *ids, fl_train_step *result)
{
    return fl_trainer_step_cut(t, ids, NULL, result);
}

/* Ids of a step that are predicted. */
static int64_t count_targets(const fl_train_options *o, const bool *fresh)
{
    int64_t row = o->length + 1, targets = o->batch * o->length;
    for (int64_t i = 0; i < o->batch; i++)
        targets -= count_fresh(fresh, i * row + 1, (i + 1) * row);
    return targets;
}

fl_status fl_trainer_step_cut(fl_trainer *t, const int32_t *ids, const bool *fresh, fl_train_step *result)
{
    const fl_train_options *o = &t->options;
    double started = fl_clock_seconds(), loss = 0;
    int64_t all = count_targets(o, fresh), part = o->batch / o->accumulate, stride = part * (o->length + 1);
    if (all == 0)
        return fl_fail(FL_ERR_ARGUMENT, "step %lld: every document has one token, so there is nothing to predict",
                       (long long)t->step + 1);
    zero_gradients(t);
    fl_rng_seed(&t->drawing, ~o->seed + (uint64_t)t->step * UINT64_C(0x9e3779b97f4a7c15));
    for (int64_t i = 0; i < o->accumulate; i++)
        FL_TRY(pass(t, ids + i * stride, fresh ? fresh + i * stride : NULL, part, all, &loss));
    loss /= (double)all;
    fl_device *d = t->run->device;
    double norm = sqrt(d->table->sum_squares(d, t->parameters.grad, t->parameters.count));
    if (!isfinite(loss) || !isfinite(norm))
        return fl_fail(FL_ERR_NUMERIC, "step %lld: loss %g, gradient norm %g; lower the learning rate (now %g)",
                       (long long)t->step + 1, loss, norm, fl_schedule_rate(o, t->step));
    double lr = fl_schedule_rate(o, t->step);
    /* As torch.nn.utils.clip_grad_norm_. */
    update(t, lr, o->clip > 0 && norm > o->clip ? o->clip / (norm + 1e-6) : 1.0);
    t->step++;
    t->last_loss = loss;
    if (result)
        *result = (fl_train_step){.step = t->step,
                                  .loss = loss,
                                  .grad_norm = norm,
                                  .lr = lr,
                                  .seconds = fl_clock_seconds() - started,
                                  .tokens = o->batch * o->length};
    return FL_OK;
}

fl_status fl_trainer_export(const fl_trainer *t, const char *folder, const char *type)
{
    fl_dtype dtype = FL_F32;
    FL_TRY(fl_export_type(&dtype, type));
    return fl_model_write(t->model, &t->parameters.overlay, folder, dtype);
}

fl_status fl_trainer_export_adapter(const fl_trainer *t, const char *folder)
{
    const fl_train_options *o = &t->options;
    if (!o->lora_rank) return fl_fail(FL_ERR_STATE, "nothing was trained as an adapter: --lora-rank R makes one");
    if (t->model->lora.count)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "an adapter trained over --lora belongs to no model on disk: write the merged "
                       "model (--merge)");
    FL_TRY(fl_lora_write(t->model, &t->parameters.overlay, folder,
                         o->lora_targets ? o->lora_targets : fl_lora_default_targets(t->model), o->lora_rank,
                         o->lora_alpha));
    fl_status s = fl_lora_positions_write(t->model, folder);
    return s == FL_ERR_UNSUPPORTED ? FL_OK : s; /* the caller of such positions must give them again */
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static fl_status open_state(fl_trainer *t)
{
    if (!t->state_path || !fl_file_exists(t->state_path)) return FL_OK;
    if (!t->options.resume)
        return fl_fail(FL_ERR_ARGUMENT, "%s exists: continue it with --resume or remove it", t->state_path);
    return fl_trainer_load(t, t->state_path);
}

static fl_status log_step(fl_train_log *log, const fl_train_step *s)
{
    const fl_log_value value[] = {{"loss", s->loss},
                                  {"grad_norm", s->grad_norm},
                                  {"lr", s->lr},
                                  {"tokens", (double)s->tokens},
                                  {"seconds", s->seconds}};
    return fl_train_log_write(log, s->step, value, (int)(sizeof value / sizeof *value));
}

/* What the loop trains on: windows of the data in shuffled order, and room for one step's. */
typedef struct feed {
    fl_windows windows;
    fl_order order;
    int32_t *ids; /* [batch * (length + 1)] */
    bool *fresh;  /* the same */
} feed;

static fl_status feed_create(feed *f, const fl_trainer *t, const fl_data *data)
{
    const fl_train_options *o = &t->options;
    *f = (feed){0};
    FL_TRY(fl_windows_create(&f->windows, data, o->length, o->packing));
    FL_TRY(fl_order_create(&f->order, f->windows.count, o->seed));
    f->ids = fl_calloc((size_t)(o->batch * (o->length + 1)), sizeof *f->ids);
    f->fresh = fl_calloc((size_t)(o->batch * (o->length + 1)), sizeof *f->fresh);
    return f->ids && f->fresh ? FL_OK : FL_ERR_MEMORY;
}

static void feed_destroy(feed *f)
{
    fl_free(f->ids);
    fl_free(f->fresh);
    fl_order_destroy(&f->order);
    fl_windows_destroy(&f->windows);
}

static void draw_batch(const fl_trainer *t, feed *f)
{
    int64_t row = t->options.length + 1;
    for (int64_t i = 0; i < t->options.batch; i++)
        fl_windows_read(&f->windows, fl_order_at(&f->order, t->step * t->options.batch + i), f->ids + i * row,
                        f->fresh + i * row);
}

static fl_status save_if_wanted(fl_trainer *t, bool last)
{
    bool due = t->options.save_every > 0 && t->step % t->options.save_every == 0;
    return t->state_path && (last || due) ? fl_trainer_save(t, t->state_path) : FL_OK;
}

static bool evaluates(const fl_trainer *t)
{
    const fl_train_eval *e = t->options.eval;
    return e && (t->step % e->every == 0 || t->step == t->options.steps);
}

static fl_status loop(fl_trainer *t, feed *f, fl_train_log *log, fl_train_step *last)
{
    fl_progress progress;
    fl_progress_start(&progress, t->options.progress, t->options.progress_user, "train", t->options.steps);
    if (t->step == 0) FL_TRY(fl_trainer_evaluate(t, log));
    while (t->step < t->options.steps) {
        draw_batch(t, f);
        fl_train_step step;
        fl_status s = fl_trainer_step_cut(t, f->ids, f->fresh, &step);
        if (s == FL_OK) {
            if (last) *last = step;
            if (t->options.on_step) t->options.on_step(&step, t->options.on_step_user);
            s = log_step(log, &step);
        }
        if (s == FL_OK && evaluates(t)) s = fl_trainer_evaluate(t, log);
        if (s == FL_OK) s = save_if_wanted(t, t->step == t->options.steps);
        if (s == FL_OK) s = fl_progress_update(&progress, t->step);
        if (s == FL_ERR_CANCELLED) {
            char message[FL_ERROR_CAPACITY];
            strncpy(message, fl_error_message(), sizeof message - 1);
            message[sizeof message - 1] = 0;
            FL_TRY(save_if_wanted(t, true));
            return fl_fail(s, "%s", message);
        }
        FL_TRY(s);
    }
    return FL_OK;
}

fl_status fl_trainer_run(fl_trainer *t, const fl_data *data, fl_train_step *last)
{
    if (!t || !data) return fl_fail(FL_ERR_ARGUMENT, "fl_trainer_run: an argument is NULL");
    feed f;
    fl_train_log log = FL_TRAIN_LOG_CLOSED;
    fl_status s = feed_create(&f, t, data);
    t->data = data->info.checksum;
    if (s == FL_OK) s = open_state(t);
    if (s == FL_OK) s = fl_train_log_open(&log, t->log_path, t->tensorboard_path, t->step);
    atomic_store_explicit(&t->cancel, false, memory_order_relaxed);
    if (s == FL_OK) s = loop(t, &f, &log, last);
    feed_destroy(&f);
    return fl_train_log_close(&log, s);
}
