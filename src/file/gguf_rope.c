/* rope.* keys and tensors of divisors to fl_rope_spec. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "file/gguf_config.h"

#define KEY 128

static const char freqs_name[] = "rope_freqs.weight", short_name[] = "rope_factors_short.weight",
                  long_name[] = "rope_factors_long.weight";

typedef struct rope_keys {
    const fl_gguf *keys;
    const char *arch;
} rope_keys;

static const char *key_of(const rope_keys *k, const char *name, char key[KEY])
{
    snprintf(key, KEY, "%s.rope.%s", k->arch, name);
    return key;
}

/* float32 holds a number of the writer's config.json to 24 bits; the shortest decimal that gives it is that number. */
static double shortest(double value)
{
    for (int digits = 1; digits < 9; digits++) {
        char text[32];
        double decimal = 0;
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (sscanf(text, "%lf", &decimal) == 1 && (float)decimal == (float)value) return decimal;
    }
    return value;
}

static fl_status read_real(const rope_keys *k, const char *name, double *out)
{
    char key[KEY];
    double value = *out;
    FL_TRY(fl_gguf_real(k->keys, key_of(k, name, key), &value));
    *out = shortest(value);
    return FL_OK;
}

static fl_status bad(const rope_keys *k, const char *name, fl_status code, const char *why)
{
    char key[KEY];
    return fl_gguf_fail(code, k->keys, key_of(k, name, key), why);
}

/* ---- divisors ------------------------------------------------------------------------------------------------- */

/* Half the rotated components as reals; *found false when there is no such tensor. */
static fl_status read_divisors(const rope_keys *k, const fl_gguf_tensors *tensors, const char *name, int pairs,
                               double *out, bool *found)
{
    const fl_file_tensor *t = fl_gguf_tensors_find(tensors, name);
    *found = t != NULL;
    if (!t) return FL_OK;
    if (t->rank != 1 || t->dim[0] != pairs || !fl_dtype_get(t->type)->real || fl_dtype_get(t->type)->block != 1)
        return fl_gguf_fail(FL_ERR_FORMAT, k->keys, name,
                            "is not one real number for each pair of rotated components (rope.dimension_count / 2)");
    float values[FL_ROPE_MAX_PAIRS];
    fl_to_f32(t->type, t->data, values, pairs);
    for (int i = 0; i < pairs; i++) {
        out[i] = (double)values[i];
        if (!(values[i] > 0) || !isfinite(values[i]))
            return fl_gguf_fail(FL_ERR_FORMAT, k->keys, name, "a divisor is not a positive number");
    }
    return FL_OK;
}

/* Divisors that llama.cpp's converter computed from Llama 3's own settings are named again, so that the model can be
 * written in other formats: they must agree to the float32 in which they were computed. */
static bool is_llama3(fl_rope_spec *spec, const double *divisor)
{
    fl_rope_spec s = *spec;
    int pairs = s.dim / 2, i = 0;
    double scaled[FL_ROPE_MAX_PAIRS], plain[FL_ROPE_MAX_PAIRS], unused;
    s.kind = FL_ROPE_PLAIN;
    if (fl_rope_frequencies(&s, s.window, plain, &unused) != FL_OK) return false;
    s.kind = FL_ROPE_LLAMA3;
    s.factor = shortest(divisor[pairs - 1]);
    s.low_freq_factor = 1;
    s.high_freq_factor = 4;
    /* The first divisor between 1 and the factor lies on the ramp from 4 rotations in the window to 1. */
    while (i < pairs && !(divisor[i] > 1))
        i++;
    if (i == pairs || !(divisor[i] < s.factor)) return false;
    double kept = (1 / divisor[i] - 1 / s.factor) / (1 - 1 / s.factor);
    double window = (1 + 3 * kept) * 2 * acos(-1.0) / plain[i];
    if (!(window >= 1 && window < INT32_MAX)) return false;
    s.original_window = llround(window);
    if (fl_rope_frequencies(&s, s.window, scaled, &unused) != FL_OK) return false;
    for (i = 0; i < pairs; i++)
        if (!(fabs(plain[i] / scaled[i] / divisor[i] - 1) < 1e-5)) return false;
    *spec = s;
    return true;
}

