/* A new model from a config alone. */
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/size.h"
#include "file/hf_config.h"
#include "file/hf_write.h"
#include "file/json.h"
#include "model/model.h"

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static fl_status fill(fl_file_tensor *t, double range, fl_rng *rng)
{
    size_t values, bytes;
    FL_TRY(fl_file_tensor_values(t, &values));
    if (!fl_size_mul(values, sizeof(float), &bytes)) return fl_fail(FL_ERR_MEMORY, "%s is too large", t->name);
    float *data = fl_alloc_aligned(bytes);
    if (!data) return FL_ERR_MEMORY;
    t->data = data;
    for (size_t i = 0; i < values; i++)
        data[i] = t->rank > 1 ? (float)(range * fl_rng_normal(rng)) : ends_with(t->name, ".bias") ? 0.0f : 1.0f;
    return FL_OK;
}

static fl_status read_config(fl_config *config, double *range, const char *path)
{
    json_t *root;
    FL_TRY(fl_json_read(&root, path, fl_json_config_limits));
    fl_json_at at = {root, path, ""};
    fl_status s = fl_hf_config_read(config, root, path);
    if (s == FL_OK) s = fl_json_real(&at, "initializer_range", range, NULL);
    json_decref(root);
    if (s == FL_OK && !(*range > 0 && *range < 10))
        s = fl_fail(FL_ERR_FORMAT, "%s: initializer_range = %g: give a small positive number", path, *range);
    return s;
}

fl_status fl_model_init(const char *path, const char *folder, uint64_t seed)
{
    if (!path || !folder) return fl_fail(FL_ERR_ARGUMENT, "fl_model_init: config or folder is NULL");
    fl_tensor_list list = {0};
    fl_model m = {.listing = &list};
    double range = 0.02;
    FL_TRY(read_config(&m.config, &range, path));
    m.arch = fl_arch_find(m.config.family);
    if (!m.arch) return fl_fail(FL_ERR_UNSUPPORTED, "%s: family %s cannot be made anew", path, m.config.family);
    fl_rng rng;
    fl_rng_seed(&rng, seed);
    fl_status s = m.arch->bind(&m);
    for (int64_t i = 0; i < list.count && s == FL_OK; i++)
        s = fill(&list.tensor[i], range, &rng);
    if (s == FL_OK) s = fl_hf_write(folder, &m.config, list.tensor, list.count, FL_F32, NULL);
    fl_tensor_list_free(&list);
    fl_free(m.body);
    return s;
}
