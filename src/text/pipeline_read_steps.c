/* Reading normalizer, pre_tokenizer and decoder of tokenizer.json. Nested Sequences become one list; whatever is not
 * known is refused by its name. */
#include <stdio.h>

#include "base/alloc.h"
#include "text/pipeline.h"

#define NAME 160
#define MOST_GROWTH 4096 /* of a token by the decoders */

/* The value of a step: its object, and where it stands for messages ("pre_tokenizer.pretokenizers[1]."). */
typedef struct step {
    fl_json_at at;
    const char *type;
    char prefix[NAME];
} step;

typedef fl_status (*read_function)(fl_pipeline *pipeline, const step *s);

/* Walk the steps of root[key], nested ones of a Sequence under `list` in their place, without recursion. */
static fl_status walk(fl_pipeline *pipeline, const fl_json_at *root, const char *key, const char *list,
                      read_function read)
{
    struct level {
        const json_t *array;
        size_t next;
        char prefix[NAME];
    } level[8];
    int depth = 0;
    const json_t *value = json_object_get(root->object, key);
    step s;
    if (!value || json_is_null(value)) return FL_OK;
    snprintf(s.prefix, sizeof(s.prefix), "%s.", key);
    for (;;) {
        s.at = (fl_json_at){value, root->file, s.prefix};
        if (!json_is_object(value)) return fl_fail(FL_ERR_FORMAT, "%s: %sis not an object", root->file, s.prefix);
        FL_TRY(fl_json_need(&s.at, "type"));
        FL_TRY(fl_json_string(&s.at, "type", &s.type));
        if (strcmp(s.type, "Sequence") == 0) {
            const json_t *array = json_object_get(value, list);
            if (!json_is_array(array)) return fl_json_fail(FL_ERR_FORMAT, &s.at, list, "must be a list");
            if (depth == 8) return fl_json_fail(FL_ERR_UNSUPPORTED, &s.at, "type", "Sequences nested deeper than 8");
            level[depth].array = array;
            level[depth].next = 0;
            memcpy(level[depth++].prefix, s.prefix, NAME);
        } else {
            FL_TRY(read(pipeline, &s));
        }
        while (depth && level[depth - 1].next == json_array_size(level[depth - 1].array))
            depth--;
        if (depth == 0) return FL_OK;
        struct level *top = &level[depth - 1];
        value = json_array_get(top->array, top->next);
        snprintf(s.prefix, sizeof(s.prefix), "%.80s%s[%zu].", top->prefix, list, top->next);
        top->next++;
    }
}

static fl_status too_many(const step *s)
{
    return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "type", "more steps than are supported (16)");
}

static fl_status copy_string(const step *s, const char *key, char **out)
{
    const char *text = NULL;
    FL_TRY(fl_json_need(&s->at, key));
    FL_TRY(fl_json_string(&s->at, key, &text));
    if (strlen(text) > FL_PIECE_BYTES) return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, key, "longer than 1024 bytes");
    fl_free(*out);
    *out = fl_strdup(text);
    return *out ? FL_OK : FL_ERR_MEMORY;
}

/* {"String": "..."} or {"Regex": "..."} */
static fl_status read_pattern(const step *s, fl_pipeline_pattern *out)
{
    const json_t *pattern = json_object_get(s->at.object, "pattern");
    const json_t *text = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    if (json_is_string(text) && json_string_length(text) > 0 && json_string_length(text) <= FL_PIECE_BYTES) {
        out->text = fl_strdup(json_string_value(text));
        out->length = json_string_length(text);
        return out->text ? FL_OK : FL_ERR_MEMORY;
    }
    if (!json_is_string(regex))
        return fl_json_fail(FL_ERR_FORMAT, &s->at, "pattern",
                            "must be {\"String\": ...} of 1 to 1024 bytes or {\"Regex\": ...}");
    fl_status status = fl_regex_compile(&out->regex, json_string_value(regex));
    return status == FL_OK ? FL_OK : fl_fail_within(status, "%s: %spattern.Regex", s->at.file, s->at.prefix);
}

