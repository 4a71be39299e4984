#include "file/rope_config.h"

#include <math.h>
#include <string.h>

#include "base/size.h"

#define DEFAULT_BASE 10000.0 /* of every family that leaves rope_theta out */

/* ---- which keys belong to which type ------------------------------------------------------------------------ */

enum {
    LINEAR = 1 << FL_ROPE_LINEAR,
    DYNAMIC = 1 << FL_ROPE_DYNAMIC,
    YARN = 1 << FL_ROPE_YARN,
    LLAMA3 = 1 << FL_ROPE_LLAMA3,
    LONGROPE = 1 << FL_ROPE_LONGROPE,
    SCALED = LINEAR | DYNAMIC | YARN | LLAMA3 | LONGROPE,
    EVERY = SCALED | 1 << FL_ROPE_PLAIN
};

static const struct {
    const char *name;
    fl_rope_kind kind;
} types[] = {
    {"default", FL_ROPE_PLAIN}, {"linear", FL_ROPE_LINEAR},     {"dynamic", FL_ROPE_DYNAMIC}, {"yarn", FL_ROPE_YARN},
    {"llama3", FL_ROPE_LLAMA3}, {"longrope", FL_ROPE_LONGROPE}, {"su", FL_ROPE_LONGROPE},
};

static const struct {
    const char *name;
    unsigned kinds;
} keys[] = {
    {"rope_type", EVERY},
    {"type", EVERY},
    {"rope_theta", EVERY},
    {"partial_rotary_factor", EVERY},
    {"original_max_position_embeddings", SCALED},
    {"factor", SCALED},
    {"attention_factor", YARN | LONGROPE},
    {"beta_fast", YARN},
    {"beta_slow", YARN},
    {"extrapolation_factor", YARN}, /* of the YaRN repository */
    {"attn_factor", YARN},          /* of the YaRN repository */
    {"finetuned", YARN},            /* says how the file came about, not what to do */
    {"mscale", YARN},
    {"mscale_all_dim", YARN},
    {"truncate", YARN},
    {"low_freq_factor", LLAMA3},
    {"high_freq_factor", LLAMA3},
    {"short_factor", LONGROPE},
    {"long_factor", LONGROPE},
};

/* One of the two dictionaries with what stands at the top level around it. */
typedef struct source {
    fl_json_at top, in; /* in.object is NULL when there is no dictionary */
    int64_t head_dim, window;
} source;

static fl_status read_kind(const source *s, fl_rope_kind *out)
{
    static const char *const spellings[] = {"rope_type", "type"};
    bool found = false;
    fl_rope_kind kind = FL_ROPE_PLAIN;
    for (int i = 0; i < 2; i++) {
        const char *name = NULL;
        FL_TRY(fl_json_string(&s->in, spellings[i], &name));
        if (!name) continue;
        size_t t = 0;
        while (t < sizeof types / sizeof *types && strcmp(name, types[t].name))
            t++;
        if (t == sizeof types / sizeof *types)
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->in, spellings[i],
                                "unknown scaling; known are default, linear, dynamic, yarn, llama3, longrope");
        if (found && types[t].kind != kind)
            return fl_json_fail(FL_ERR_FORMAT, &s->in, "type", "contradicts rope_type; delete one of the two");
        kind = types[t].kind;
        found = true;
    }
    *out = kind;
    return FL_OK;
}

static fl_status check_keys(const source *s, fl_rope_kind kind)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)s->in.object, key, value)
    {
        if (json_is_null(value)) continue;
        if (json_is_object(value))
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->in, key, "positions that differ by layer are not supported");
        size_t k = 0;
        while (k < sizeof keys / sizeof *keys && strcmp(key, keys[k].name))
            k++;
        if (k == sizeof keys / sizeof *keys)
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->in, key,
                                "unknown key; delete it if it is known to have no effect");
        if (!(keys[k].kinds & 1u << kind)) {
            char why[128];
            snprintf(why, sizeof why, "not a key of %s scaling; correct rope_type, or delete it",
                     kind == FL_ROPE_PLAIN ? "default (no)" : fl_rope_kind_name(kind));
            return fl_json_fail(FL_ERR_UNSUPPORTED, &s->in, key, why);
        }
    }
    return FL_OK;
}

