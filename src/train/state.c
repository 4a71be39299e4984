/* Training state as one safetensors file: masters, both moments, and as metadata the step and every setting that a
 * resumed run must share to reach the same bits. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file/safetensors.h"
#include "train/trainer.h"

#define SETTINGS 40
#define TEXT 256

typedef struct settings {
    int count;
    const char *key[SETTINGS];
    char value[SETTINGS][TEXT];
} settings;

static void add_integer(settings *s, const char *key, int64_t value)
{
    s->key[s->count] = key;
    snprintf(s->value[s->count++], TEXT, "%" PRId64, value);
}

static void add_real(settings *s, const char *key, double value)
{
    s->key[s->count] = key;
    snprintf(s->value[s->count++], TEXT, "%.17g", value);
}

static fl_status add_text(settings *s, const char *key, const char *value)
{
    if (strlen(value) >= TEXT) return fl_fail(FL_ERR_UNSUPPORTED, "%s: longer than %d bytes", key, TEXT - 1);
    s->key[s->count] = key;
    memcpy(s->value[s->count++], value, strlen(value) + 1);
    return FL_OK;
}

static fl_status describe(settings *s, const fl_trainer *t)
{
    const fl_train_options *o = &t->options;
    const fl_config *c = &t->model->config;
    s->count = 0;
    add_integer(s, "vocab_size", c->vocab);
    add_integer(s, "hidden_size", c->width);
    add_integer(s, "num_hidden_layers", c->layers);
    add_integer(s, "num_attention_heads", c->heads);
    add_integer(s, "num_key_value_heads", c->kv_heads);
    add_integer(s, "intermediate_size", c->ffn);
    add_integer(s, "rope_kind", c->positions == FL_POSITIONS_ROTARY ? (int)c->rope.kind : -(int)c->positions);
    add_real(s, "rope_theta", c->rotary ? c->rope.base : 0);
    add_real(s, "rope_factor", c->rotary ? c->rope.factor : 0);
    add_integer(s, "length", o->length);
    add_integer(s, "batch", o->batch);
    add_integer(s, "accumulate", o->accumulate);
    add_integer(s, "warmup", o->warmup);
    add_integer(s, "schedule", o->schedule);
    /* With a decaying schedule the number of steps shapes every rate. */
    add_integer(s, "steps", o->schedule == FL_SCHEDULE_CONSTANT ? 0 : o->steps);
    add_real(s, "lr", o->lr);
    add_real(s, "lr_end", o->lr_end);
    add_real(s, "beta1", o->beta1);
    add_real(s, "beta2", o->beta2);
    add_real(s, "eps", o->eps);
    add_real(s, "weight_decay", o->weight_decay);
    add_real(s, "clip", o->clip);
    add_integer(s, "packing", o->packing);
    s->key[s->count] = "seed";
    snprintf(s->value[s->count++], TEXT, "%" PRIu64, o->seed);
    /* Further ways to train are named only where they are used. */
    if (o->positions != FL_TRAIN_POSITIONS_PLAIN) {
        add_integer(s, "positions", o->positions);
        add_integer(s, "position_range", o->position_range);
    }
    if (o->lora_rank) {
        add_integer(s, "lora_rank", o->lora_rank);
        add_real(s, "lora_alpha", o->lora_alpha);
        FL_TRY(add_text(s, "lora_targets", o->lora_targets ? o->lora_targets : fl_lora_default_targets(t->model)));
    }
    if (o->store) add_integer(s, "store", o->store);
    if (o->shifted_group) add_integer(s, "shifted_group", o->shifted_group);
    if (o->trainable) FL_TRY(add_text(s, "trainable", o->trainable));
    return FL_OK;
}

static const char *const names[] = {"master", "moment1", "moment2"};

static void arrays(const fl_trainer *t, float *out[3])
{
    out[0] = t->parameters.master;
    out[1] = t->parameters.moment1;
    out[2] = t->parameters.moment2;
}

