#include "file/gguf_write.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"
#include "file/export.h"
#include "file/gguf_bytes.h"
#include "file/gguf_config_write.h"
#include "tensor/ggml_type.h"

#define ALIGNMENT 32

/* ---- the container ---------------------------------------------------------------------------------------------- */

static void pad(fl_writer *w)
{
    static const char zeros[ALIGNMENT];
    fl_writer_write(w, zeros, (size_t)((ALIGNMENT - w->written % ALIGNMENT) % ALIGNMENT));
}

static fl_status describe(fl_buffer *b, const fl_file_tensor *t, size_t *offset)
{
    uint32_t type;
    size_t bytes, length = strlen(t->name);
    fl_status status = fl_dtype_to_ggml(&type, t->type);
    if (status != FL_OK) return fl_fail_within(status, "tensor %.200s", t->name);
    if (length < 1 || length >= FL_GGUF_NAME_LIMIT) /* ggml has room for one less than the format */
        return fl_fail(FL_ERR_ARGUMENT, "tensor %.200s: a name has 1 to %d bytes", t->name, FL_GGUF_NAME_LIMIT - 1);
    if (t->rank < 1 || t->dim[t->rank - 1] % fl_dtype_get(t->type)->block)
        return fl_fail(FL_ERR_SHAPE, "tensor %.200s: its rows are no whole number of %s blocks", t->name,
                       fl_dtype_get(t->type)->name);
    FL_TRY(fl_file_tensor_bytes(t, &bytes));
    fl_put_le(b, length, 8);
    fl_buffer_append(b, t->name, length);
    fl_put_le(b, (uint64_t)t->rank, 4);
    for (int i = t->rank - 1; i >= 0; i--)
        fl_put_le(b, (uint64_t)t->dim[i], 8);
    fl_put_le(b, type, 4);
    fl_put_le(b, *offset, 8);
    if (!fl_size_add(*offset, bytes, offset) || !fl_size_align(*offset, ALIGNMENT, offset))
        return fl_fail(FL_ERR_ARGUMENT, "tensor %.200s: the file would be too large", t->name);
    return FL_OK;
}

/* Everything up to the data of the first tensor. */
static fl_status write_header(fl_writer *w, const fl_gguf_keys *keys, const fl_file_tensor *tensor, int64_t count)
{
    fl_buffer b = {0};
    size_t offset = 0;
    fl_gguf_put_header(&b, keys, count);
    fl_status status = FL_OK;
    for (int64_t i = 0; status == FL_OK && i < count; i++)
        status = describe(&b, &tensor[i], &offset);
    if (status == FL_OK && (b.failed || keys->bytes.failed))
        status = fl_fail(FL_ERR_MEMORY, "no memory for the header");
    if (status == FL_OK) {
        fl_writer_write(w, b.data, b.size);
        pad(w);
        status = w->status;
    }
    fl_buffer_free(&b);
    return status;
}

static fl_status finish(fl_writer *w, fl_status status, const char *path)
{
    if (status == FL_OK) return fl_writer_finish(w);
    fl_writer_abandon(w);
    return fl_fail_within(status, "%s", path);
}