/* Divisors of every position. */
static void set_divisors(fl_rope_spec *spec, const double *divisor, double factor, double magnitude)
{
    int pairs = spec->dim / 2;
    if (factor == 1 && magnitude == 1 && is_llama3(spec, divisor)) return;
    spec->kind = FL_ROPE_DIVISORS;
    spec->factors = pairs;
    spec->attention_factor = magnitude;
    for (int i = 0; i < pairs; i++)
        spec->short_factor[i] = spec->long_factor[i] = divisor[i] * factor;
}

/* ---- kinds ---------------------------------------------------------------------------------------------------- */

typedef struct scaling {
    fl_rope_kind kind; /* PLAIN, LINEAR, YARN, LONGROPE: as the type says */
    bool stated;
    double factor, attn_factor;
    bool has_original;
} scaling;

static fl_status read_type(const rope_keys *k, scaling *s)
{
    static const struct {
        const char *name;
        fl_rope_kind kind;
    } types[] = {
        {"none", FL_ROPE_PLAIN}, {"linear", FL_ROPE_LINEAR}, {"yarn", FL_ROPE_YARN}, {"longrope", FL_ROPE_LONGROPE}};
    char key[KEY];
    fl_gguf_text type = {NULL, 0};
    s->kind = FL_ROPE_LINEAR; /* as llama.cpp has it */
    FL_TRY(fl_gguf_string(k->keys, key_of(k, "scaling.type", key), &type));
    s->stated = type.bytes != NULL;
    if (!s->stated) return FL_OK;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (fl_gguf_text_is(type, types[i].name)) {
            s->kind = types[i].kind;
            return FL_OK;
        }
    return fl_gguf_fail(FL_ERR_UNSUPPORTED, k->keys, key, "is none of none, linear, yarn and longrope");
}

/* A factor of 0 says 1. The older key counts where the newer one is absent. */
static fl_status read_factor(const rope_keys *k, scaling *s)
{
    char key[KEY];
    const char *name = fl_gguf_find(k->keys, key_of(k, "scaling.factor", key)) ? "scaling.factor" : "scale_linear";
    s->factor = 1;
    FL_TRY(read_real(k, name, &s->factor));
    if (s->factor == 0) s->factor = 1;
    if (!(s->factor > 0)) return bad(k, name, FL_ERR_FORMAT, "is negative");
    if (s->kind == FL_ROPE_PLAIN) s->factor = 1; /* "none" switches it off */
    s->attn_factor = 1;
    FL_TRY(read_real(k, "scaling.attn_factor", &s->attn_factor));
    if (!(s->attn_factor > 0)) return bad(k, "scaling.attn_factor", FL_ERR_FORMAT, "must be above 0");
    return FL_OK;
}

/* yarn_attn_factor is what converters make of config.json's attention_factor, which replaces the computed magnitude;
 * 1 is its default. */
static fl_status read_yarn(const rope_keys *k, const scaling *s, fl_rope_spec *spec)
{
    double ext = -1, attention = 1;
    spec->kind = FL_ROPE_YARN;
    spec->factor = s->factor;
    spec->attn_factor = s->attn_factor;
    FL_TRY(read_real(k, "scaling.yarn_ext_factor", &ext));
    FL_TRY(read_real(k, "scaling.yarn_attn_factor", &attention));
    FL_TRY(read_real(k, "scaling.yarn_beta_fast", &spec->beta_fast));
    FL_TRY(read_real(k, "scaling.yarn_beta_slow", &spec->beta_slow));
    if (ext >= 0) spec->extrapolation_factor = ext; /* negative: not set */
    if (attention != 1) {
        if (!(attention > 0)) return bad(k, "scaling.yarn_attn_factor", FL_ERR_FORMAT, "must be above 0");
        spec->attention_factor = attention;
    }
    return FL_OK;
}

static void set_longrope(fl_rope_spec *spec, const scaling *s)
{
    spec->kind = FL_ROPE_LONGROPE;
    spec->factors = spec->dim / 2;
    spec->factor = fmax((double)spec->window / (double)spec->original_window, 1);
    spec->attention_factor = s->attn_factor;
    for (int i = 0; i < spec->factors; i++) {
        spec->short_factor[i] *= s->factor;
        spec->long_factor[i] *= s->factor;
    }
}

