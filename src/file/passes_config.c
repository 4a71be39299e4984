#include "file/passes_config.h"

#include <stdio.h>
#include <string.h>

static fl_status read_dual_chunk(fl_config *c, const fl_json_at *at)
{
    static const char *const known[] = {"chunk_size", "local_size", "original_max_position_embeddings"};
    int64_t size = 0, local = 0, original = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)at->object, key, value)
    {
        if (!json_is_null(value) && strcmp(key, known[0]) && strcmp(key, known[1]) && strcmp(key, known[2]))
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, key, "unknown key; delete it if it is known to have no effect");
    }
    FL_TRY(fl_json_need(at, "chunk_size"));
    FL_TRY(fl_json_need(at, "local_size"));
    FL_TRY(fl_json_int(at, "chunk_size", 2, INT32_MAX, &size, NULL));
    FL_TRY(fl_json_int(at, "local_size", 0, INT32_MAX, &local, NULL));
    FL_TRY(fl_json_int(at, "original_max_position_embeddings", 0, INT32_MAX, &original, NULL));
    if (local >= size) return fl_json_fail(FL_ERR_FORMAT, at, "local_size", "must be less than chunk_size");
    if (size > c->window) return fl_json_fail(FL_ERR_FORMAT, at, "chunk_size", "is beyond max_position_embeddings");
    if (original == 1) return fl_json_fail(FL_ERR_FORMAT, at, "original_max_position_embeddings", "is no window");
    c->passes = (fl_passes){.kind = FL_PASSES_DUAL_CHUNK, .last = size, .chunk = size - local};
    if (original) {
        c->logn = FL_LOGN_LENGTH;
        c->logn_window = original;
    }
    return FL_OK;
}

static fl_status read_logn(fl_config *c, const fl_json_at *at)
{
    const char *form = NULL;
    FL_TRY(fl_json_need(at, "form"));
    FL_TRY(fl_json_need(at, "window"));
    FL_TRY(fl_json_string(at, "form", &form));
    FL_TRY(fl_json_int(at, "window", 2, INT32_MAX, &c->logn_window, NULL));
    if (fl_logn_parse(&c->logn, form)) return FL_OK;
    return fl_json_fail(FL_ERR_FORMAT, at, "form", "must be beyond, everywhere or length");
}

fl_status fl_passes_config_read(fl_config *c, const fl_json_at *root)
{
    static const struct {
        const char *key;
        fl_status (*read)(fl_config *c, const fl_json_at *at);
    } blocks[] = {{FL_DUAL_CHUNK_KEY, read_dual_chunk}, {FL_LOGN_KEY, read_logn}};
    for (size_t i = 0; i < 2; i++) {
        const json_t *block = json_object_get(root->object, blocks[i].key);
        if (!block || json_is_null(block)) continue;
        char prefix[96];
        snprintf(prefix, sizeof prefix, "%.50s%s.", root->prefix, blocks[i].key);
        fl_json_at at = {block, root->file, prefix};
        if (!json_is_object(block)) return fl_json_fail(FL_ERR_FORMAT, root, blocks[i].key, "must be an object");
        FL_TRY(blocks[i].read(c, &at));
    }
    return FL_OK;
}

static json_t *dual_chunk_block(const fl_config *c)
{
    json_int_t size = c->passes.last, local = c->passes.last - c->passes.chunk, original = c->logn_window;
    if (c->logn != FL_LOGN_LENGTH) return json_pack("{sI sI}", "chunk_size", size, "local_size", local);
    return json_pack("{sI sI sI}", "chunk_size", size, "local_size", local, "original_max_position_embeddings",
                     original);
}

fl_status fl_passes_config_write(json_t *root, const fl_config *c)
{
    bool dual = c->passes.kind == FL_PASSES_DUAL_CHUNK, failed = false;
    if (c->passes.kind != FL_PASSES_PLAIN && !dual) return fl_passes_config_refuse(c, "config.json");
    if (dual) failed = json_object_set_new(root, FL_DUAL_CHUNK_KEY, dual_chunk_block(c));
    if (c->logn != FL_LOGN_OFF && !(dual && c->logn == FL_LOGN_LENGTH)) {
        json_t *block = json_pack("{ss sI}", "form", fl_logn_name(c->logn), "window", (json_int_t)c->logn_window);
        failed = json_object_set_new(root, FL_LOGN_KEY, block) || failed;
    }
    return failed ? fl_fail(FL_ERR_MEMORY, "config.json: no memory for the JSON") : FL_OK;
}

fl_status fl_passes_config_refuse(const fl_config *c, const char *where)
{
    const char *name = fl_passes_name(&c->passes);
    if (c->passes.kind == FL_PASSES_DUAL_CHUNK)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: dual-chunk has a spelling in Hugging Face folders of qwen2 and qwen3 only; write the model "
                       "without it and give --rope-scaling dual-chunk when it is used",
                       where);
    if (c->passes.kind != FL_PASSES_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: no key says %s: write the model without it and give --rope-scaling %s when it is used",
                       where, name, name);
    if (c->logn != FL_LOGN_OFF)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: no key says log-n scaling: write the model without it and give --logn when it is used",
                       where);
    return FL_OK;
}
