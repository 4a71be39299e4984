#include "file/packed_config.h"

#include <stddef.h>
#include <string.h>

#include "file/passes_config.h"

typedef enum number { INT, INT32, REAL, BOOL } number;

/* A member of fl_config or fl_rope_spec that is a number. */
typedef struct field {
    const char *key;
    number number;
    size_t offset;
    int64_t least, most; /* of integers */
} field;

#define OF(type, member) #member, type, offsetof(fl_config, member)
static const field config_fields[] = {
    {OF(INT, vocab), 1, FL_MOST_VOCAB},
    {OF(INT, width), 1, FL_MOST_WIDTH},
    {OF(INT, layers), 1, FL_MOST_LAYERS},
    {OF(INT, heads), 1, FL_MOST_HEADS},
    {OF(INT, kv_heads), 1, FL_MOST_HEADS},
    {OF(INT, head_dim), 1, FL_MOST_WIDTH},
    {OF(INT, ffn), 1, FL_MOST_WIDTH},
    {OF(INT, window), 1, INT64_C(1) << 40},
    {OF(INT, sliding_window), 0, INT32_MAX},
    {OF(REAL, norm_eps), 0, 0},
    {OF(BOOL, tied_head), 0, 0},
    {OF(BOOL, attention_bias), 0, 0},
    {OF(BOOL, output_bias), 0, 0},
    {OF(BOOL, qk_norm), 0, 0},
    {OF(BOOL, parallel_residual), 0, 0},
    {OF(BOOL, qkv_by_head), 0, 0},
    {OF(BOOL, by_output), 0, 0},
    {OF(BOOL, mlp_bias), 0, 0},
    {OF(BOOL, rotary), 0, 0},
    {OF(BOOL, rope_interleaved), 0, 0},
    {OF(INT32, bos), -1, FL_MOST_VOCAB},
    {OF(INT32, pad), -1, FL_MOST_VOCAB},
};
#undef OF

#define OF(type, member) #member, type, offsetof(fl_rope_spec, member)
static const field rope_fields[] = {
    {OF(REAL, base), 0, 0},
    {OF(INT32, dim), 2, 2 * FL_ROPE_MAX_PAIRS},
    {OF(INT, window), 1, INT64_C(1) << 40},
    {OF(INT, original_window), 1, INT64_C(1) << 40},
    {OF(REAL, factor), 0, 0},
    {OF(REAL, attention_factor), 0, 0},
    {OF(REAL, beta_fast), 0, 0},
    {OF(REAL, beta_slow), 0, 0},
    {OF(REAL, extrapolation_factor), 0, 0},
    {OF(REAL, attn_factor), 0, 0},
    {OF(REAL, mscale), 0, 0},
    {OF(REAL, mscale_all_dim), 0, 0},
    {OF(BOOL, truncate), 0, 0},
    {OF(REAL, low_freq_factor), 0, 0},
    {OF(REAL, high_freq_factor), 0, 0},
    {OF(REAL, shape), 0, 0},
};
#undef OF

/* Members that have no key here would be lost: a new one belongs into the tables above, or below beside them. */
_Static_assert(sizeof(void *) != 8 || (sizeof(fl_config) == 4512 && sizeof(fl_rope_spec) == 4240),
               "every member of the config has a key");

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char *const activations[] = {
    [FL_ACT_SILU] = "silu", [FL_ACT_GELU_TANH] = "gelu_tanh", [FL_ACT_GELU_ERF] = "gelu_erf"};

/* ---- writing ------------------------------------------------------------------------------------------------ */

static json_t *value_of(const field *f, const void *record)
{
    const char *at = (const char *)record + f->offset;
    switch (f->number) {
    case INT:
        return json_integer(*(const int64_t *)(const void *)at);
    case INT32:
        return json_integer(*(const int32_t *)(const void *)at);
    case REAL:
        return json_real(*(const double *)(const void *)at);
    default:
        return json_boolean(*(const bool *)(const void *)at);
    }
}

static bool write_fields(json_t *object, const field *f, size_t count, const void *record)
{
    bool failed = false;
    for (size_t i = 0; i < count; i++)
        failed = json_object_set_new(object, f[i].key, value_of(&f[i], record)) || failed;
    return !failed;
}

/* NULL unless all went in: also a value that is not finite has no JSON. */
static json_t *whole(json_t *list, int count)
{
    if (json_array_size(list) == (size_t)count) return list;
    json_decref(list);
    return NULL;
}

static json_t *reals(const double *value, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_real(value[i]));
    return whole(list, count);
}

static json_t *ids(const int32_t *value, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_integer(value[i]));
    return whole(list, count);
}