/* ---- normalizer --------------------------------------------------------------------------------------------- */

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool base64(const char *s, fl_buffer *out)
{
    uint32_t bits = 0;
    int have = 0;
    for (; *s && *s != '='; s++) {
        int digit = base64_digit(*s);
        if (digit < 0) return false;
        bits = bits << 6 | (uint32_t)digit;
        if ((have += 6) >= 8) {
            char byte = (char)(bits >> (have -= 8));
            fl_buffer_append(out, &byte, 1);
        }
    }
    return !out->failed;
}

static fl_status read_charsmap(const step *s, fl_charsmap *out)
{
    const char *text = NULL;
    FL_TRY(fl_json_need(&s->at, "precompiled_charsmap"));
    FL_TRY(fl_json_string(&s->at, "precompiled_charsmap", &text));
    fl_buffer blob = {0};
    fl_status status = FL_OK;
    if (!base64(text, &blob))
        status = fl_json_fail(FL_ERR_FORMAT, &s->at, "precompiled_charsmap", "is not base64");
    else if (fl_charsmap_open(out, blob.data, blob.size) != FL_OK)
        status = fl_fail_within(FL_ERR_FORMAT, "%s: %sprecompiled_charsmap", s->at.file, s->at.prefix);
    fl_buffer_free(&blob);
    return status;
}

static fl_status read_normalizer(fl_pipeline *pipeline, const step *s)
{
    static const struct {
        const char *type;
        fl_normal_form form;
    } forms[] = {{"NFC", FL_NFC}, {"NFD", FL_NFD}, {"NFKC", FL_NFKC}, {"NFKD", FL_NFKD}};
    if (pipeline->normalizers == FL_PIPELINE_STEPS) return too_many(s);
    fl_pipeline_normalizer *n = &pipeline->normalizer[pipeline->normalizers++];
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (strcmp(s->type, forms[i].type) == 0) {
            n->kind = FL_PIPELINE_FORM;
            n->form = forms[i].form;
            return FL_OK;
        }
    if (strcmp(s->type, "Prepend") == 0) {
        n->kind = FL_PIPELINE_PREPEND;
        FL_TRY(copy_string(s, "prepend", &n->content));
        n->content_length = strlen(n->content);
        return FL_OK;
    }
    if (strcmp(s->type, "Replace") == 0) {
        n->kind = FL_PIPELINE_REPLACE;
        FL_TRY(copy_string(s, "content", &n->content));
        n->content_length = strlen(n->content);
        return read_pattern(s, &n->pattern);
    }
    if (strcmp(s->type, "Strip") == 0) {
        n->kind = FL_PIPELINE_STRIP;
        FL_TRY(fl_json_bool(&s->at, "strip_left", &n->left));
        return fl_json_bool(&s->at, "strip_right", &n->right);
    }
    if (strcmp(s->type, "Precompiled") == 0) {
        n->kind = FL_PIPELINE_CHARSMAP;
        return read_charsmap(s, &n->map);
    }
    if (strcmp(s->type, "ByteLevel") == 0) {
        n->kind = FL_PIPELINE_TO_BYTES;
        return FL_OK;
    }
    return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "type",
                        "only NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, Precompiled, ByteLevel and Sequence");
}

fl_status fl_pipeline_read_normalizer(fl_pipeline *pipeline, const fl_json_at *root)
{
    return walk(pipeline, root, "normalizer", "normalizers", read_normalizer);
}

/* ---- pre_tokenizer ------------------------------------------------------------------------------------------ */

static fl_status read_behavior(const step *s, fl_pipeline_behavior *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = NULL;
    FL_TRY(fl_json_need(&s->at, "behavior"));
    FL_TRY(fl_json_string(&s->at, "behavior", &name));
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (fl_pipeline_behavior)i;
            return FL_OK;
        }
    return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "behavior",
                        "must be Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
}

