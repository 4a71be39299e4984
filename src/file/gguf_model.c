#include "file/gguf_model.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "file/gguf_config.h"
#include "file/gguf_split.h"

#define TENSORS_PER_FUSED 3 /* a fused q, k, v matrix of a family that has them apart becomes three */

/* Tensors that fl_gguf_rope_read takes, or that follow from the config. */
static bool not_a_weight(const char *name)
{
    static const char table[] = ".attn_rot_embd.weight";
    size_t length = strlen(name), end = sizeof table - 1;
    return !strncmp(name, "rope_f", 6) || (length > end && !strcmp(name + length - end, table));
}

static void append(fl_gguf_model *m, const fl_file_tensor *t, const char *name)
{
    char *to = m->names + m->count * FL_GGUF_HF_NAME;
    snprintf(to, FL_GGUF_HF_NAME, "%s", name);
    m->tensor[m->count] = *t;
    m->tensor[m->count++].name = to;
}

/* Rows of q, then k, then v in one tensor: each is a tensor of its own, without a copy. */
static fl_status append_parts(fl_gguf_model *m, const fl_gguf_family *f, const fl_file_tensor *t, const char *from)
{
    static const char *const parts[] = {"attn_q", "attn_k", "attn_v"};
    const fl_config *c = &m->config;
    const int64_t rows[] = {c->heads * c->head_dim, c->kv_heads * c->head_dim, c->kv_heads * c->head_dim};
    const char *fused = strstr(t->name, "attn_qkv");
    if (t->dim[0] != rows[0] + rows[1] + rows[2])
        return fl_gguf_fail(FL_ERR_SHAPE, m->shard[0], t->name, "has not the rows that the keys ask for");
    const char *data = t->data;
    for (int i = 0; i < 3; i++) {
        char name[FL_GGUF_NAME_LIMIT + 1], hf[FL_GGUF_HF_NAME];
        snprintf(name, sizeof name, "%.*s%s%s", (int)(fused - t->name), t->name, parts[i], fused + strlen("attn_qkv"));
        if (!fl_gguf_hf_name(f, name, c->layers, hf))
            return fl_gguf_fail(FL_ERR_UNSUPPORTED, m->shard[0], t->name, from);
        fl_file_tensor part = *t;
        size_t bytes;
        part.dim[0] = rows[i];
        part.data = data;
        FL_TRY(fl_file_tensor_bytes(&part, &bytes));
        data += bytes;
        append(m, &part, hf);
    }
    return FL_OK;
}

static fl_status map_tensor(fl_gguf_model *m, const fl_gguf_family *f, const fl_file_tensor *t)
{
    static const char why[] = "is not a tensor that this architecture is known to have, and could change what the "
                              "model computes";
    char name[FL_GGUF_HF_NAME];
    if (not_a_weight(t->name)) return FL_OK;
    if (fl_gguf_hf_name(f, t->name, m->config.layers, name)) {
        append(m, t, name);
        return FL_OK;
    }
    const char *fused = strstr(t->name, ".attn_qkv.");
    bool block_rows = t->rank == 2 || fl_dtype_get(t->type)->block == 1;
    if (fused && block_rows) return append_parts(m, f, t, why);
    return fl_gguf_fail(FL_ERR_UNSUPPORTED, m->shard[0], t->name, why);
}

static fl_dtype most_common_type(const fl_gguf_model *m)
{
    size_t values[FL_DTYPE_COUNT] = {0};
    for (int64_t i = 0; i < m->count; i++) {
        size_t n = 0;
        if (fl_file_tensor_values(&m->tensor[i], &n) == FL_OK) values[m->tensor[i].type] += n;
    }
    fl_dtype best = FL_F32;
    for (int t = 0; t < FL_DTYPE_COUNT; t++)
        if (fl_dtype_get((fl_dtype)t)->real && values[t] > values[best]) best = (fl_dtype)t;
    return best;
}

/* Tensors of all files under their new names, which must differ too. */
static fl_status map_tensors(fl_gguf_model *m, const fl_gguf_family *f)
{
    size_t total = 0, most;
    for (int64_t i = 0; i < m->shards; i++)
        total += (size_t)fl_gguf_count(m->shard[i]);
    if (!fl_size_mul(total, TENSORS_PER_FUSED, &most)) return FL_ERR_MEMORY;
    m->tensor = fl_calloc(most, sizeof *m->tensor);
    m->names = fl_calloc(most, FL_GGUF_HF_NAME);
    if (!m->tensor || !m->names) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < m->shards; i++)
        for (int64_t j = 0; j < fl_gguf_count(m->shard[i]); j++)
            FL_TRY(map_tensor(m, f, fl_gguf_tensor_at(m->shard[i], j)));
    int64_t *index = fl_file_tensor_index(m->tensor, m->count);
    if (!index) return FL_ERR_MEMORY;
    const char *twice = NULL;
    for (int64_t i = 1; i < m->count; i++)
        if (!strcmp(m->tensor[index[i - 1]].name, m->tensor[index[i]].name)) twice = m->tensor[index[i]].name;
    fl_free(index);
    return twice ? fl_gguf_fail(FL_ERR_FORMAT, m->shard[0], twice, "the tensor is there more than once") : FL_OK;
}

static fl_status read_model(fl_gguf_model *m)
{
    const fl_gguf_family *family;
    fl_gguf_tensors tensors = {m->shard, m->shards};
    FL_TRY(fl_gguf_config_read(&m->config, &family, m->shard[0], &tensors));
    FL_TRY(map_tensors(m, family));
    m->config.stored_type = most_common_type(m);
    return FL_OK;
}

fl_status fl_gguf_model_open(fl_gguf_model *out, const char *path)
{
    fl_gguf_model m = {0};
    fl_status status = fl_gguf_split_open(&m.shard, &m.shards, path);
    if (status == FL_OK) status = read_model(&m);
    if (status == FL_OK)
        *out = m;
    else
        fl_gguf_model_close(&m);
    return status;
}

fl_status fl_gguf_model_parse(fl_gguf_model *out, const char *name, const void *bytes, size_t size)
{
    fl_gguf_model m = {.shard = fl_calloc(1, sizeof *m.shard)};
    if (!m.shard) return FL_ERR_MEMORY;
    fl_status status = fl_gguf_parse(&m.shard[0], name, bytes, size);
    if (status == FL_OK) {
        m.shards = 1;
        status = fl_gguf_split_whole(m.shard[0]);
    }
    if (status == FL_OK) status = read_model(&m);
    if (status == FL_OK)
        *out = m;
    else
        fl_gguf_model_close(&m);
    return status;
}

void fl_gguf_model_close(fl_gguf_model *m)
{
    fl_free(m->names);
    fl_free(m->tensor);
    fl_gguf_split_close(m->shard, m->shards);
    *m = (fl_gguf_model){0};
}
