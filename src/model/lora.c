#include "model/lora.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"
#include "file/json.h"
#include "file/permute.h"
#include "file/safetensors.h"

#define MOST_RANK 65536

/* ---- adapter_config.json ----------------------------------------------------------------------------------------- */

typedef struct adapter {
    const char *path; /* of the tensors, for messages */
    double strength;  /* alpha times the caller's scale */
    int64_t rank;     /* of every pair; 0: each has its own (rank_pattern) */
    bool by_root;     /* divided by sqrt(r) instead of r */
    bool transposed;  /* the checkpoint keeps its matrices [in, out] */
} adapter;

static bool nothing(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_array(value) && !json_array_size(value)) || (json_is_object(value) && !json_object_size(value)) ||
           (json_is_string(value) && !json_string_length(value));
}

/* Keys that are read here, or that say how the adapter came about and not what it does. Any other key that says
 * something is one of a kind of adapter that is not read. */
static fl_status check_keys(const fl_json_at *at)
{
    static const char *const known[] = {"r",
                                        "lora_alpha",
                                        "use_rslora",
                                        "fan_in_fan_out",
                                        "bias",
                                        "peft_type",
                                        "rank_pattern",
                                        "auto_mapping",
                                        "peft_version",
                                        "base_model_name_or_path",
                                        "task_type",
                                        "inference_mode",
                                        "lora_dropout",
                                        "target_modules",
                                        "init_lora_weights",
                                        "revision",
                                        "exclude_modules",
                                        "loftq_config",
                                        "eva_config",
                                        "layers_to_transform",
                                        "corda_config",
                                        "layers_pattern",
                                        "megatron_core",
                                        "qalora_group_size",
                                        "unsloth_fixed"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)at->object, key, value)
    {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(key, known[k]))
            k++;
        if (k == sizeof known / sizeof *known && !nothing(value))
            return fl_json_fail(FL_ERR_UNSUPPORTED, at, key,
                                "this kind of adapter is not supported; merge it into the model with PEFT "
                                "(merge_and_unload) and open the result");
    }
    return FL_OK;
}

/* Starts that take something away from the base model, which the adapter's numbers then presuppose. */
static fl_status check_start(const fl_json_at *at)
{
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    static const char key[] = "init_lora_weights";
    const json_t *value = json_object_get(at->object, key);
    if (!value || json_is_null(value) || json_is_boolean(value)) return FL_OK;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (json_is_string(value) && !strcmp(json_string_value(value), harmless[i])) return FL_OK;
    return fl_json_fail(FL_ERR_UNSUPPORTED, at, key,
                        "such an adapter presupposes a changed base model; convert it to a plain one with PEFT");
}

static fl_status read_adapter(adapter *a, const fl_json_at *at, const fl_config *c)
{
    const char *type = NULL, *bias = "none";
    double alpha = 8; /* PEFT's default */
    FL_TRY(fl_json_need(at, "peft_type"));
    FL_TRY(fl_json_string(at, "peft_type", &type));
    if (strcmp(type, "LORA")) return fl_json_fail(FL_ERR_UNSUPPORTED, at, "peft_type", "only LORA adapters are read");
    FL_TRY(check_keys(at));
    FL_TRY(check_start(at));
    FL_TRY(fl_json_string(at, "bias", &bias));
    if (strcmp(bias, "none")) return fl_json_fail(FL_ERR_UNSUPPORTED, at, "bias", "only \"none\" is supported");
    FL_TRY(fl_json_need(at, "r"));
    FL_TRY(fl_json_int(at, "r", 1, MOST_RANK, &a->rank, NULL));
    if (!nothing(json_object_get(at->object, "rank_pattern"))) a->rank = 0;
    FL_TRY(fl_json_real(at, "lora_alpha", &alpha, NULL));
    if (!(fabs(alpha) < 1e9)) return fl_json_fail(FL_ERR_FORMAT, at, "lora_alpha", "is absurd");
    a->strength *= alpha;
    FL_TRY(fl_json_bool(at, "use_rslora", &a->by_root));
    bool gpt2 = !strcmp(c->family, "gpt2"), flipped = false;
    FL_TRY(fl_json_bool(at, "fan_in_fan_out", &flipped));
    if (flipped != gpt2)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "fan_in_fan_out",
                            "must be true for gpt2, and false for the others");
    a->transposed = gpt2 && !c->by_output;
    return FL_OK;
}

static fl_status read_config(adapter *a, const char *folder, const fl_config *c)
{
    char *path = fl_path_join(folder, "adapter_config.json");
    json_t *root;
    fl_status s = path ? fl_json_read(&root, path, fl_json_config_limits) : FL_ERR_MEMORY;
    if (s == FL_OK) {
        fl_json_at at = {root, path, ""};
        s = read_adapter(a, &at, c);
        json_decref(root);
    }
    fl_free(path);
    return s;
}

/* ---- pairs --------------------------------------------------------------------------------------------------------
 */

static const char prefix[] = "base_model.model.";

