#include "file/passes_config.h"

#define BLOCK "dual_chunk_attention_config"

fl_status fl_passes_config_read(fl_config *c, const json_t *root, const char *file)
{
    const json_t *block = json_object_get(root, BLOCK);
    if (!block || json_is_null(block)) return FL_OK;
    fl_json_at in = {root, file, ""}, at = {block, file, BLOCK "."};
    if (!json_is_object(block)) return fl_json_fail(FL_ERR_FORMAT, &in, BLOCK, "must be an object");
    int64_t size = 0, local = 0, original = 0;
    FL_TRY(fl_json_need(&at, "chunk_size"));
    FL_TRY(fl_json_need(&at, "local_size"));
    FL_TRY(fl_json_int(&at, "chunk_size", 2, INT32_MAX, &size, NULL));
    FL_TRY(fl_json_int(&at, "local_size", 0, INT32_MAX, &local, NULL));
    FL_TRY(fl_json_int(&at, "original_max_position_embeddings", 0, INT32_MAX, &original, NULL));
    if (local >= size) return fl_json_fail(FL_ERR_FORMAT, &at, "local_size", "must be less than chunk_size");
    if (size > c->window) return fl_json_fail(FL_ERR_FORMAT, &at, "chunk_size", "is beyond the window");
    if (original == 1) return fl_json_fail(FL_ERR_FORMAT, &at, "original_max_position_embeddings", "is no window");
    c->passes = (fl_passes){.kind = FL_PASSES_DUAL_CHUNK, .last = size, .chunk = size - local};
    if (original) {
        c->logn = FL_LOGN_LENGTH;
        c->logn_window = original;
    }
    return FL_OK;
}

fl_status fl_passes_config_write(json_t *root, const fl_config *c)
{
    if (c->passes.kind == FL_PASSES_PLAIN) return fl_passes_config_refuse(c, "config.json");
    if (c->passes.kind != FL_PASSES_DUAL_CHUNK || (c->logn != FL_LOGN_OFF && c->logn != FL_LOGN_LENGTH)) {
        fl_config refused = *c;
        if (c->passes.kind == FL_PASSES_DUAL_CHUNK) refused.passes.kind = FL_PASSES_PLAIN; /* it is the log-n scaling */
        return fl_passes_config_refuse(&refused, "config.json");
    }
    json_t *block = json_pack("{sI sI}", "chunk_size", (json_int_t)c->passes.last, "local_size",
                              (json_int_t)(c->passes.last - c->passes.chunk));
    if (block && c->logn == FL_LOGN_LENGTH &&
        json_object_set_new(block, "original_max_position_embeddings", json_integer(c->logn_window))) {
        json_decref(block);
        block = NULL;
    }
    if (!block || json_object_set_new(root, BLOCK, block))
        return fl_fail(FL_ERR_MEMORY, "config.json: no memory for the JSON");
    return FL_OK;
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