/* ---- values that stand at either place ---------------------------------------------------------------------- */

static fl_status real_of_both(const source *s, const char *key, double *out)
{
    double outer = 0, inner = 0;
    bool has_outer, has_inner = false;
    FL_TRY(fl_json_real(&s->top, key, &outer, &has_outer));
    if (s->in.object) FL_TRY(fl_json_real(&s->in, key, &inner, &has_inner));
    if (has_outer && has_inner && outer != inner)
        return fl_json_fail(FL_ERR_FORMAT, &s->in, key, "contradicts the same key at the top level");
    if (has_outer) *out = outer;
    if (has_inner) *out = inner;
    return FL_OK;
}

static fl_status original_of_both(const source *s, int64_t *out, bool *present)
{
    static const char key[] = "original_max_position_embeddings";
    int64_t outer = 0, inner = 0;
    bool has_outer, has_inner = false;
    FL_TRY(fl_json_int(&s->top, key, 1, INT32_MAX, &outer, &has_outer));
    if (s->in.object) FL_TRY(fl_json_int(&s->in, key, 1, INT32_MAX, &inner, &has_inner));
    if (has_outer && has_inner && outer != inner)
        return fl_json_fail(FL_ERR_FORMAT, &s->in, key, "contradicts the same key at the top level");
    if (has_outer) *out = outer;
    if (has_inner) *out = inner;
    *present = has_outer || has_inner;
    return FL_OK;
}

static fl_status read_dim(const source *s, int *out)
{
    double part = 1;
    FL_TRY(real_of_both(s, "partial_rotary_factor", &part));
    bool inside = s->in.object && json_object_get(s->in.object, "partial_rotary_factor");
    const fl_json_at *at = inside ? &s->in : &s->top;
    if (!(part > 0 && part <= 1))
        return fl_json_fail(FL_ERR_FORMAT, at, "partial_rotary_factor", "must be above 0 and at most 1");
    int dim = (int)((double)s->head_dim * part);
    if (dim < 2 || dim % 2) {
        char why[128];
        snprintf(why, sizeof why, "rotates %d of the %lld components of a head: an even number is needed", dim,
                 (long long)s->head_dim);
        return part < 1 ? fl_json_fail(FL_ERR_FORMAT, at, "partial_rotary_factor", why)
                        : fl_json_fail(FL_ERR_FORMAT, &s->top, "head_dim", why);
    }
    *out = dim;
    return FL_OK;
}

/* ---- values of one type ------------------------------------------------------------------------------------- */

/* 0 stands for "absent" in the spec, so a file must not say it. */
static fl_status read_positive(const fl_json_at *at, const char *key, double *out)
{
    bool present;
    FL_TRY(fl_json_real(at, key, out, &present));
    if (present && !(*out > 0)) return fl_json_fail(FL_ERR_FORMAT, at, key, "must be above 0");
    return FL_OK;
}

static fl_status read_factors(const fl_json_at *at, const char *key, int pairs, double *out)
{
    FL_TRY(fl_json_need(at, key));
    const json_t *list = json_object_get(at->object, key);
    if (!json_is_array(list)) return fl_json_fail(FL_ERR_FORMAT, at, key, "is not a list of numbers");
    if (json_array_size(list) != (size_t)pairs) {
        char why[96];
        snprintf(why, sizeof why, "holds %zu numbers; half the rotated components, %d, are needed",
                 json_array_size(list), pairs);
        return fl_json_fail(FL_ERR_FORMAT, at, key, why);
    }
    for (int i = 0; i < pairs; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value)) return fl_json_fail(FL_ERR_FORMAT, at, key, "is not a list of numbers");
        out[i] = json_number_value(value);
    }
    return FL_OK;
}