fl_status fl_trainer_save(const fl_trainer *t, const char *path)
{
    settings s;
    FL_TRY(describe(&s, t));
    fl_metadata metadata[SETTINGS + 3];
    char step[TEXT], data[TEXT];
    snprintf(step, sizeof step, "%" PRId64, t->step);
    snprintf(data, sizeof data, "%016" PRIx64, t->data);
    metadata[0] = (fl_metadata){"format", "furlong training state 1"};
    metadata[1] = (fl_metadata){"step", step};
    metadata[2] = (fl_metadata){"data", data};
    for (int i = 0; i < s.count; i++)
        metadata[3 + i] = (fl_metadata){s.key[i], s.value[i]};
    float *array[3];
    arrays(t, array);
    fl_file_tensor tensor[3];
    for (int i = 0; i < 3; i++)
        tensor[i] = (fl_file_tensor){names[i], FL_F32, 1, {t->parameters.count}, array[i]};
    return fl_safetensors_write(path, tensor, 3, metadata, s.count + 3);
}

static fl_status compare(const fl_safetensors *file, const fl_trainer *t, const char *path)
{
    const char *format = fl_safetensors_metadata(file, "format");
    if (!format || strcmp(format, "furlong training state 1"))
        return fl_fail(FL_ERR_FORMAT, "%s: metadata format = %s: not a training state of furlong", path,
                       format ? format : "(none)");
    settings s;
    FL_TRY(describe(&s, t));
    for (int i = 0; i < s.count; i++) {
        const char *value = fl_safetensors_metadata(file, s.key[i]);
        if (!value || strcmp(value, s.value[i]))
            return fl_fail(FL_ERR_STATE,
                           "%s was saved with %s = %s, this run has %s: resume with the same settings or "
                           "start anew",
                           path, s.key[i], value ? value : "(none)", s.value[i]);
    }
    const char *data = fl_safetensors_metadata(file, "data");
    if (t->data && data && strtoull(data, NULL, 16) != 0 && strtoull(data, NULL, 16) != t->data)
        return fl_fail(FL_ERR_STATE,
                       "%s was saved while training on other data (tokens with checksum %s, now %016" PRIx64
                       "): resume with the same files and options of data or start anew",
                       path, data, t->data);
    /* What this run does not do is not among its settings. */
    static const char *const further[] = {"lora_rank", "trainable", "shifted_group", "store"};
    for (size_t k = 0; k < sizeof further / sizeof *further; k++) {
        const char *value = fl_safetensors_metadata(file, further[k]);
        bool known = !value;
        for (int i = 0; i < s.count && !known; i++)
            known = !strcmp(s.key[i], further[k]);
        if (!known)
            return fl_fail(FL_ERR_STATE,
                           "%s was saved with %s = %s, this run has none: resume with the same settings or "
                           "start anew",
                           path, further[k], value);
    }
    return FL_OK;
}

static fl_status read_step(const fl_safetensors *file, const char *path, int64_t *step)
{
    const char *text = fl_safetensors_metadata(file, "step");
    char *end = NULL;
    long long value = text ? strtoll(text, &end, 10) : -1;
    if (!text || !*text || *end || value < 0)
        return fl_fail(FL_ERR_FORMAT, "%s: metadata step = %s: not a step number", path, text ? text : "(none)");
    *step = value;
    return FL_OK;
}

static fl_status load(fl_trainer *t, const fl_safetensors *file, const char *path)
{
    FL_TRY(compare(file, t, path));
    int64_t step = 0;
    FL_TRY(read_step(file, path, &step));
    const fl_file_tensor *tensor[3];
    for (int i = 0; i < 3; i++) {
        tensor[i] = fl_safetensors_find(file, names[i]);
        if (!tensor[i] || tensor[i]->type != FL_F32 || tensor[i]->rank != 1 || tensor[i]->dim[0] != t->parameters.count)
            return fl_fail(FL_ERR_FORMAT, "%s: %s must be F32 [%" PRId64 "]", path, names[i], t->parameters.count);
    }
    float *array[3];
    arrays(t, array);
    for (int i = 0; i < 3; i++)
        memcpy(array[i], tensor[i]->data, (size_t)t->parameters.count * sizeof(float));
    t->step = step;
    return FL_OK;
}

fl_status fl_trainer_load(fl_trainer *t, const char *path)
{
    fl_safetensors *file;
    FL_TRY(fl_safetensors_open(&file, path));
    fl_status s = load(t, file, path);
    fl_safetensors_close(file);
    return s;
}
