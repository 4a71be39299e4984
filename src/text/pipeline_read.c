/* Reading tokenizer.json: what stands around the model. `truncation` and `padding` are not obeyed: they belong to a
 * training script's batches, and furlong cuts nothing silently. */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "text/pipeline.h"

/* A tokenizer of 2^18 pieces and twice as many merges, spelled as pairs, has two million values. */
static const fl_json_limits LIMITS = {.bytes = FL_TOKENIZER_FILE_BYTES, .values = 4 << 20, .depth = 64};

static void free_pattern(fl_pipeline_pattern *p)
{
    fl_free(p->text);
    fl_regex_free(p->regex);
}

void fl_pipeline_close(fl_tokenizer *t)
{
    fl_pipeline *pipeline = t->pipeline;
    if (!pipeline) return;
    for (int i = 0; i < FL_PIPELINE_STEPS; i++) {
        free_pattern(&pipeline->normalizer[i].pattern);
        fl_free(pipeline->normalizer[i].content);
        fl_charsmap_free(&pipeline->normalizer[i].map);
        free_pattern(&pipeline->splitter[i].pattern);
        fl_free(pipeline->decoder[i].pattern);
        fl_free(pipeline->decoder[i].content);
    }
    for (int64_t i = 0; i < pipeline->added_count; i++)
        fl_free(pipeline->added[i].form);
    fl_free(pipeline->added);
    fl_free(pipeline->added_of);
    fl_free(pipeline->only_added);
    fl_trie_free(&pipeline->raw);
    fl_trie_free(&pipeline->normalized);
    fl_free(pipeline);
    t->pipeline = NULL;
}

/* ---- added tokens ------------------------------------------------------------------------------------------- */

/* How the token looks in normalised text. */
static fl_status find_form(const fl_pipeline *pipeline, fl_pipeline_added *a, const char *content)
{
    fl_buffer text = {0}, spare = {0};
    bool origin = true;
    fl_buffer_text(&text, content);
    fl_status status = text.failed ? FL_ERR_MEMORY : fl_pipeline_normalize(pipeline, &text, &spare, &origin);
    if (status == FL_OK && strcmp(text.data, content) != 0) {
        a->form = fl_strndup(text.data, text.size);
        a->form_length = text.size;
        if (!a->form) status = FL_ERR_MEMORY;
    }
    fl_buffer_free(&text);
    fl_buffer_free(&spare);
    return status;
}

/* next: the id that the library gives to the next token the model does not have. */
static fl_status read_added(fl_tokenizer *t, const fl_json_at *at, int64_t *next)
{
    fl_pipeline *pipeline = t->pipeline;
    fl_pipeline_added a = {.normalized = true};
    const char *content = NULL;
    int64_t id = -1;
    FL_TRY(fl_json_need(at, "content"));
    FL_TRY(fl_json_string(at, "content", &content));
    FL_TRY(fl_json_need(at, "id"));
    FL_TRY(fl_json_int(at, "id", 0, FL_VOCAB_MAX_ID - 1, &id, NULL));
    FL_TRY(fl_json_bool(at, "special", &a.special));
    a.normalized = !a.special;
    FL_TRY(fl_json_bool(at, "normalized", &a.normalized));
    FL_TRY(fl_json_bool(at, "single_word", &a.single_word));
    FL_TRY(fl_json_bool(at, "lstrip", &a.lstrip));
    FL_TRY(fl_json_bool(at, "rstrip", &a.rstrip));
    if (!*content) return FL_OK; /* ignored by the library too */
    if (strlen(content) > FL_PIECE_BYTES)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "content", "longer than 1024 bytes");
    int32_t known = fl_vocab_find(&t->vocab, content, strlen(content));
    int64_t expected = known >= 0 ? known : *next;
    if (id != expected) {
        char why[96];
        snprintf(why, sizeof(why), "the tokenizers library gives this token the id %" PRId64 "; correct the file",
                 expected);
        return fl_json_fail(FL_ERR_FORMAT, at, "id", why);
    }
    if (known < 0) {
        fl_status added = fl_vocab_set(&t->vocab, id, content, strlen(content));
        if (added != FL_OK) return fl_fail_within(added, "%s: %scontent", at->file, at->prefix);
        pipeline->only_added[id] = 1;
        ++*next;
    }
    a.id = (int32_t)id;
    fl_status status = a.normalized ? find_form(pipeline, &a, content) : FL_OK;
    if (status != FL_OK) return fl_fail_within(status, "%s: %scontent", at->file, at->prefix);
    int32_t told = pipeline->added_of[id];
    if (told >= 0) { /* twice: the later one counts */
        fl_free(pipeline->added[told].form);
        pipeline->added[told] = a;
        return FL_OK;
    }
    pipeline->added_of[id] = (int32_t)pipeline->added_count;
    pipeline->added[pipeline->added_count++] = a;
    return FL_OK;
}