/* A factor left out (or null) is the ratio of the windows, where transformers allows that. */
static fl_status read_factor(const source *s, fl_rope_spec *spec, bool may_derive)
{
    bool present;
    FL_TRY(fl_json_real(&s->in, "factor", &spec->factor, &present));
    if (!present && !may_derive) return fl_json_need(&s->in, "factor");
    if (!present) spec->factor = (double)spec->window / (double)spec->original_window;
    return FL_OK;
}

static fl_status read_yarn(const source *s, fl_rope_spec *spec)
{
    bool finetuned;
    FL_TRY(read_factor(s, spec, json_object_get(s->in.object, "original_max_position_embeddings") != NULL));
    FL_TRY(read_positive(&s->in, "attention_factor", &spec->attention_factor));
    FL_TRY(read_positive(&s->in, "beta_fast", &spec->beta_fast));
    FL_TRY(read_positive(&s->in, "beta_slow", &spec->beta_slow));
    FL_TRY(fl_json_real(&s->in, "extrapolation_factor", &spec->extrapolation_factor, NULL));
    FL_TRY(read_positive(&s->in, "attn_factor", &spec->attn_factor));
    FL_TRY(fl_json_real(&s->in, "mscale", &spec->mscale, NULL));
    FL_TRY(fl_json_real(&s->in, "mscale_all_dim", &spec->mscale_all_dim, NULL));
    FL_TRY(fl_json_bool(&s->in, "truncate", &spec->truncate));
    return fl_json_bool(&s->in, "finetuned", &finetuned);
}

static fl_status read_llama3(const source *s, fl_rope_spec *spec, bool has_original)
{
    FL_TRY(read_factor(s, spec, false));
    if (!has_original) return fl_json_need(&s->in, "original_max_position_embeddings");
    FL_TRY(fl_json_need(&s->in, "low_freq_factor"));
    FL_TRY(fl_json_need(&s->in, "high_freq_factor"));
    FL_TRY(fl_json_real(&s->in, "low_freq_factor", &spec->low_freq_factor, NULL));
    return fl_json_real(&s->in, "high_freq_factor", &spec->high_freq_factor, NULL);
}

static fl_status read_longrope(const source *s, fl_rope_spec *spec)
{
    FL_TRY(read_factor(s, spec, true));
    FL_TRY(read_positive(&s->in, "attention_factor", &spec->attention_factor));
    spec->factors = spec->dim / 2;
    FL_TRY(read_factors(&s->in, "short_factor", spec->factors, spec->short_factor));
    return read_factors(&s->in, "long_factor", spec->factors, spec->long_factor);
}

static fl_status read_scaled(const source *s, fl_rope_spec *spec, bool has_original)
{
    switch (spec->kind) {
    case FL_ROPE_LINEAR:
        return read_factor(s, spec, false);
    case FL_ROPE_DYNAMIC:
        if (spec->original_window != spec->window) {
            const fl_json_at *at = json_object_get(s->in.object, "original_max_position_embeddings") ? &s->in : &s->top;
            return fl_json_fail(FL_ERR_FORMAT, at, "original_max_position_embeddings",
                                "dynamic scaling grows from max_position_embeddings; make the two equal");
        }
        return read_factor(s, spec, false);
    case FL_ROPE_YARN:
        return read_yarn(s, spec);
    case FL_ROPE_LLAMA3:
        return read_llama3(s, spec, has_original);
    case FL_ROPE_LONGROPE:
        return read_longrope(s, spec);
    default:
        return FL_OK;
    }
}