static fl_status set_kind(const rope_keys *k, const fl_gguf_tensors *tensors, const scaling *s, fl_rope_spec *spec)
{
    int pairs = spec->dim / 2;
    double divisor[FL_ROPE_MAX_PAIRS];
    bool has_freqs, has_short, has_long;
    FL_TRY(read_divisors(k, tensors, freqs_name, pairs, divisor, &has_freqs));
    FL_TRY(read_divisors(k, tensors, short_name, pairs, spec->short_factor, &has_short));
    FL_TRY(read_divisors(k, tensors, long_name, pairs, spec->long_factor, &has_long));
    if (has_short != has_long)
        return fl_gguf_fail(FL_ERR_FORMAT, k->keys, has_short ? long_name : short_name, "the tensor is missing");
    if (s->kind == FL_ROPE_LONGROPE && !has_short)
        return fl_gguf_fail(FL_ERR_FORMAT, k->keys, short_name, "the tensor is missing; longrope needs it");
    if (s->kind == FL_ROPE_YARN && (has_freqs || has_short))
        return bad(k, "scaling.type", FL_ERR_UNSUPPORTED, "yarn together with tensors of divisors is not supported");
    if (has_freqs && has_short)
        return fl_gguf_fail(FL_ERR_UNSUPPORTED, k->keys, freqs_name, "two kinds of divisors are not supported");
    if (s->kind == FL_ROPE_YARN) return read_yarn(k, s, spec);
    if (has_short) { /* converters of phi3 write no type */
        set_longrope(spec, s);
        return FL_OK;
    }
    if (has_freqs) {
        set_divisors(spec, divisor, s->factor, s->attn_factor);
        return FL_OK;
    }
    if (s->factor >= 1 && s->attn_factor == 1) {
        spec->kind = s->factor > 1 ? FL_ROPE_LINEAR : FL_ROPE_PLAIN;
        spec->factor = s->factor;
        return FL_OK;
    }
    for (int i = 0; i < pairs; i++)
        divisor[i] = 1;
    set_divisors(spec, divisor, s->factor, s->attn_factor);
    return FL_OK;
}

fl_status fl_gguf_rope_read(fl_config *config, const fl_gguf_family *family, const fl_gguf *keys,
                            const fl_gguf_tensors *tensors)
{
    rope_keys k = {keys, family->arch};
    char key[KEY];
    int64_t dim = config->head_dim, original = config->window;
    FL_TRY(fl_gguf_integer(keys, key_of(&k, "dimension_count", key), 1, INT32_MAX, &dim));
    if (dim > config->head_dim || dim % 2 || dim > 2 * FL_ROPE_MAX_PAIRS)
        return fl_gguf_fail(FL_ERR_FORMAT, keys, key, "is not an even number of components of a head, at most 512");
    if (dim != config->head_dim && !family->partial)
        return fl_gguf_fail(FL_ERR_UNSUPPORTED, keys, key, "this architecture rotates whole heads");
    double base = 10000;
    FL_TRY(read_real(&k, "freq_base", &base));
    bool finetuned = false;
    FL_TRY(fl_gguf_bool(keys, key_of(&k, "scaling.finetuned", key), &finetuned));
    FL_TRY(fl_gguf_integer(keys, key_of(&k, "scaling.original_context_length", key), 0, INT32_MAX, &original));
    if (original == 0) original = config->window;

    scaling s;
    FL_TRY(read_type(&k, &s));
    FL_TRY(read_factor(&k, &s));
    fl_rope_spec *spec = &config->rope;
    fl_rope_spec_init(spec, base, (int)dim, config->window);
    spec->original_window = original;
    FL_TRY(set_kind(&k, tensors, &s, spec));
    fl_status status = fl_rope_spec_check(spec);
    return status == FL_OK ? FL_OK : fl_fail_within(FL_ERR_FORMAT, "%s: %s.rope", fl_gguf_name(keys), family->arch);
}