static fl_status build_tries(fl_tokenizer *t)
{
    fl_pipeline *pipeline = t->pipeline;
    fl_trie_key *keys = fl_calloc((size_t)pipeline->added_count + 1, sizeof(*keys));
    if (!keys) return FL_ERR_MEMORY;
    fl_status status = FL_OK;
    for (int normalized = 0; normalized < 2 && status == FL_OK; normalized++) {
        size_t count = 0;
        for (int64_t i = 0; i < pipeline->added_count; i++) {
            const fl_pipeline_added *a = &pipeline->added[i];
            if (a->normalized != (normalized == 1)) continue;
            fl_trie_key *key = &keys[count];
            key->bytes = fl_vocab_piece(&t->vocab, a->id, &key->length);
            if (a->form) {
                key->bytes = a->form;
                key->length = a->form_length;
            }
            key->value = (int32_t)i;
            count += key->length > 0;
        }
        status = fl_trie_build(normalized ? &pipeline->normalized : &pipeline->raw, keys, count);
    }
    fl_free(keys);
    return status;
}

static fl_status read_added_tokens(fl_tokenizer *t, const fl_json_at *root)
{
    fl_pipeline *pipeline = t->pipeline;
    const json_t *list = json_object_get(root->object, "added_tokens");
    const size_t count = json_array_size(list);
    if (list && !json_is_null(list) && !json_is_array(list))
        return fl_json_fail(FL_ERR_FORMAT, root, "added_tokens", "must be a list");
    int64_t next = pipeline->model_pieces;
    const size_t ids = (size_t)t->vocab.count + count + 1; /* no id will be larger */
    pipeline->added = fl_calloc(count + 1, sizeof(*pipeline->added));
    pipeline->added_of = fl_realloc(NULL, ids, sizeof(int32_t));
    uint8_t *only_added = fl_realloc(pipeline->only_added, ids, 1);
    if (only_added) pipeline->only_added = only_added;
    if (!pipeline->added || !pipeline->added_of || !only_added) return FL_ERR_MEMORY;
    memset(pipeline->added_of, 0xFF, ids * sizeof(int32_t));
    memset(pipeline->only_added, 0, ids);
    for (size_t i = 0; i < count; i++) {
        char prefix[48];
        snprintf(prefix, sizeof(prefix), "added_tokens[%zu].", i);
        fl_json_at at = {json_array_get(list, i), root->file, prefix};
        if (!json_is_object(at.object)) return fl_json_fail(FL_ERR_FORMAT, root, "added_tokens", "must hold objects");
        FL_TRY(read_added(t, &at, &next));
    }
    return build_tries(t);
}

/* ---- post_processor ----------------------------------------------------------------------------------------- */

static fl_status push_ids(fl_tokenizer *t, const fl_json_at *at, const char *name, fl_tokens *out)
{
    const json_t *entry = json_object_get(json_object_get(at->object, "special_tokens"), name);
    const json_t *ids = json_object_get(entry, "ids");
    if (!json_is_array(ids)) {
        char shown[FL_SHOWN];
        return fl_fail(FL_ERR_FORMAT, "%s: %sspecial_tokens has no ids for \"%s\" of the template", at->file,
                       at->prefix, fl_show_text(shown, name));
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || !fl_vocab_piece(&t->vocab, json_integer_value(id), NULL)) {
            char shown[FL_SHOWN];
            return fl_fail(FL_ERR_FORMAT, "%s: %sspecial_tokens: %s is no id of the vocabulary", at->file, at->prefix,
                           fl_show_json(shown, id));
        }
        FL_TRY(fl_tokens_push(out, (int32_t)json_integer_value(id)));
    }
    return FL_OK;
}