static fl_status read_source(const source *s, fl_rope_spec *out)
{
    fl_rope_kind kind = FL_ROPE_PLAIN;
    double base = DEFAULT_BASE;
    int dim = 0;
    if (s->in.object) {
        FL_TRY(read_kind(s, &kind));
        FL_TRY(check_keys(s, kind));
    }
    FL_TRY(real_of_both(s, "rope_theta", &base));
    FL_TRY(read_dim(s, &dim));
    fl_rope_spec_init(out, base, dim, s->window);
    out->kind = kind;
    bool has_original = false;
    FL_TRY(original_of_both(s, &out->original_window, &has_original));
    FL_TRY(read_scaled(s, out, has_original));
    if (fl_rope_spec_check(out) == FL_OK) return FL_OK;
    const char *dot = s->in.object ? strchr(s->in.prefix, '.') : NULL;
    if (!dot) return fl_fail_within(FL_ERR_FORMAT, "%s", s->top.file);
    return fl_fail_within(FL_ERR_FORMAT, "%s: %.*s", s->top.file, (int)(dot - s->in.prefix), s->in.prefix);
}

/* ---- both dictionaries -------------------------------------------------------------------------------------- */

const char *fl_rope_difference(const fl_rope_spec *a, const fl_rope_spec *b)
{
    if (a->kind != b->kind) return "rope_type";
    if (a->base != b->base) return "rope_theta";
    if (a->dim != b->dim) return "partial_rotary_factor";
    if (a->window != b->window) return "max_position_embeddings";
    if (a->original_window != b->original_window) return "original_max_position_embeddings";
    if (a->factor != b->factor) return "factor";
    if (a->attention_factor != b->attention_factor) return "attention_factor";
    if (a->beta_fast != b->beta_fast) return "beta_fast";
    if (a->beta_slow != b->beta_slow) return "beta_slow";
    if (a->extrapolation_factor != b->extrapolation_factor) return "extrapolation_factor";
    if (a->attn_factor != b->attn_factor) return "attn_factor";
    if (a->mscale != b->mscale) return "mscale";
    if (a->mscale_all_dim != b->mscale_all_dim) return "mscale_all_dim";
    if (a->truncate != b->truncate) return "truncate";
    if (a->low_freq_factor != b->low_freq_factor) return "low_freq_factor";
    if (a->high_freq_factor != b->high_freq_factor) return "high_freq_factor";
    if (a->shape != b->shape || a->factors != b->factors) return "rope_type";
    for (int i = 0; i < a->factors; i++) {
        if (a->short_factor[i] != b->short_factor[i]) return "short_factor";
        if (a->long_factor[i] != b->long_factor[i]) return "long_factor";
    }
    return NULL;
}

static fl_status find_source(source *s, const char *key, const char *prefix)
{
    const json_t *value = json_object_get(s->top.object, key);
    s->in = (fl_json_at){NULL, s->top.file, prefix};
    if (!value || json_is_null(value)) return FL_OK;
    if (!json_is_object(value)) return fl_json_fail(FL_ERR_FORMAT, &s->top, key, "is neither null nor an object");
    s->in.object = value;
    return FL_OK;
}

fl_status fl_rope_config_read(fl_rope_spec *out, const json_t *config, const char *file, int64_t head_dim,
                              int64_t window)
{
    if (head_dim < 2 || head_dim > 2 * FL_ROPE_MAX_PAIRS)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: head_dim = %lld: rotary heads have 2 to %d components", file,
                       (long long)head_dim, 2 * FL_ROPE_MAX_PAIRS);
    source old = {.top = {config, file, ""}, .head_dim = head_dim, .window = window}, new = old;
    FL_TRY(find_source(&old, "rope_scaling", "rope_scaling."));
    FL_TRY(find_source(&new, "rope_parameters", "rope_parameters."));
    if (!new.in.object) return read_source(&old, out);

    fl_rope_spec spec;
    FL_TRY(read_source(&new, &spec));
    if (old.in.object) {
        fl_rope_spec other;
        FL_TRY(read_source(&old, &other));
        const char *key = fl_rope_difference(&spec, &other);
        if (key)
            return fl_json_fail(FL_ERR_FORMAT, &new.in, key,
                                "rope_scaling says something else; make the two agree, or delete one");
    }
    *out = spec;
    return FL_OK;
}