/* *base: length of the weight's name without ".weight", at name + strlen(prefix). */
static bool parse_name(const char *name, const char *end, size_t *base)
{
    size_t n = strlen(name), p = sizeof prefix - 1, e = strlen(end);
    if (n <= p + e || strncmp(name, prefix, p) || strcmp(name + n - e, end)) return false;
    *base = n - p - e;
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static const fl_file_tensor *partner(const fl_safetensors *file, const char *name, size_t base, const char *end)
{
    size_t most = strlen(name) + 32;
    char *other = fl_calloc(most, 1);
    if (!other) return NULL;
    snprintf(other, most, "%.*s%s", (int)(sizeof prefix - 1 + base), name, end);
    const fl_file_tensor *t = fl_safetensors_find(file, other);
    fl_free(other);
    return t;
}

/* The checkpoint's weight of an adapter's name. */
static const fl_file_tensor *weight_of(const fl_checkpoint *c, const char *name, size_t base)
{
    size_t most = base + 32;
    char *wanted = fl_calloc(most, 1);
    if (!wanted) return NULL;
    snprintf(wanted, most, "%.*s.weight", (int)base, name + sizeof prefix - 1);
    const fl_file_tensor *t = fl_checkpoint_find(c, wanted);
    /* A copy of a tied head is never read, so a change of it would be lost. */
    if (t && fl_checkpoint_config(c)->tied_head && !strcmp(wanted, "lm_head.weight")) t = NULL;
    if (t && (ends_with(wanted, "embed_tokens.weight") || ends_with(wanted, "embed_in.weight"))) t = NULL;
    fl_free(wanted);
    return t;
}

static fl_status check_shapes(const adapter *a, const fl_file_tensor *w, const fl_file_tensor *down,
                              const fl_file_tensor *up)
{
    bool fits = w->rank == 2 && down->rank == 2 && up->rank == 2 && down->dim[0] == up->dim[1] && down->dim[0] > 0 &&
                down->dim[1] == w->dim[a->transposed ? 0 : 1] && up->dim[0] == w->dim[a->transposed ? 1 : 0];
    if (!fits)
        return fl_fail(FL_ERR_SHAPE,
                       "%s: %s is [%lld, %lld] with a partner of [%lld, %lld], which fits no weight of "
                       "[%lld, %lld]",
                       a->path, down->name, (long long)down->dim[0], (long long)down->dim[1], (long long)up->dim[0],
                       (long long)up->dim[1], (long long)w->dim[0], (long long)w->dim[1]);
    if (a->rank && down->dim[0] != a->rank)
        return fl_fail(FL_ERR_SHAPE, "%s: %s has rank %lld, but adapter_config.json says r = %lld", a->path, down->name,
                       (long long)down->dim[0], (long long)a->rank);
    const fl_file_tensor *all[] = {w, down, up};
    for (int i = 0; i < 3; i++)
        if (!fl_dtype_get(all[i]->type)->real)
            return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has type %s, which holds no real numbers", a->path, all[i]->name,
                           fl_dtype_get(all[i]->type)->name);
    return FL_OK;
}

/* A new fp32 copy; fl_free_aligned. */
static fl_status copy_of(float **out, const fl_file_tensor *t)
{
    size_t values, bytes;
    FL_TRY(fl_file_tensor_values(t, &values));
    if (!fl_size_mul(values, sizeof **out, &bytes)) return fl_fail(FL_ERR_MEMORY, "%s is too large", t->name);
    *out = fl_alloc_aligned(bytes);
    if (!*out) return FL_ERR_MEMORY;
    fl_to_f32(t->type, t->data, *out, (int64_t)values);
    return FL_OK;
}

/* Heads whose rows the checkpoint keeps interleaved; 0: the rows lie as in the adapter. */
static int64_t interleaved_heads(const fl_config *c, const char *name)
{
    if (!c->rotary || !c->rope_interleaved) return 0;
    if (ends_with(name, ".q_proj.weight")) return c->heads;
    return ends_with(name, ".k_proj.weight") ? c->kv_heads : 0;
}

/* B [out, r] times the strength, its rows in the checkpoint's order. */
static fl_status scaled_rows(float **out, const adapter *a, const fl_config *c, const fl_file_tensor *up,
                             const char *weight)
{
    float *rows;
    FL_TRY(copy_of(&rows, up));
    int64_t rank = up->dim[1], heads = interleaved_heads(c, weight);
    double s = a->strength / (a->by_root ? sqrt((double)rank) : (double)rank);
    for (int64_t i = 0; i < up->dim[0] * rank; i++)
        rows[i] = (float)(s * (double)rows[i]);
    *out = rows;
    if (!heads) return FL_OK;
    *out = NULL;
    if (heads * c->head_dim == up->dim[0]) *out = fl_alloc_aligned((size_t)(up->dim[0] * rank) * sizeof **out);
    if (*out)
        fl_permute_rows(*out, rows, heads, c->head_dim, c->rope.dim, (size_t)rank * sizeof *rows, FL_ROWS_INTERLEAVED);
    fl_free_aligned(rows);
    if (*out) return FL_OK;
    return heads * c->head_dim == up->dim[0]
               ? FL_ERR_MEMORY
               : fl_fail(FL_ERR_SHAPE, "%s: %s: rows do not make whole heads", a->path, up->name);
}

