#include "model/rope_options.h"

#include <math.h>

#include "file/rope_config.h"

static bool any(const fl_rope_options *o)
{
    return o->scaling || o->scale != 0 || o->freq_base != 0 || o->freq_scale != 0 || o->yarn_orig_ctx ||
           o->yarn_ext_factor != 0 || o->yarn_attn_factor != 0 || o->yarn_beta_fast != 0 || o->yarn_beta_slow != 0 ||
           o->shape != 0 || o->longrope_factors;
}

static fl_status not_negative(const char *flag, double value)
{
    if (isfinite(value) && value >= 0) return FL_OK;
    return fl_fail(FL_ERR_ARGUMENT, "%s = %g: give a positive number", flag, value);
}

static fl_status scale_of(double *out, const fl_rope_options *o, const fl_rope_spec *rope, int64_t context)
{
    if (o->scale != 0 && o->freq_scale != 0)
        return fl_fail(FL_ERR_ARGUMENT, "--rope-scale and --rope-freq-scale (its inverse) exclude each other");
    *out = o->scale != 0 ? o->scale : o->freq_scale != 0 ? 1 / o->freq_scale : 0;
    if (*out == 0 && context > rope->original_window) *out = (double)context / (double)rope->original_window;
    if (*out == 0) *out = rope->factor > 1 ? rope->factor : 1;
    if (*out < 1)
        return fl_fail(FL_ERR_ARGUMENT,
                       "rope scale = %g: a factor below 1 shrinks the window (--rope-scale takes "
                       "target / trained, --rope-freq-scale its inverse)",
                       *out);
    return FL_OK;
}

/* The file holds what config.json calls rope_scaling, and is read by the same rules. */
static fl_status read_factors(fl_rope_spec *rope, const char *path)
{
    json_t *dictionary;
    FL_TRY(fl_json_read(&dictionary, path, fl_json_config_limits));
    fl_rope_spec read = {.dim = 0};
    json_t *root = json_pack("{sf so}", "rope_theta", rope->base, "rope_scaling", dictionary);
    fl_status s = root ? fl_rope_config_read(&read, root, path, rope->dim, rope->original_window)
                       : fl_fail(FL_ERR_MEMORY, "%s: no memory for the JSON", path);
    json_decref(root);
    FL_TRY(s);
    if (read.kind != FL_ROPE_LONGROPE)
        return fl_fail(FL_ERR_FORMAT, "%s: rope_type = %s: must be longrope, with its factors", path,
                       fl_rope_kind_name(read.kind));
    if (read.original_window != rope->original_window)
        return fl_fail(FL_ERR_ARGUMENT,
                       "%s: original_max_position_embeddings = %lld: the model was trained on %lld tokens", path,
                       (long long)read.original_window, (long long)rope->original_window);
    if (read.base != rope->base)
        return fl_fail(FL_ERR_ARGUMENT, "%s: rope_theta = %g: the model's base is %g", path, read.base, rope->base);
    read.window = llround(read.factor * (double)read.original_window);
    *rope = read;
    return FL_OK;
}

/* moved: the base is another than the file's, which is meant for a window too, though no factor follows from it. */
static fl_status apply_scaling(fl_config *config, const fl_rope_options *o, int64_t context, bool moved)
{
    fl_rope_spec *rope = &config->rope;
    fl_rope_kind kind = rope->kind;
    if (o->scaling)
        FL_TRY(fl_rope_kind_parse(&kind, o->scaling));
    else if (o->scale != 0 || o->freq_scale != 0)
        kind = kind == FL_ROPE_PLAIN ? FL_ROPE_LINEAR : kind;
    if (o->longrope_factors) {
        if (o->scaling && kind != FL_ROPE_LONGROPE)
            return fl_fail(FL_ERR_ARGUMENT, "--longrope-factors: --rope-scaling %s takes none", o->scaling);
        FL_TRY(read_factors(rope, o->longrope_factors));
        kind = FL_ROPE_LONGROPE;
        config->window = rope->window;
        if (o->scale == 0 && o->freq_scale == 0) return FL_OK; /* the file's own factor */
    }
    if (kind == FL_ROPE_LONGROPE && rope->kind != FL_ROPE_LONGROPE)
        return fl_fail(FL_ERR_ARGUMENT, "--rope-scaling longrope needs factors: the model's file has none, so give "
                                        "--longrope-factors FILE (furlong search makes one)");
    if (kind == FL_ROPE_LLAMA3 && rope->kind != FL_ROPE_LLAMA3) {
        rope->low_freq_factor = 1;
        rope->high_freq_factor = 4;
    }
    if (kind != rope->kind) rope->attention_factor = rope->shape = 0;
    rope->kind = kind;
    if (o->shape != 0 && fl_rope_shape(rope) == 0)
        return fl_fail(FL_ERR_ARGUMENT, "--rope-shape %g: %s scaling has no such number", o->shape,
                       fl_rope_kind_name(kind));
    if (o->shape != 0) rope->shape = o->shape;
    if (kind == FL_ROPE_PLAIN) {
        rope->factor = 1;
        config->window = rope->window = rope->original_window;
        if (moved && context > rope->original_window) config->window = rope->window = context;
        return FL_OK;
    }
    if (o->scaling || o->scale != 0 || o->freq_scale != 0) {
        FL_TRY(scale_of(&rope->factor, o, rope, context));
        config->window = rope->window = (int64_t)floor(rope->factor * (double)rope->original_window + 0.5);
    }
    return FL_OK;
}

fl_status fl_rope_options_apply(fl_config *config, const fl_rope_options *o, int64_t context)
{
    if (!any(o)) return FL_OK;
    if (config->positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_ARGUMENT,
                       "this model of family %s has no rotary positions but %s ones, which come with pre-training: the "
                       "--rope and --yarn options do not apply",
                       config->family, fl_positions_name(config->positions));
    FL_TRY(not_negative("--rope-scale", o->scale));
    FL_TRY(not_negative("--rope-freq-scale", o->freq_scale));
    FL_TRY(not_negative("--rope-freq-base", o->freq_base));
    FL_TRY(not_negative("--yarn-attn-factor", o->yarn_attn_factor));
    FL_TRY(not_negative("--yarn-beta-fast", o->yarn_beta_fast));
    FL_TRY(not_negative("--yarn-beta-slow", o->yarn_beta_slow));
    FL_TRY(not_negative("--rope-shape", o->shape));
    fl_rope_spec *rope = &config->rope;
    if (o->yarn_orig_ctx < 0 || o->yarn_orig_ctx > INT64_C(1) << 40)
        return fl_fail(FL_ERR_ARGUMENT, "--yarn-orig-ctx = %lld: give the trained window in tokens",
                       (long long)o->yarn_orig_ctx);
    if (o->yarn_orig_ctx) rope->original_window = o->yarn_orig_ctx;
    bool moved = o->freq_base != 0 && o->freq_base != rope->base;
    if (moved) rope->base = o->freq_base;
    if (o->yarn_ext_factor != 0)
        rope->extrapolation_factor = o->yarn_ext_factor == FL_YARN_EXT_NONE ? 0 : o->yarn_ext_factor;
    if (o->yarn_attn_factor != 0) rope->attn_factor = o->yarn_attn_factor;
    if (o->yarn_beta_fast != 0) rope->beta_fast = o->yarn_beta_fast;
    if (o->yarn_beta_slow != 0) rope->beta_slow = o->yarn_beta_slow;
    FL_TRY(apply_scaling(config, o, context, moved));
    return fl_rope_spec_check(rope);
}