static json_t *write_rope(const fl_rope_spec *r)
{
    json_t *object = json_object();
    bool done = write_fields(object, rope_fields, COUNT(rope_fields), r);
    done = !json_object_set_new(object, "kind", json_string(fl_rope_kind_name(r->kind))) && done;
    done = !json_object_set_new(object, "short_factor", reals(r->short_factor, r->factors)) && done;
    done = !json_object_set_new(object, "long_factor", reals(r->long_factor, r->factors)) && done;
    if (done) return object;
    json_decref(object);
    return NULL;
}

fl_status fl_packed_config_write(json_t **out, const fl_config *c)
{
    json_t *object = json_object();
    bool done = write_fields(object, config_fields, COUNT(config_fields), c);
    done = !json_object_set_new(object, "family", json_string(c->family)) && done;
    done = !json_object_set_new(object, "positions", json_string(fl_positions_name(c->positions))) && done;
    done = !json_object_set_new(object, "activation", json_string(activations[c->activation])) && done;
    done = !json_object_set_new(object, "stored_type", json_string(fl_dtype_get(c->stored_type)->name)) && done;
    done = !json_object_set_new(object, "eos", ids(c->eos, c->eos_count)) && done;
    done = !json_object_set_new(object, "rope", c->rotary ? write_rope(&c->rope) : json_null()) && done;
    if (!done) {
        json_decref(object);
        return fl_fail(FL_ERR_MEMORY, "config: no memory for the JSON");
    }
    fl_status status = fl_passes_config_write(object, c);
    if (status != FL_OK) {
        json_decref(object);
        return status;
    }
    *out = object;
    return FL_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

static fl_status read_field(const fl_json_at *at, const field *f, void *record)
{
    char *to = (char *)record + f->offset;
    int64_t whole_number = 0;
    FL_TRY(fl_json_need(at, f->key));
    switch (f->number) {
    case REAL:
        return fl_json_real(at, f->key, (double *)(void *)to, NULL);
    case BOOL:
        return fl_json_bool(at, f->key, (bool *)(void *)to);
    default:
        FL_TRY(fl_json_int(at, f->key, f->least, f->most, &whole_number, NULL));
        if (f->number == INT)
            *(int64_t *)(void *)to = whole_number;
        else
            *(int32_t *)(void *)to = (int32_t)whole_number;
        return FL_OK;
    }
}

/* All fields, and no key that is neither a field nor among `others`. */
static fl_status read_fields(const fl_json_at *at, const field *f, size_t count, const char *const *others,
                             void *record)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)at->object, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known = known || !strcmp(key, f[i].key);
        for (const char *const *o = others; *o; o++)
            known = known || !strcmp(key, *o);
        if (!known) return fl_json_fail(FL_ERR_UNSUPPORTED, at, key, "is not a key that is known here");
    }
    for (size_t i = 0; i < count; i++)
        FL_TRY(read_field(at, &f[i], record));
    return FL_OK;
}

static fl_status need_list(const fl_json_at *at, const char *key, size_t most, const json_t **out)
{
    FL_TRY(fl_json_need(at, key));
    *out = json_object_get(at->object, key);
    if (!json_is_array(*out) || json_array_size(*out) > most)
        return fl_json_fail(FL_ERR_FORMAT, at, key, "is not a list, or has more entries than it can mean");
    return FL_OK;
}

static fl_status read_factors(const fl_json_at *at, const char *key, double *out, int *count)
{
    const json_t *list;
    FL_TRY(need_list(at, key, FL_ROPE_MAX_PAIRS, &list));
    *count = (int)json_array_size(list);
    for (int i = 0; i < *count; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value)) return fl_json_fail(FL_ERR_FORMAT, at, key, "holds what is not a number");
        out[i] = json_number_value(value);
    }
    return FL_OK;
}

static fl_status read_rope(const fl_json_at *root, const fl_config *c, fl_rope_spec *out)
{
    static const char *const others[] = {"kind", "short_factor", "long_factor", NULL};
    char prefix[64];
    fl_json_at at = {json_object_get(root->object, "rope"), root->file, prefix};
    const char *kind = NULL;
    int more = 0;
    snprintf(prefix, sizeof prefix, "%.50srope.", root->prefix);
    if (!json_is_object(at.object)) return fl_json_fail(FL_ERR_FORMAT, root, "rope", "is not an object");
    FL_TRY(read_fields(&at, rope_fields, COUNT(rope_fields), others, out));
    FL_TRY(fl_json_need(&at, "kind"));
    FL_TRY(fl_json_string(&at, "kind", &kind));
    fl_status status = fl_rope_kind_parse(&out->kind, kind);
    if (status != FL_OK) return fl_fail_within(status, "%s: %skind", root->file, prefix);
    FL_TRY(read_factors(&at, "short_factor", out->short_factor, &out->factors));
    FL_TRY(read_factors(&at, "long_factor", out->long_factor, &more));
    if (more != out->factors)
        return fl_json_fail(FL_ERR_FORMAT, &at, "long_factor", "has not as many entries as short_factor");
    if (out->dim > c->head_dim) return fl_json_fail(FL_ERR_FORMAT, &at, "dim", "is more than head_dim");
    if (fl_rope_spec_check(out) == FL_OK) return FL_OK;
    return fl_fail_within(FL_ERR_FORMAT, "%s: %srope", root->file, root->prefix);
}