static fl_status read_split(fl_pipeline_splitter *p, const step *s)
{
    const json_t *regex = json_object_get(json_object_get(s->at.object, "pattern"), "Regex");
    p->kind = FL_PIPELINE_SPLIT;
    FL_TRY(read_behavior(s, &p->behavior));
    FL_TRY(fl_json_bool(&s->at, "invert", &p->invert));
    p->scanner = json_is_string(regex) ? fl_scan_known(json_string_value(regex)) : FL_SCAN_NONE;
    return p->scanner != FL_SCAN_NONE ? FL_OK : read_pattern(s, &p->pattern);
}

static fl_status read_replacement(const step *s, const char *key, char out[5])
{
    const char *text = NULL;
    uint32_t cp;
    FL_TRY(fl_json_need(&s->at, key));
    FL_TRY(fl_json_string(&s->at, key, &text));
    if (strlen(text) > 4 || strlen(text) == 0 || fl_utf8_decode(text, strlen(text), &cp) != strlen(text))
        return fl_json_fail(FL_ERR_FORMAT, &s->at, key, "must be one character");
    memcpy(out, text, strlen(text) + 1);
    return FL_OK;
}

/* prepend_scheme, or the older add_prefix_space. */
static fl_status read_scheme(const step *s, fl_pipeline_scheme *out)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *name = "always";
    bool prefix = true;
    FL_TRY(fl_json_string(&s->at, "prepend_scheme", &name));
    FL_TRY(fl_json_bool(&s->at, "add_prefix_space", &prefix));
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (fl_pipeline_scheme)i;
            if (!prefix && *out != FL_PIPELINE_NEVER && json_object_get(s->at.object, "prepend_scheme"))
                return fl_json_fail(FL_ERR_FORMAT, &s->at, "prepend_scheme", "contradicts add_prefix_space = false");
            if (!prefix) *out = FL_PIPELINE_NEVER;
            return FL_OK;
        }
    return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "prepend_scheme", "must be never, first or always");
}

static fl_status read_splitter(fl_pipeline *pipeline, const step *s)
{
    if (pipeline->splitters == FL_PIPELINE_STEPS) return too_many(s);
    fl_pipeline_splitter *p = &pipeline->splitter[pipeline->splitters++];
    if (strcmp(s->type, "ByteLevel") == 0) {
        p->kind = FL_PIPELINE_BYTE_LEVEL;
        p->add_prefix_space = p->use_regex = true;
        FL_TRY(fl_json_bool(&s->at, "add_prefix_space", &p->add_prefix_space));
        return fl_json_bool(&s->at, "use_regex", &p->use_regex);
    }
    if (strcmp(s->type, "Split") == 0) return read_split(p, s);
    if (strcmp(s->type, "Metaspace") == 0) {
        p->kind = FL_PIPELINE_METASPACE;
        p->split = true;
        FL_TRY(read_replacement(s, "replacement", p->replacement));
        FL_TRY(fl_json_bool(&s->at, "split", &p->split));
        return read_scheme(s, &p->scheme);
    }
    if (strcmp(s->type, "Digits") == 0) {
        p->kind = FL_PIPELINE_DIGITS;
        return fl_json_bool(&s->at, "individual_digits", &p->individual);
    }
    if (strcmp(s->type, "Punctuation") == 0) {
        p->kind = FL_PIPELINE_PUNCTUATION;
        return json_object_get(s->at.object, "behavior") ? read_behavior(s, &p->behavior) : FL_OK;
    }
    if (strcmp(s->type, "WhitespaceSplit") == 0) {
        p->kind = FL_PIPELINE_WHITESPACE_SPLIT;
        return FL_OK;
    }
    return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "type",
                        "only ByteLevel, Split, Metaspace, Digits, Punctuation, WhitespaceSplit and Sequence");
}

fl_status fl_pipeline_read_splitter(fl_pipeline *pipeline, const fl_json_at *root)
{
    return walk(pipeline, root, "pre_tokenizer", "pretokenizers", read_splitter);
}

/* ---- decoder ------------------------------------------------------------------------------------------------ */

