#include "file/hf.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"
#include "file/hf_config.h"
#include "file/packed_model.h"

#define INDEX_NAME "model.safetensors.index.json"

/* The index of a model of a million tensors stays below both. */
static const fl_json_limits index_limits = {.bytes = 100000000, .values = 4000000, .depth = 4};

/* ---- configuration ------------------------------------------------------------------------------------------ */

static fl_status read_json_of(json_t **out, const char *folder, const char *name)
{
    char *path = fl_path_join(folder, name);
    if (!path) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    fl_status status = fl_json_read(out, path, fl_json_config_limits);
    fl_free(path);
    return status;
}

static fl_status has(bool *found, const char *folder, const char *name)
{
    char *path = fl_path_join(folder, name);
    if (!path) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    *found = fl_file_exists(path);
    fl_free(path);
    return FL_OK;
}

static fl_status read_config(fl_config *out, const char *folder)
{
    bool found = false;
    FL_TRY(has(&found, folder, "config.json"));
    if (!found)
        return fl_fail(FL_ERR_FORMAT, "%s: config.json is missing; is this the folder of a Hugging Face model?",
                       folder);
    json_t *root;
    FL_TRY(read_json_of(&root, folder, "config.json"));
    fl_status status = fl_hf_config_read(out, root, "config.json");
    json_decref(root);
    if (status != FL_OK) return fl_fail_within(status, "%s", folder);
    FL_TRY(has(&found, folder, "generation_config.json"));
    if (!found) return FL_OK;
    FL_TRY(read_json_of(&root, folder, "generation_config.json"));
    status = fl_hf_generation_read(out, root, "generation_config.json");
    json_decref(root);
    return status == FL_OK ? FL_OK : fl_fail_within(status, "%s", folder);
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

static fl_status open_shard(fl_hf *m, const char *folder, const char *name)
{
    char *path = fl_path_join(folder, name);
    if (!path) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    fl_status status = fl_safetensors_open(&m->shard[m->shards], path);
    if (status == FL_OK && fl_is_packed_model(m->shard[m->shards++]))
        status =
            fl_fail(FL_ERR_UNSUPPORTED, "%s: is a packed model, whole in itself: name the file, not its folder", path);
    fl_free(path);
    return status;
}

static fl_status open_single(fl_hf *m, const char *folder, const char *name)
{
    m->shard = fl_calloc(1, sizeof *m->shard);
    if (!m->shard) return FL_ERR_MEMORY;
    FL_TRY(open_shard(m, folder, name));
    m->count = fl_safetensors_count(m->shard[0]);
    m->tensor = fl_calloc((size_t)m->count, sizeof *m->tensor);
    if (!m->tensor) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < m->count; i++)
        m->tensor[i] = *fl_safetensors_at(m->shard[0], i);
    return FL_OK;
}

/* A shard lies in the folder itself; a name that could lead elsewhere is refused. */
static bool plain_name(const char *name)
{
    size_t length = strlen(name);
    static const char suffix[] = ".safetensors";
    size_t end = sizeof suffix - 1;
    return length > end && length < 256 && name[0] != '.' && !strpbrk(name, "/\\") && !strstr(name, "..") &&
           !strcmp(name + length - end, suffix);
}

/* Shards in the order of their first tensor; the JSON object serves as the table from name to number. */
static fl_status open_shards(fl_hf *m, const char *folder, const json_t *map, json_t *numbers)
{
    fl_json_at at = {map, INDEX_NAME, "weight_map."};
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)(uintptr_t)map, name, shard)
    {
        const char *file = json_string_value(shard);
        if (!file || !plain_name(file))
            return fl_json_fail(FL_ERR_FORMAT, &at, name, "is not the name of a .safetensors file in the folder");
        if (json_object_get(numbers, file)) continue;
        if (json_object_set_new(numbers, file, json_integer((json_int_t)json_object_size(numbers))))
            return fl_fail(FL_ERR_MEMORY, "%s: no memory for the list of shards", INDEX_NAME);
    }
    m->shard = fl_calloc(json_object_size(numbers), sizeof *m->shard);
    if (!m->shard) return FL_ERR_MEMORY;
    json_object_foreach(numbers, name, shard) FL_TRY(open_shard(m, folder, name));
    return FL_OK;
}

static fl_status gather(fl_hf *m, const json_t *map, const json_t *numbers)
{
    fl_json_at at = {map, INDEX_NAME, "weight_map."};
    m->tensor = fl_calloc(json_object_size(map), sizeof *m->tensor);
    if (!m->tensor) return FL_ERR_MEMORY;
    const char *name;
    json_t *shard;
    json_object_foreach((json_t *)(uintptr_t)map, name, shard)
    {
        json_int_t number = json_integer_value(json_object_get(numbers, json_string_value(shard)));
        const fl_file_tensor *t = fl_safetensors_find(m->shard[number], name);
        if (!t) return fl_json_fail(FL_ERR_FORMAT, &at, name, "this shard does not hold the tensor");
        m->tensor[m->count++] = *t;
    }
    return FL_OK;
}