static fl_status read_template(fl_tokenizer *t, const fl_json_at *at)
{
    const json_t *single = json_object_get(at->object, "single");
    int texts = 0;
    if (!json_is_array(single)) return fl_json_fail(FL_ERR_FORMAT, at, "single", "must be a list");
    if (t->prefix.count || t->suffix.count)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "type", "a second template after one with special tokens");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const json_t *text = json_object_get(item, "Sequence"), *token = json_object_get(item, "SpecialToken");
        const char *id = json_string_value(json_object_get(text ? text : token, "id"));
        if (!id)
            return fl_json_fail(FL_ERR_FORMAT, at, "single",
                                "must hold {\"Sequence\": {\"id\"}} or {\"SpecialToken\": {\"id\"}}");
        if (token)
            FL_TRY(push_ids(t, at, id, texts ? &t->suffix : &t->prefix));
        else if (strcmp(id, "A") != 0 || ++texts != 1)
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, "single", "must hold the text A once and no other");
    }
    return texts == 1 ? FL_OK
                      : fl_json_fail(FL_ERR_UNSUPPORTED, at, "single", "must hold the text A once and no other");
}

static fl_status read_processor(fl_tokenizer *t, const fl_json_at *at, bool nested)
{
    const char *type = NULL;
    FL_TRY(fl_json_need(at, "type"));
    FL_TRY(fl_json_string(at, "type", &type));
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(t, at);
    if (strcmp(type, "ByteLevel") == 0) return FL_OK; /* only trims offsets, which nobody asks for */
    return fl_json_fail(FL_ERR_UNSUPPORTED, at, "type",
                        nested ? "only TemplateProcessing and ByteLevel"
                               : "only TemplateProcessing, ByteLevel and Sequence");
}

static fl_status read_post_processor(fl_tokenizer *t, const fl_json_at *root)
{
    const json_t *value = json_object_get(root->object, "post_processor");
    const json_t *list = json_object_get(value, "processors"), *type = json_object_get(value, "type");
    if (!value || json_is_null(value)) return FL_OK;
    if (!json_is_object(value)) return fl_json_fail(FL_ERR_FORMAT, root, "post_processor", "must be an object");
    fl_json_at at = {value, root->file, "post_processor."};
    if (!json_is_string(type) || strcmp(json_string_value(type), "Sequence") != 0) return read_processor(t, &at, false);
    if (!json_is_array(list)) return fl_json_fail(FL_ERR_FORMAT, &at, "processors", "must be a list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        char prefix[64];
        snprintf(prefix, sizeof(prefix), "post_processor.processors[%zu].", i);
        fl_json_at item = {json_array_get(list, i), root->file, prefix};
        if (!json_is_object(item.object)) return fl_json_fail(FL_ERR_FORMAT, &at, "processors", "must hold objects");
        FL_TRY(read_processor(t, &item, true));
    }
    return FL_OK;
}

/* ---- */

/* BOS and EOS by their usual names, where neither a template nor tokenizer_config.json tells. */
static int32_t usual(const fl_tokenizer *t, const char *const *names)
{
    for (; *names; names++) {
        int32_t id = fl_vocab_find(&t->vocab, *names, strlen(*names));
        if (id >= 0 && t->pipeline->added_of[id] >= 0 && t->pipeline->added[t->pipeline->added_of[id]].special)
            return id;
    }
    return -1;
}

static fl_status read_root(fl_tokenizer *t, const fl_json_at *root)
{
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<bos>", "<|endoftext|>", NULL};
    static const char *const eos[] = {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", NULL};
    const char *version = "1.0";
    FL_TRY(fl_json_string(root, "version", &version));
    if (strcmp(version, "1.0") != 0) return fl_json_fail(FL_ERR_UNSUPPORTED, root, "version", "only 1.0 is supported");
    FL_TRY(fl_pipeline_read_normalizer(t->pipeline, root));
    FL_TRY(fl_pipeline_read_splitter(t->pipeline, root));
    FL_TRY(fl_pipeline_read_decoder(t->pipeline, root));
    FL_TRY(fl_pipeline_read_model(t, root));
    FL_TRY(read_added_tokens(t, root));
    FL_TRY(read_post_processor(t, root));
    t->bos = t->prefix.count ? t->prefix.id[0] : usual(t, bos);
    t->eos = t->suffix.count ? t->suffix.id[t->suffix.count - 1] : usual(t, eos);
    return FL_OK;
}

fl_status fl_pipeline_load(fl_tokenizer *t, const fl_buffer *bytes, const char *path)
{
    json_t *root = NULL;
    t->format = &FL_PIPELINE_FORMAT;
    t->repair = FL_REPAIR_SEQUENCE;
    if (!(t->pipeline = fl_calloc(1, sizeof(*t->pipeline)))) return FL_ERR_MEMORY;
    FL_TRY(fl_json_parse(&root, path, bytes->data, bytes->size, LIMITS));
    fl_status status = read_root(t, &(fl_json_at){root, path, ""});
    json_decref(root);
    return status;
}
