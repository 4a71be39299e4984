/* tokenizer_config.json, the Hugging Face file beside a tokenizer. */
#include "base/alloc.h"
#include "base/file.h"
#include "file/json.h"
#include "text/tokenizer_internal.h"

/* Chat templates and lists of added tokens live in this file too. */
static const fl_json_limits LIMITS = {.bytes = 16u << 20, .values = 1 << 20, .depth = 64};

/* "bos_token": "<s>" or {"content": "<s>", ...}; absent or null leaves *id alone. */
static fl_status read_token(const fl_tokenizer *t, const fl_json_at *at, const char *key, int32_t *id)
{
    const json_t *value = json_object_get(at->object, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (!value || json_is_null(value)) return FL_OK;
    if (!json_is_string(value))
        return fl_json_fail(FL_ERR_FORMAT, at, key, "must be a string or {\"content\": string}");
    int32_t found = fl_vocab_find(&t->vocab, json_string_value(value), json_string_length(value));
    if (found < 0) return fl_json_fail(FL_ERR_FORMAT, at, key, "is not in the tokenizer's vocabulary");
    *id = found;
    return FL_OK;
}

static fl_status set_ids(fl_tokens *tokens, bool add, int32_t id)
{
    tokens->count = 0;
    return add && id >= 0 ? fl_tokens_push(tokens, id) : FL_OK;
}

static fl_status apply(fl_tokenizer *t, const fl_json_at *at)
{
    FL_TRY(read_token(t, at, "bos_token", &t->bos));
    FL_TRY(read_token(t, at, "eos_token", &t->eos));
    FL_TRY(read_token(t, at, "unk_token", &t->unk));
    const json_t *bos = json_object_get(at->object, "add_bos_token"),
                 *eos = json_object_get(at->object, "add_eos_token");
    bool told_bos = bos && !json_is_null(bos), told_eos = eos && !json_is_null(eos);
    bool add_bos = fl_tokenizer_adds_bos(t), add_eos = false;
    /* A SentencePiece file keeps its default for the key that is absent. With tokenizer.json one key is enough to
     * replace the whole template, the other counting as false (transformers, update_post_processor). */
    if (t->pipeline && (told_bos || told_eos)) add_bos = false;
    FL_TRY(fl_json_bool(at, "add_bos_token", &add_bos));
    FL_TRY(fl_json_bool(at, "add_eos_token", &add_eos));
    if (!told_bos && !told_eos) return FL_OK;
    FL_TRY(set_ids(&t->prefix, add_bos, t->bos));
    return set_ids(&t->suffix, add_eos, t->eos);
}

fl_status fl_tokenizer_config_apply(fl_tokenizer *t, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? fl_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : fl_strdup(".");
    char *file = folder ? fl_path_join(folder, "tokenizer_config.json") : NULL;
    fl_status status = file ? FL_OK : FL_ERR_MEMORY;
    json_t *root = NULL;
    if (file && fl_file_exists(file)) {
        status = fl_json_read(&root, file, LIMITS);
        if (status == FL_OK) status = apply(t, &(fl_json_at){root, file, ""});
        json_decref(root);
    }
    fl_free(file);
    fl_free(folder);
    return status;
}
