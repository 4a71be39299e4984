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
#include "train/order.h"
#include "train/schedule.h"

static fl_status check(const fl_model *m, const fl_train_options *o)
{
    struct {
        const char *flag;
        double value, least, most;
    } list[] = {
        {"--length", (double)o->length, 0, 1e9},
        {"--batch", (double)o->batch, 1, 1e6},
        {"--accumulate", (double)o->accumulate, 1, 1e6},
        {"--steps", (double)o->steps, 0, 1e12},
        {"--lr", o->lr, 0, 1e3},
        {"--warmup", (double)o->warmup, 0, 1e12},
        {"--lr-end", o->lr_end, 0, 1},
        {"--beta1", o->beta1, 0, 0.999999999},
        {"--beta2", o->beta2, 0, 0.999999999},
        {"--eps", o->eps, 1e-30, 1},
        {"--weight-decay", o->weight_decay, 0, 1e3},
        {"--clip", o->clip, 0, 1e30},
        {"--save-every", (double)o->save_every, 0, 1e12},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!(list[i].value >= list[i].least && list[i].value <= list[i].most))
            return fl_fail(FL_ERR_ARGUMENT, "%s = %g: must lie between %g and %g", list[i].flag, list[i].value,
                           list[i].least, list[i].most);
    if (o->batch % o->accumulate)
        return fl_fail(FL_ERR_ARGUMENT, "--accumulate %lld does not divide --batch %lld", (long long)o->accumulate,
                       (long long)o->batch);
    if (!m->config.rotary && o->length > m->config.window)
        return fl_fail(FL_ERR_WINDOW, "--length %lld: family %s has %lld learned positions", (long long)o->length,
                       m->config.family, (long long)m->config.window);
    return FL_OK;
}

static fl_status copy_string(char **out, const char *s)
{
    *out = s ? fl_strdup(s) : NULL;
    return s && !*out ? FL_ERR_MEMORY : FL_OK;
}

fl_status fl_trainer_create(fl_trainer **out, const fl_model *model, const fl_train_options *options)
{
    if (!out || !model || !options || options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT, "fl_trainer_create: an argument is NULL or options.size is not %zu",
                       sizeof(fl_train_options));
    FL_TRY(check(model, options));
    fl_trainer *t = fl_calloc(1, sizeof *t);
    if (!t) return FL_ERR_MEMORY;
    t->model = model;
    t->options = *options;
    if (t->options.length == 0) t->options.length = model->config.window;
    fl_status s = copy_string(&t->state_path, options->state);
    if (s == FL_OK) s = copy_string(&t->log_path, options->log);
    t->options.state = t->state_path;
    t->options.log = t->log_path;
    if (s == FL_OK) s = fl_parameters_create(&t->parameters, model);
    if (s == FL_OK) s = fl_run_create(&t->run, model->engine, 0, false);
    if (s != FL_OK) {
        fl_trainer_destroy(t);
        return s;
    }
    t->run->recompute = options->recompute;
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
    fl_free(t);
}

void fl_trainer_cancel(fl_trainer *t)
{
    atomic_store_explicit(&t->cancel, true, memory_order_relaxed);
}

/* Inputs and targets of `sequences` rows of length + 1 ids, as one pass. Gradients of the mean loss over `all` targets
 * are accumulated; *loss gains this pass's sum of negative log-likelihoods. */