fl_status fl_gguf_write_file(const char *path, const fl_gguf_keys *keys, const fl_file_tensor *tensor, int64_t count)
{
    fl_writer w;
    FL_TRY(fl_writer_open(&w, path));
    fl_status status = write_header(&w, keys, tensor, count);
    for (int64_t i = 0; status == FL_OK && i < count; i++) {
        size_t bytes = 0;
        status = fl_file_tensor_bytes(&tensor[i], &bytes);
        fl_writer_write(&w, tensor[i].data, bytes);
        pad(&w);
        if (status == FL_OK) status = w.status;
    }
    return finish(&w, status, path);
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

#define NAME (FL_GGUF_NAME_LIMIT + 16)

/* What is written, in order. */
typedef struct plan {
    const fl_export *e;
    const fl_gguf_family *family;
    fl_dtype type;
    fl_export_item *item;
    fl_file_tensor *written; /* names point into names */
    char (*names)[NAME];
    int64_t count;
} plan;

/* As llama.cpp chooses: see gguf_write.h. */
static fl_dtype type_of(const plan *p, const char *name, const fl_file_tensor *t)
{
    fl_dtype type = p->type;
    if (t->rank < 2 || !strcmp(name, "position_embd.weight")) return FL_F32;
    const char *head = p->e->config->tied_head ? "token_embd.weight" : FL_GGUF_HEAD;
    if (type == FL_Q4_0 && !strcmp(name, head)) type = FL_Q8_0;
    return t->dim[t->rank - 1] % fl_dtype_get(type)->block ? FL_F16 : type;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

/* Biases are there or not, weights must be. */
static fl_status add(plan *p, const char *gguf, const char *hf)
{
    fl_layout layout = {p->family->interleaved ? FL_ROWS_INTERLEAVED : FL_ROWS_HALF_SPLIT, false, true};
    fl_export_item item = fl_export_find(p->e, hf, layout);
    if (!item.tensor && ends_with(hf, ".bias")) return FL_OK;
    if (!item.tensor) return fl_fail(FL_ERR_SHAPE, "tensor %s: is missing", hf);
    if (!fl_dtype_get(item.tensor->type)->real)
        return fl_fail(FL_ERR_UNSUPPORTED, "tensor %s: type %s holds no real numbers", hf,
                       fl_dtype_get(item.tensor->type)->name);
    fl_file_tensor *t = &p->written[p->count];
    *t = fl_export_shape(&item);
    snprintf(p->names[p->count], NAME, "%s", gguf);
    t->name = p->names[p->count];
    t->type = type_of(p, gguf, t);
    p->item[p->count++] = item;
    return FL_OK;
}

static int64_t entries(const fl_gguf_entry *list)
{
    int64_t n = 0;
    while (list[n].gguf)
        n++;
    return n;
}

static fl_status add_all(plan *p)
{
    const fl_gguf_family *f = p->family;
    const fl_config *c = p->e->config;
    for (const fl_gguf_entry *n = f->outer; n->gguf; n++) {
        bool tied = !strcmp(n->gguf, FL_GGUF_HEAD) && c->tied_head;
        /* Of gptneox readers expect a head of its own. */
        if (tied && strcmp(f->arch, "gptneox")) continue;
        FL_TRY(add(p, n->gguf, tied ? f->outer[0].hf : n->hf));
    }
    for (int64_t i = 0; i < c->layers; i++)
        for (const fl_gguf_entry *n = f->layer; n->gguf; n++) {
            char gguf[NAME], hf[FL_GGUF_HF_NAME];
            snprintf(gguf, sizeof gguf, "blk.%lld.%s", (long long)i, n->gguf);
            snprintf(hf, sizeof hf, "%s%lld.%s", f->layer_prefix, (long long)i, n->hf);
            FL_TRY(add(p, gguf, hf));
        }
    return FL_OK;
}

static void add_rope(plan *p, const fl_gguf_rope_tensors *rope)
{
    for (int i = 0; i < rope->count; i++) {
        p->written[p->count] = rope->tensor[i];
        p->item[p->count++] = (fl_export_item){.tensor = &rope->tensor[i]};
    }
}

static fl_status make_plan(plan *p, const fl_gguf_rope_tensors *rope)
{
    size_t most = (size_t)(entries(p->family->outer) + rope->count), layers;
    if (!fl_size_mul((size_t)p->e->config->layers, (size_t)entries(p->family->layer), &layers) ||
        !fl_size_add(most, layers, &most))
        return FL_ERR_MEMORY;
    p->item = fl_calloc(most, sizeof *p->item);
    p->written = fl_calloc(most, sizeof *p->written);
    p->names = fl_calloc(most, sizeof *p->names);
    if (!p->item || !p->written || !p->names) return FL_ERR_MEMORY;
    add_rope(p, rope);
    return add_all(p);
}

/* Keys of another GGUF file that describe the model whatever its weights are, and all of its tokenizer. */
static void copy_keys(fl_gguf_keys *keys, const fl_gguf *from, bool tokenizer)
{
    static const char *const own[] = {"general.architecture", "general.type", "general.file_type",
                                      "general.quantization_version", "general.alignment"};
    for (int64_t i = 0; i < fl_gguf_key_count(from); i++) {
        const fl_gguf_value *v = fl_gguf_at(from, i);
        bool wanted = !strncmp(v->key, "general.", 8) || (tokenizer && !strncmp(v->key, "tokenizer.", 10));
        for (size_t k = 0; k < sizeof own / sizeof *own; k++)
            wanted = wanted && strcmp(v->key, own[k]);
        if (wanted) fl_gguf_put_value(keys, v);
    }
}

static fl_status make_keys(fl_gguf_keys *keys, fl_gguf_rope_tensors *rope, const fl_export *e, fl_dtype type,
                           const fl_gguf_keys *tokenizer)
{
    FL_TRY(fl_gguf_config_write(keys, rope, e->config, type));
    const fl_gguf *from = e->source ? fl_checkpoint_gguf(e->source) : NULL;
    bool copied = !tokenizer && from && fl_gguf_find(from, "tokenizer.ggml.tokens");
    if (from) copy_keys(keys, from, copied);
    if (tokenizer) {
        if (tokenizer->bytes.failed) return fl_fail(FL_ERR_MEMORY, "no memory for the tokenizer's keys");
        if (tokenizer->bytes.size) fl_buffer_append(&keys->bytes, tokenizer->bytes.data, tokenizer->bytes.size);
        keys->count += tokenizer->count;
    }
    return tokenizer || copied ? FL_OK : fl_gguf_tokens_write(keys, e->config);
}

static fl_status write_model(const char *path, const plan *p, const fl_gguf_keys *keys)
{
    fl_writer w;
    FL_TRY(fl_writer_open(&w, path));
    fl_status status = write_header(&w, keys, p->written, p->count);
    for (int64_t i = 0; status == FL_OK && i < p->count; i++) {
        status = fl_export_values(p->e, &p->item[i], p->written[i].type, &w);
        pad(&w);
        if (status == FL_OK) status = w.status;
    }
    return finish(&w, status, path);
}

fl_status fl_gguf_write(const char *path, const fl_config *config, const fl_file_tensor *tensor, int64_t count,
                        fl_dtype type, const fl_checkpoint *source, const fl_gguf_keys *tokenizer)
{
    fl_export e;
    fl_gguf_keys keys = {0};
    fl_gguf_rope_tensors *rope = fl_calloc(1, sizeof *rope);
    if (!rope) return FL_ERR_MEMORY;
    fl_status status = fl_export_open(&e, config, tensor, count, source);
    if (status == FL_OK) {
        plan p = {.e = &e, .family = fl_gguf_family_of_config(config), .type = type};
        status = make_keys(&keys, rope, &e, type, tokenizer);
        if (status == FL_OK) status = make_plan(&p, rope);
        status = status == FL_OK ? write_model(path, &p, &keys) : fl_fail_within(status, "%s", path);
        fl_free(p.names);
        fl_free(p.written);
        fl_free(p.item);
        fl_export_close(&e);
    }
    fl_gguf_keys_free(&keys);
    fl_free(rope);
    return status;
}
