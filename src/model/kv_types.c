/* The types of keys and values by the names that options give. */
#include <string.h>

#include "model/model.h"

static const struct {
    const char *name;
    fl_dtype type;
} types[] = {{"f32", FL_F32}, {"f16", FL_F16}, {"bf16", FL_BF16}, {"q8_0", FL_Q8_0}, {"q4_0", FL_Q4_0}};

#define TYPES (int)(sizeof types / sizeof *types)

static fl_status type_named(const char *option, const char *name, int64_t head_dim, fl_dtype *out)
{
    int i = 0;
    while (name && i < TYPES && strcmp(name, types[i].name) != 0)
        i++;
    if (i == TYPES)
        return fl_fail(FL_ERR_ARGUMENT, "%s = %.40s: is none of f32, f16, bf16, q8_0, q4_0", option, name);
    *out = types[i].type;
    const fl_dtype_info *info = fl_dtype_get(*out);
    if (head_dim < info->block)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s = %s: stores blocks of %d values, which are larger than the model's heads of %lld; f32, f16 "
                       "and bf16 fit",
                       option, name, info->block, (long long)head_dim);
    return FL_OK;
}

fl_status fl_model_kv_types(const fl_model *m, const char *type_k, const char *type_v, fl_kv_shape *out)
{
    fl_kv_shape shape = fl_model_kv_shape(m);
    FL_TRY(type_named("type_k", type_k, m->config.head_dim, &shape.k_type));
    FL_TRY(type_named("type_v", type_v, m->config.head_dim, &shape.v_type));
    *out = shape;
    return FL_OK;
}

const char *fl_model_kv_type_name(fl_dtype type)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].type == type) return types[i].name;
    return types[0].name;
}

fl_status fl_model_kv_bytes(const fl_model *m, const char *type_k, const char *type_v, int64_t *bytes_per_token)
{
    fl_kv_shape shape;
    if (!m || !bytes_per_token) return fl_fail(FL_ERR_ARGUMENT, "fl_model_kv_bytes: an argument is NULL");
    FL_TRY(fl_model_kv_types(m, type_k, type_v, &shape));
    *bytes_per_token = m->config.layers * (int64_t)(fl_kv_page_bytes(&shape) / FL_PAGE_TOKENS);
    return FL_OK;
}