static fl_status pass(fl_trainer *t, const int32_t *ids, int64_t sequences, int64_t all, double *loss)
{
    int64_t length = t->options.length, rows = sequences * length;
    fl_batch_seq *seq = fl_calloc((size_t)sequences, sizeof *seq);
    int32_t *input = fl_calloc((size_t)rows, sizeof *input), *target = fl_calloc((size_t)rows, sizeof *target);
    float *nll = fl_calloc((size_t)rows, sizeof *nll), *weight = fl_calloc((size_t)rows, sizeof *weight);
    fl_status s = seq && input && target && nll && weight ? FL_OK : FL_ERR_MEMORY;
    for (int64_t i = 0; s == FL_OK && i < sequences; i++) {
        seq[i] = (fl_batch_seq){.first_row = i * length, .rows = length};
        memcpy(input + i * length, ids + i * (length + 1), (size_t)length * sizeof *input);
        memcpy(target + i * length, ids + i * (length + 1) + 1, (size_t)length * sizeof *target);
    }
    for (int64_t i = 0; s == FL_OK && i < rows; i++)
        weight[i] = (float)(1.0 / (double)all);
    if (s == FL_OK) {
        fl_batch batch = {.sequences = (int)sequences, .seq = seq, .rows = rows, .tokens = input};
        fl_head_spec spec = {.n = rows, .target = target, .nll = nll, .loss_weight = weight};
        s = fl_model_pass(t->model, t->run, &batch, &t->parameters.overlay, true, &spec);
    }
    for (int64_t i = 0; s == FL_OK && i < rows; i++)
        *loss += nll[i];
    fl_free(seq);
    fl_free(input);
    fl_free(target);
    fl_free(nll);
    fl_free(weight);
    return s;
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
    for (int i = 0; i < p->overlay.count;) {
        int end = i + 1;
        while (end < p->overlay.count && p->decays[end] == p->decays[i])
            end++;
        int64_t from = p->offset[i];
        fl_adamw_args args = {.n = p->offset[end] - from,
                              .weight = p->master + from,
                              .moment1 = p->moment1 + from,
                              .moment2 = p->moment2 + from,
                              .grad = p->grad + from,
                              .lr = (float)lr,
                              .beta1 = (float)o->beta1,
                              .beta2 = (float)o->beta2,
                              .eps = (float)o->eps,
                              .weight_decay = p->decays[i] ? (float)o->weight_decay : 0,
                              .grad_scale = (float)grad_scale,
                              .bias1 = 1 - pow(o->beta1, steps),
                              .bias2 = 1 - pow(o->beta2, steps)};
        d->table->adamw(d, &args);
        i = end;
    }
}

fl_status fl_trainer_step(fl_trainer *t, const int32_t *ids, fl_train_step *result)
{
    const fl_train_options *o = &t->options;
    double started = fl_clock_seconds(), loss = 0;
    int64_t all = o->batch * o->length, part = o->batch / o->accumulate;
    zero_gradients(t);
    for (int64_t i = 0; i < o->accumulate; i++)
        FL_TRY(pass(t, ids + i * part * (o->length + 1), part, all, &loss));
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
                                  .tokens = all};
    return FL_OK;
}