static bool has_decoder(const fl_pipeline *pipeline, fl_pipeline_decoder_kind kind)
{
    for (int i = 0; i + 1 < pipeline->decoders; i++)
        if (pipeline->decoder[i].kind == kind) return true;
    return false;
}

static fl_status read_strip(const fl_pipeline *pipeline, fl_pipeline_decoder *d, const step *s)
{
    d->kind = FL_PIPELINE_DECODE_STRIP;
    FL_TRY(read_replacement(s, "content", d->character));
    FL_TRY(fl_json_int(&s->at, "start", 0, 1 << 20, &d->start, NULL));
    FL_TRY(fl_json_int(&s->at, "stop", 0, 1 << 20, &d->stop, NULL));
    if (d->start > 1 || d->stop || strlen(d->character) > 1 || !has_decoder(pipeline, FL_PIPELINE_DECODE_FUSE))
        return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "type",
                            "only after Fuse, with one ASCII character, start 0 or 1 and stop 0: others cannot stream");
    return FL_OK;
}

/* Replacements one after the other must not make a token longer without bounds. */
static fl_status check_growth(const fl_pipeline *pipeline, const step *s)
{
    size_t factor = 1;
    for (int i = 0; i < pipeline->decoders; i++) {
        const fl_pipeline_decoder *d = &pipeline->decoder[i];
        if (d->kind != FL_PIPELINE_DECODE_REPLACE || !d->content) continue;
        factor *= 1 + strlen(d->content) / strlen(d->pattern);
        if (factor > MOST_GROWTH)
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "content", "makes tokens too many times longer");
    }
    return FL_OK;
}

static fl_status read_decoder(fl_pipeline *pipeline, const step *s)
{
    if (pipeline->decoders == FL_PIPELINE_STEPS) return too_many(s);
    fl_pipeline_decoder *d = &pipeline->decoder[pipeline->decoders++];
    if (strcmp(s->type, "ByteLevel") == 0) {
        d->kind = FL_PIPELINE_DECODE_BYTE_LEVEL;
        return FL_OK;
    }
    if (strcmp(s->type, "ByteFallback") == 0) {
        d->kind = FL_PIPELINE_DECODE_BYTE_FALLBACK;
        return FL_OK;
    }
    if (strcmp(s->type, "Fuse") == 0) {
        d->kind = FL_PIPELINE_DECODE_FUSE;
        return FL_OK;
    }
    if (strcmp(s->type, "Strip") == 0) return read_strip(pipeline, d, s);
    if (strcmp(s->type, "Metaspace") == 0) {
        fl_pipeline_scheme scheme = FL_PIPELINE_ALWAYS;
        d->kind = FL_PIPELINE_DECODE_METASPACE;
        FL_TRY(read_replacement(s, "replacement", d->character));
        FL_TRY(read_scheme(s, &scheme));
        d->drop_first = scheme != FL_PIPELINE_NEVER;
        return FL_OK;
    }
    if (strcmp(s->type, "Replace") == 0) {
        d->kind = FL_PIPELINE_DECODE_REPLACE;
        const json_t *text = json_object_get(json_object_get(s->at.object, "pattern"), "String");
        if (!json_is_string(text) || json_string_length(text) == 0 || json_string_length(text) > FL_PIECE_BYTES)
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "pattern", "a decoder replaces {\"String\": ...} only");
        if (has_decoder(pipeline, FL_PIPELINE_DECODE_FUSE))
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "type", "not after Fuse: it cannot stream");
        if (!(d->pattern = fl_strdup(json_string_value(text)))) return FL_ERR_MEMORY;
        FL_TRY(copy_string(s, "content", &d->content));
        return check_growth(pipeline, s);
    }
    return fl_json_fail(FL_ERR_UNSUPPORTED, &s->at, "type",
                        "only ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip and Sequence");
}

fl_status fl_pipeline_read_decoder(fl_pipeline *pipeline, const fl_json_at *root)
{
    const json_t *decoder = json_object_get(root->object, "decoder");
    pipeline->joins_with_spaces = !decoder || json_is_null(decoder);
    return walk(pipeline, root, "decoder", "decoders", read_decoder);
}