static fl_status open_index(fl_hf *m, const char *folder)
{
    char *path = fl_path_join(folder, INDEX_NAME);
    if (!path) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    json_t *root = NULL, *numbers = json_object();
    fl_status status = numbers ? fl_json_read(&root, path, index_limits) : fl_fail(FL_ERR_MEMORY, "%s", path);
    fl_free(path);
    if (status == FL_OK) {
        const json_t *map = json_object_get(root, "weight_map");
        if (!json_is_object(map) || json_object_size(map) == 0) {
            status = fl_fail(FL_ERR_FORMAT, "%s: weight_map: is not an object that names tensors", INDEX_NAME);
        } else {
            status = open_shards(m, folder, map, numbers);
            if (status == FL_OK) status = gather(m, map, numbers);
        }
        if (status != FL_OK) status = fl_fail_within(status, "%s", folder);
    }
    json_decref(root);
    json_decref(numbers);
    return status;
}

static fl_status open_weights(fl_hf *m, const char *folder, const char *weights)
{
    if (weights) return open_single(m, folder, weights);
    bool single = false, index = false, pickle = false, pickles = false;
    FL_TRY(has(&single, folder, "model.safetensors"));
    if (single) return open_single(m, folder, "model.safetensors");
    FL_TRY(has(&index, folder, INDEX_NAME));
    if (index) return open_index(m, folder);
    FL_TRY(has(&pickle, folder, "pytorch_model.bin"));
    FL_TRY(has(&pickles, folder, "pytorch_model.bin.index.json"));
    if (pickle || pickles)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: holds pytorch_model.bin, a Python pickle, and no safetensors; convert it with: python3 -c "
                       "\"from transformers import AutoModelForCausalLM as M; "
                       "M.from_pretrained('%s').save_pretrained('OUT')\"",
                       folder, folder);
    return fl_fail(FL_ERR_FORMAT, "%s: holds neither model.safetensors nor %s", folder, INDEX_NAME);
}

/* ---- names and types ---------------------------------------------------------------------------------------- */

/* Files of the bare GPT-2 model leave "transformer." out; models look tensors up by the full name. */
static fl_status complete_names(fl_hf *m)
{
    static const char prefix[] = "transformer.";
    if (strcmp(m->config.family, "gpt2")) return FL_OK;
    size_t total = 0;
    for (int64_t i = 0; i < m->count; i++) {
        if (!strncmp(m->tensor[i].name, prefix, sizeof prefix - 1)) return FL_OK;
        if (!fl_size_add(total, strlen(m->tensor[i].name) + sizeof prefix, &total)) return FL_ERR_MEMORY;
    }
    char *to = m->names = fl_calloc(total, 1);
    if (!m->names) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < m->count; i++) {
        if (!strcmp(m->tensor[i].name, "lm_head.weight")) continue;
        size_t length = strlen(m->tensor[i].name);
        memcpy(to, prefix, sizeof prefix - 1);
        memcpy(to + sizeof prefix - 1, m->tensor[i].name, length + 1);
        m->tensor[i].name = to;
        to += sizeof prefix + length;
    }
    return FL_OK;
}

static fl_dtype most_common_type(const fl_hf *m)
{
    size_t values[FL_DTYPE_COUNT] = {0};
    for (int64_t i = 0; i < m->count; i++) {
        size_t n = 0;
        if (fl_file_tensor_values(&m->tensor[i], &n) == FL_OK) values[m->tensor[i].type] += n;
    }
    fl_dtype best = FL_F32;
    for (int t = 0; t < FL_DTYPE_COUNT; t++)
        if (fl_dtype_get((fl_dtype)t)->real && values[t] > values[best]) best = (fl_dtype)t;
    return best;
}

fl_status fl_hf_open(fl_hf *out, const char *folder, const char *weights)
{
    fl_hf m = {0};
    FL_TRY(read_config(&m.config, folder));
    fl_status status = open_weights(&m, folder, weights);
    if (status == FL_OK) status = complete_names(&m);
    if (status != FL_OK) {
        fl_hf_close(&m);
        return status;
    }
    m.config.stored_type = most_common_type(&m);
    *out = m;
    return FL_OK;
}

void fl_hf_close(fl_hf *m)
{
    for (int64_t i = 0; i < m->shards; i++)
        fl_safetensors_close(m->shard[i]);
    fl_free(m->shard);
    fl_free(m->tensor);
    fl_free(m->names);
    *m = (fl_hf){0};
}