fl_status fl_trainer_export(const fl_trainer *t, const char *folder, const char *type)
{
    fl_dtype dtype = FL_F32;
    FL_TRY(fl_export_type(&dtype, type));
    return fl_model_write(t->model, &t->parameters.overlay, folder, dtype);
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static fl_status open_state(fl_trainer *t)
{
    if (!t->state_path || !fl_file_exists(t->state_path)) return FL_OK;
    if (!t->options.resume)
        return fl_fail(FL_ERR_ARGUMENT, "%s exists: continue it with --resume or remove it", t->state_path);
    return fl_trainer_load(t, t->state_path);
}

static fl_status log_step(FILE *log, const char *path, const fl_train_step *s)
{
    if (!log) return FL_OK;
    fprintf(log, "{\"step\":%lld,\"loss\":%.9g,\"grad_norm\":%.9g,\"lr\":%.9g,\"tokens\":%lld,\"seconds\":%.6f}\n",
            (long long)s->step, s->loss, s->grad_norm, s->lr, (long long)s->tokens, s->seconds);
    return fflush(log) == 0 ? FL_OK : fl_fail(FL_ERR_IO, "%s: cannot be written: is the disk full?", path);
}

/* Lines of steps that a killed run logged after its last save are dropped, since they will be taken again. */
static fl_status open_log(fl_trainer *t, FILE **out)
{
    *out = NULL;
    if (!t->log_path) return FL_OK;
    fl_buffer kept = {0}, old = {0};
    fl_status s = FL_OK;
    if (t->step > 0 && fl_file_exists(t->log_path)) {
        s = fl_file_read(&old, t->log_path, (size_t)1 << 32);
        for (const char *line = old.data; s == FL_OK && line && *line;) {
            const char *end = strchr(line, '\n');
            long long step;
            if (!end) break;
            if (sscanf(line, "{\"step\":%lld,", &step) == 1 && step <= t->step)
                fl_buffer_append(&kept, line, (size_t)(end - line) + 1);
            line = end + 1;
        }
    }
    fl_writer w;
    if (s == FL_OK) s = fl_writer_open(&w, t->log_path);
    if (s == FL_OK) {
        if (kept.size) fl_writer_write(&w, kept.data, kept.size);
        s = fl_writer_finish(&w);
    }
    fl_buffer_free(&old);
    fl_buffer_free(&kept);
    if (s == FL_OK && !(*out = fopen(t->log_path, "a")))
        s = fl_fail(FL_ERR_IO, "%s: cannot be opened for appending", t->log_path);
    return s;
}

static void draw_batch(const fl_trainer *t, fl_order *order, const int32_t *ids, int32_t *batch)
{
    int64_t length = t->options.length;
    for (int64_t i = 0; i < t->options.batch; i++) {
        int64_t w = fl_order_at(order, t->step * t->options.batch + i);
        memcpy(batch + i * (length + 1), ids + w * length, (size_t)(length + 1) * sizeof *batch);
    }
}

static fl_status save_if_wanted(fl_trainer *t, bool last)
{
    bool due = t->options.save_every > 0 && t->step % t->options.save_every == 0;
    return t->state_path && (last || due) ? fl_trainer_save(t, t->state_path) : FL_OK;
}

static fl_status loop(fl_trainer *t, fl_order *order, const int32_t *ids, int32_t *batch, FILE *log,
                      fl_train_step *last)
{
    fl_progress progress;
    fl_progress_start(&progress, t->options.progress, t->options.progress_user, "train", t->options.steps);
    while (t->step < t->options.steps) {
        draw_batch(t, order, ids, batch);
        fl_train_step step;
        fl_status s = fl_trainer_step(t, batch, &step);
        if (s == FL_OK) {
            if (last) *last = step;
            if (t->options.on_step) t->options.on_step(&step, t->options.on_step_user);
            s = log_step(log, t->log_path, &step);
        }
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

fl_status fl_trainer_run(fl_trainer *t, const int32_t *ids, int64_t count, fl_train_step *last)
{
    int64_t length = t->options.length, windows = (count - 1) / length;
    if (windows < 1)
        return fl_fail(FL_ERR_ARGUMENT,
                       "the data has %lld tokens but one sequence needs %lld: give more text or a "
                       "smaller --length",
                       (long long)count, (long long)length + 1);
    FL_TRY(open_state(t));
    FILE *log;
    FL_TRY(open_log(t, &log));
    fl_order order;
    fl_status s = fl_order_create(&order, windows, t->options.seed);
    int32_t *batch = fl_calloc((size_t)(t->options.batch * (length + 1)), sizeof *batch);
    if (s == FL_OK && !batch) s = FL_ERR_MEMORY;
    atomic_store_explicit(&t->cancel, false, memory_order_relaxed);
    if (s == FL_OK) s = loop(t, &order, ids, batch, log, last);
    fl_free(batch);
    fl_order_destroy(&order);
    if (log && fclose(log) != 0 && s == FL_OK) s = fl_fail(FL_ERR_IO, "%s: cannot be written", t->log_path);
    return s;
}