static fl_status read_names(const fl_json_at *at, fl_config *c)
{
    const char *family = NULL, *activation = NULL, *type = NULL;
    FL_TRY(fl_json_need(at, "family"));
    FL_TRY(fl_json_string(at, "family", &family));
    if (strlen(family) >= sizeof c->family) return fl_json_fail(FL_ERR_UNSUPPORTED, at, "family", "is not known");
    strcpy(c->family, family);
    FL_TRY(fl_json_need(at, "activation"));
    FL_TRY(fl_json_string(at, "activation", &activation));
    FL_TRY(fl_json_need(at, "stored_type"));
    FL_TRY(fl_json_string(at, "stored_type", &type));
    size_t a = 0;
    int t = 0;
    while (a < COUNT(activations) && strcmp(activations[a], activation))
        a++;
    while (t < FL_DTYPE_COUNT && strcmp(fl_dtype_get((fl_dtype)t)->name, type))
        t++;
    if (a == COUNT(activations)) return fl_json_fail(FL_ERR_UNSUPPORTED, at, "activation", "is not known");
    if (t == FL_DTYPE_COUNT) return fl_json_fail(FL_ERR_UNSUPPORTED, at, "stored_type", "is not known");
    c->activation = (fl_activation)a;
    c->stored_type = (fl_dtype)t;
    return FL_OK;
}

/* With family and rotary, which must agree. */
static fl_status read_positions(const fl_json_at *at, fl_config *c)
{
    const char *name = NULL;
    FL_TRY(fl_json_need(at, "positions"));
    FL_TRY(fl_json_string(at, "positions", &name));
    int p = 0;
    while (p < FL_POSITIONS_COUNT && strcmp(fl_positions_name((fl_positions)p), name))
        p++;
    if (p == FL_POSITIONS_COUNT) return fl_json_fail(FL_ERR_UNSUPPORTED, at, "positions", "is not known");
    c->positions = (fl_positions)p;
    bool gpt2 = !strcmp(c->family, "gpt2"), llama = !strcmp(c->family, "llama");
    if (c->rotary != (p == FL_POSITIONS_ROTARY || p == FL_POSITIONS_XPOS) || gpt2 != (p == FL_POSITIONS_LEARNED) ||
        (p > FL_POSITIONS_LEARNED && !llama))
        return fl_json_fail(FL_ERR_FORMAT, at, "positions", "contradicts rotary, or are none of this family");
    return FL_OK;
}

static fl_status read_eos(const fl_json_at *at, fl_config *c)
{
    const json_t *list;
    FL_TRY(need_list(at, "eos", FL_MAX_EOS, &list));
    c->eos_count = (int)json_array_size(list);
    for (int i = 0; i < c->eos_count; i++) {
        const json_t *id = json_array_get(list, (size_t)i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= c->vocab)
            return fl_json_fail(FL_ERR_FORMAT, at, "eos", "holds something other than ids of the vocabulary");
        c->eos[i] = (int32_t)json_integer_value(id);
    }
    return FL_OK;
}

fl_status fl_packed_config_read(fl_config *out, const fl_json_at *at)
{
    static const char *const others[] = {"family", "positions",       "activation", "stored_type", "eos",
                                         "rope",   FL_DUAL_CHUNK_KEY, FL_LOGN_KEY,  NULL};
    fl_config c = {0};
    FL_TRY(read_fields(at, config_fields, COUNT(config_fields), others, &c));
    if (c.heads % c.kv_heads) return fl_json_fail(FL_ERR_FORMAT, at, "kv_heads", "does not divide heads");
    if (!(c.norm_eps > 0 && c.norm_eps < 1))
        return fl_json_fail(FL_ERR_FORMAT, at, "norm_eps", "must be above 0 and below 1");
    if (c.bos >= c.vocab) return fl_json_fail(FL_ERR_FORMAT, at, "bos", "is no id of the vocabulary");
    if (c.pad >= c.vocab) return fl_json_fail(FL_ERR_FORMAT, at, "pad", "is no id of the vocabulary");
    FL_TRY(read_names(at, &c));
    FL_TRY(read_eos(at, &c));
    if (c.rotary)
        FL_TRY(read_rope(at, &c, &c.rope));
    else if (!json_is_null(json_object_get(at->object, "rope")))
        return fl_json_fail(FL_ERR_FORMAT, at, "rope", "must be null where rotary is false");
    FL_TRY(read_positions(at, &c));
    FL_TRY(fl_passes_config_read(&c, at));
    *out = c;
    return FL_OK;
}