static fl_stored matrix(const float *data, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride)
{
    return (fl_stored){FL_F32, rows, cols, row_stride, col_stride, data};
}

static fl_status merge_pair(fl_lora *l, fl_device *d, const adapter *a, const fl_config *c, const fl_file_tensor *w,
                            const fl_file_tensor *down, const fl_file_tensor *up)
{
    float *merged = NULL, *low = NULL, *high = NULL;
    fl_status s = copy_of(&merged, w);
    if (s == FL_OK) s = copy_of(&low, down);
    if (s == FL_OK) s = scaled_rows(&high, a, c, up, w->name);
    if (s == FL_OK) {
        int64_t rank = down->dim[0], in = down->dim[1], out = up->dim[0];
        fl_stored by_input = matrix(low, in, rank, 1, in), by_output = matrix(high, out, rank, rank, 1);
        d->table->matmul(d, a->transposed ? &by_input : &by_output, a->transposed ? &by_output : &by_input, merged,
                         w->dim[1], true);
        l->tensor[l->count] = *w;
        l->tensor[l->count].type = FL_F32;
        l->tensor[l->count].data = merged;
        l->replaced[l->count++] = w;
        merged = NULL;
    }
    fl_free_aligned(merged);
    fl_free_aligned(low);
    fl_free_aligned(high);
    return s;
}

static fl_status merge_all(fl_lora *l, fl_device *d, const adapter *a, const fl_checkpoint *c, const fl_safetensors *f)
{
    static const char down_end[] = ".lora_A.weight", up_end[] = ".lora_B.weight";
    int64_t count = fl_safetensors_count(f);
    l->tensor = fl_calloc((size_t)count + 1, sizeof *l->tensor);
    l->replaced = fl_calloc((size_t)count + 1, sizeof *l->replaced);
    if (!l->tensor || !l->replaced) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        const fl_file_tensor *t = fl_safetensors_at(f, i);
        size_t base;
        bool down = parse_name(t->name, down_end, &base);
        if (!down && !parse_name(t->name, up_end, &base))
            return fl_fail(FL_ERR_UNSUPPORTED,
                           "%s: tensor %s: only pairs base_model.model.NAME.lora_A.weight and .lora_B.weight of "
                           "matrices are read",
                           a->path, t->name);
        const fl_file_tensor *w = weight_of(c, t->name, base);
        if (!w)
            return fl_fail(FL_ERR_FORMAT, "%s: tensor %s changes no matrix of %s: the adapter belongs to another model",
                           a->path, t->name, fl_checkpoint_path(c));
        const fl_file_tensor *other = partner(f, t->name, base, down ? up_end : down_end);
        if (!other)
            return fl_fail(FL_ERR_FORMAT, "%s: tensor %s has no partner %s", a->path, t->name,
                           down ? up_end : down_end);
        if (!down) continue;
        FL_TRY(check_shapes(a, w, t, other));
        if (ends_with(w->name, ".query_key_value.weight") && !fl_checkpoint_config(c)->qkv_by_head)
            return fl_fail(FL_ERR_UNSUPPORTED,
                           "%s: %s keeps q, k and v in another order than the adapter %s: open the Hugging Face folder",
                           fl_checkpoint_path(c), w->name, a->path);
        FL_TRY(merge_pair(l, d, a, fl_checkpoint_config(c), w, t, other));
    }
    return l->count ? FL_OK : fl_fail(FL_ERR_FORMAT, "%s: holds no adapter", a->path);
}

fl_status fl_lora_merge(fl_lora *out, fl_device *d, const fl_checkpoint *c, const char *path, double scale)
{
    adapter a = {.strength = scale};
    if (!isfinite(scale)) return fl_fail(FL_ERR_ARGUMENT, "%s: lora_scale = %g: give a number", path, scale);
    FL_TRY(read_config(&a, path, fl_checkpoint_config(c)));
    char *file_path = fl_path_join(path, "adapter_model.safetensors");
    if (!file_path) return FL_ERR_MEMORY;
    a.path = file_path;
    fl_safetensors *file;
    fl_status s = fl_safetensors_open(&file, file_path);
    if (s == FL_OK) {
        s = merge_all(out, d, &a, c, file);
        fl_safetensors_close(file);
    }
    fl_free(file_path);
    return s;
}

void fl_lora_free(fl_lora *l)
{
    for (int64_t i = 0; i < l->count; i++)
        fl_free_aligned((void *)(uintptr_t)l->tensor[i].data);
    fl_free(l->tensor);
    fl_free(l->replaced);
    *l = (fl_lora){0};
}

const fl_file_tensor *fl_lora_applied(const fl_lora *l, const fl_file_tensor *t)
{
    for (int64_t i = 0; i < l->count; i++)
        if (l->replaced[i] == t) return &l->tensor[i];
    return t;
}
