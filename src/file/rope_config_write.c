#include <math.h>
#include <string.h>

#include "file/rope_config.h"
#include "position/scaling_law.h"

/* The fraction that, times head_dim and cut to an integer as readers do it, gives dim again. */
static double rotary_fraction(int dim, int64_t head_dim)
{
    double part = (double)dim / (double)head_dim;
    while ((int)((double)head_dim * part) < dim)
        part = nextafter(part, 1.0);
    return part;
}

/* Sets a key and remembers failure, so that a run of keys is checked once. */
static void set(json_t *object, const char *key, json_t *value, bool *failed)
{
    if (json_object_set_new(object, key, value)) *failed = true;
}

static json_t *real_list(const double *value, int count)
{
    json_t *list = json_array();
    for (int i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_real(value[i]))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* The keys of the type beside its name, as both versions spell them. */
static fl_status set_values(json_t *in, const fl_rope_spec *s, bool *failed)
{
    if (s->kind == FL_ROPE_PLAIN) return FL_OK;
    set(in, "factor", json_real(s->factor), failed);
    /* For linear and dynamic the dictionary must hold nothing else: transformers before 4.43 counts its keys. */
    if (s->kind == FL_ROPE_LINEAR || s->kind == FL_ROPE_DYNAMIC) return FL_OK;
    set(in, "original_max_position_embeddings", json_integer(s->original_window), failed);

    double attention = s->attention_factor;
    if (s->kind == FL_ROPE_YARN) {
        if (s->extrapolation_factor != 1)
            return fl_fail(FL_ERR_UNSUPPORTED,
                           "extrapolation_factor = %g: transformers has no such key; only 1 can be written",
                           s->extrapolation_factor);
        if (s->attn_factor != 1) {
            double unused[FL_ROPE_MAX_PAIRS];
            FL_TRY(fl_rope_frequencies(s, s->original_window, unused, &attention));
        }
        set(in, "beta_fast", json_real(s->beta_fast), failed);
        set(in, "beta_slow", json_real(s->beta_slow), failed);
        if (s->mscale != 0) set(in, "mscale", json_real(s->mscale), failed);
        if (s->mscale_all_dim != 0) set(in, "mscale_all_dim", json_real(s->mscale_all_dim), failed);
        if (!s->truncate) set(in, "truncate", json_false(), failed);
    } else if (s->kind == FL_ROPE_LLAMA3) {
        set(in, "low_freq_factor", json_real(s->low_freq_factor), failed);
        set(in, "high_freq_factor", json_real(s->high_freq_factor), failed);
    } else {
        /* transformers 4 takes the ratio of the windows for the factor whatever the dictionary says. */
        if (!(attention > 0) && s->factor != (double)s->window / (double)s->original_window) {
            double unused[FL_ROPE_MAX_PAIRS];
            FL_TRY(fl_rope_frequencies(s, s->original_window, unused, &attention));
        }
        set(in, "short_factor", real_list(s->short_factor, s->factors), failed);
        set(in, "long_factor", real_list(s->long_factor, s->factors), failed);
    }
    if (attention > 0) set(in, "attention_factor", json_real(attention), failed);
    return FL_OK;
}

fl_status fl_rope_as_longrope(fl_rope_spec *spec)
{
    fl_rope_spec as;
    double magnitude;
    fl_rope_spec_init(&as, spec->base, spec->dim, spec->window);
    FL_TRY(fl_rope_divisors(spec, spec->window, as.short_factor, &magnitude));
    memcpy(as.long_factor, as.short_factor, sizeof as.long_factor);
    as.kind = FL_ROPE_LONGROPE;
    as.original_window = spec->original_window;
    as.factor = spec->factor;
    as.attention_factor = magnitude;
    as.factors = spec->dim / 2;
    *spec = as;
    return FL_OK;
}

/* What has no name of its own as something that has. */
static fl_status spell(fl_rope_spec *s)
{
    switch (s->kind) {
    case FL_ROPE_NTK:
        s->base = fl_law_ntk_base(s->base, s->dim, s->factor);
        s->kind = FL_ROPE_PLAIN;
        return FL_OK;
    case FL_ROPE_NTK_PARTS:
        s->kind = FL_ROPE_YARN;
        s->attention_factor = 1;
        return FL_OK;
    case FL_ROPE_NTK_LINEAR:
    case FL_ROPE_MIXED_RADIX:
    case FL_ROPE_POWER:
    case FL_ROPE_TRUNCATED:
    case FL_ROPE_DIVISORS:
        return fl_rope_as_longrope(s);
    case FL_ROPE_DYNAMIC_LINEAR:
    case FL_ROPE_DYNAMIC_YARN:
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "rope_type = %s: transformers has no such schedule; write dynamic, or %s with a fixed factor",
                       fl_rope_kind_name(s->kind), s->kind == FL_ROPE_DYNAMIC_YARN ? "yarn" : "linear");
    default:
        return FL_OK;
    }
}

fl_status fl_rope_config_write(json_t *config, const fl_rope_spec *spec, int64_t head_dim)
{
    FL_TRY(fl_rope_spec_check(spec));
    if (spec->dim > head_dim)
        return fl_fail(FL_ERR_ARGUMENT, "head_dim = %lld: smaller than the %d rotated components", (long long)head_dim,
                       spec->dim);
    fl_rope_spec s = *spec;
    FL_TRY(spell(&s));
    /* The key in which transformers looks for the window that dynamic scaling starts from. */
    int64_t window = s.kind == FL_ROPE_DYNAMIC ? s.original_window : s.window;
    const char *type = s.kind == FL_ROPE_PLAIN ? "default" : fl_rope_kind_name(s.kind);
    /* "rope_type" came with yarn, llama3 and longrope; readers of "type" know only linear and dynamic. */
    const char *old_key = s.kind == FL_ROPE_LINEAR || s.kind == FL_ROPE_DYNAMIC ? "type" : "rope_type";
    bool failed = false;

    json_t *new = json_object(), *old = s.kind == FL_ROPE_PLAIN ? json_null() : json_object();
    set(config, "rope_parameters", new, &failed);
    set(config, "rope_scaling", old, &failed);
    if (failed) return fl_fail(FL_ERR_MEMORY, "rope_parameters: no memory for the JSON");

    set(config, "max_position_embeddings", json_integer(window), &failed);
    set(config, "rope_theta", json_real(s.base), &failed);
    set(new, "rope_type", json_string(type), &failed);
    set(new, "rope_theta", json_real(s.base), &failed);
    if (s.dim != head_dim) {
        double part = rotary_fraction(s.dim, head_dim);
        set(config, "partial_rotary_factor", json_real(part), &failed);
        set(new, "partial_rotary_factor", json_real(part), &failed);
    }
    FL_TRY(set_values(new, &s, &failed));
    if (s.kind != FL_ROPE_PLAIN) {
        set(old, old_key, json_string(type), &failed);
        FL_TRY(set_values(old, &s, &failed));
    }
    /* Beside the dictionary no version objects to the key; longrope of transformers 4 reads it only there. */
    bool outside = s.kind == FL_ROPE_PLAIN || s.kind == FL_ROPE_LINEAR || s.kind == FL_ROPE_LONGROPE;
    if (outside && s.original_window != window)
        set(config, "original_max_position_embeddings", json_integer(s.original_window), &failed);
    return failed ? fl_fail(FL_ERR_MEMORY, "rope_parameters: no memory for the JSON") : FL_OK;
}
