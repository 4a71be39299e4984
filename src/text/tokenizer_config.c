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

/* Put id at the end of a template where it belongs, or take it away; a key that is absent leaves the template alone. */
static fl_status read_add(const fl_json_at *at, const char *key, int32_t id, bool first, fl_tokens *tokens)
{
    bool there = tokens->count && tokens->id[first ? 0 : tokens->count - 1] == id, add = there;
    FL_TRY(fl_json_bool(at, key, &add));
    if (add == there) return FL_OK;
    if (!add) {
        tokens->count--;
        if (first) memmove(tokens->id, tokens->id + 1, (size_t)tokens->count * sizeof(int32_t));
        return FL_OK;
    }
    if (id < 0)
        return fl_json_fail(FL_ERR_FORMAT, at, key, "but neither this file nor the tokenizer says which token that is");
    FL_TRY(fl_tokens_push(tokens, id));
    if (first) {
        memmove(tokens->id + 1, tokens->id, (size_t)(tokens->count - 1) * sizeof(int32_t));
        tokens->id[0] = id;
    }
    return FL_OK;
}

/* transformers, since version 5, leaves BOS and EOS to the post_processor of tokenizer.json; before, and for
 * SentencePiece files still, these keys decide. Files in use agree with themselves; where one does not, the keys win.
 */
static fl_status apply(fl_tokenizer *t, const fl_json_at *at)
{
    FL_TRY(read_token(t, at, "bos_token", &t->bos));
    FL_TRY(read_token(t, at, "eos_token", &t->eos));
    FL_TRY(read_add(at, "add_bos_token", t->bos, true, &t->prefix));
    return read_add(at, "add_eos_token", t->eos, false, &t->suffix);
}

fl_status fl_tokenizer_config_apply(fl_tokenizer *t, const fl_buffer *config, const char *name)
{
    json_t *root = NULL;
    FL_TRY(fl_json_parse(&root, name, config->data, config->size, LIMITS));
    fl_status status = apply(t, &(fl_json_at){root, name, ""});
    json_decref(root);
    return status;
}

fl_status fl_tokenizer_config_find(char **out, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? fl_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : fl_strdup(".");
    char *file = folder ? fl_path_join(folder, "tokenizer_config.json") : NULL;
    fl_free(folder);
    if (!file) return FL_ERR_MEMORY;
    *out = fl_file_exists(file) ? file : NULL;
    if (!*out) fl_free(file);
    return FL_OK;
}
