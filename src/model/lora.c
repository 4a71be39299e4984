#include "model/lora.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/size.h"
#include "file/gguf_family.h"
#include "file/gguf_write.h"
#include "file/json.h"
#include "file/safetensors.h"
#include "model/lora_rows.h"

#define MOST_RANK 65536
#define MOST_ALPHA 1e9

/* How a file names its tensors: what stands before and after the name of a weight. */
typedef struct form {
    const char *prefix, *down, *up, *weight; /* weight: what the checkpoint's name has after the part between */
    const char *message;
} form;

static const form peft_form = {"base_model.model.", ".lora_A.weight", ".lora_B.weight", ".weight",
                               "base_model.model.NAME.lora_A.weight and .lora_B.weight"};
static const form gguf_form = {"", ".lora_a", ".lora_b", "", "NAME.lora_a and .lora_b"};

typedef enum divisor { BY_RANK, BY_ROOT, BY_NOTHING } divisor; /* of alpha */

typedef struct adapter {
    const form *form;
    char *path;           /* of the tensors, for messages */
    fl_safetensors *file; /* holds the tensors, or */
    fl_gguf *gguf;
    const fl_gguf_family *family; /* whose names and row orders a GGUF file has */
    double scale;                 /* the caller's */
    double strength;              /* alpha times it */
    bool saves;                   /* holds whole tensors as well (modules_to_save) */
    int64_t rank;                 /* of every pair; 0: each has its own (rank_pattern, GGUF) */
    divisor divisor;
    bool transposed; /* the checkpoint keeps its matrices [in, out] */
} adapter;

/* ---- adapter_config.json ----------------------------------------------------------------------------------------- */

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
                                        "modules_to_save",
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
    a->saves = !nothing(json_object_get(at->object, "modules_to_save"));
    FL_TRY(fl_json_real(at, "lora_alpha", &alpha, NULL));
    if (!(fabs(alpha) < MOST_ALPHA)) return fl_json_fail(FL_ERR_FORMAT, at, "lora_alpha", "is absurd");
    a->strength *= alpha;
    bool by_root = false;
    FL_TRY(fl_json_bool(at, "use_rslora", &by_root));
    a->divisor = by_root ? BY_ROOT : BY_RANK;
    bool gpt2 = !strcmp(c->family, "gpt2"), flipped = false;
    FL_TRY(fl_json_bool(at, "fan_in_fan_out", &flipped));
    if (flipped != gpt2)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "fan_in_fan_out",
                            "must be true for gpt2, and false for the others");
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

/* ---- keys of GGUF adapters --------------------------------------------------------------------------------------- */

static fl_status need_text(const fl_gguf *g, const char *key, fl_gguf_text *out)
{
    if (!fl_gguf_find(g, key)) return fl_gguf_fail(FL_ERR_FORMAT, g, key, "is required of an adapter");
    return fl_gguf_string(g, key, out);
}

/* https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, "LoRA metadata"; an alpha of 0 or none says that B A is
 * added as it is, as in llama.cpp (llama-adapter.h). */
static fl_status read_keys(adapter *a, const fl_gguf *g, const fl_config *c)
{
    static const char type_key[] = "general.type", arch_key[] = "general.architecture", kind_key[] = "adapter.type",
                      alpha_key[] = "adapter.lora.alpha";
    fl_gguf_text type, arch, kind;
    double alpha = 0;
    FL_TRY(need_text(g, type_key, &type));
    if (!fl_gguf_text_is(type, "adapter")) return fl_gguf_fail(FL_ERR_FORMAT, g, type_key, "is not \"adapter\"");
    FL_TRY(need_text(g, kind_key, &kind));
    if (!fl_gguf_text_is(kind, "lora")) return fl_gguf_fail(FL_ERR_UNSUPPORTED, g, kind_key, "only \"lora\" is read");
    a->family = fl_gguf_family_of_config(c);
    FL_TRY(need_text(g, arch_key, &arch));
    if (!a->family || !fl_gguf_text_is(arch, a->family->arch))
        return fl_gguf_fail(FL_ERR_FORMAT, g, arch_key, "is not that of the model: the adapter belongs to another one");
    for (int64_t i = 0; i < fl_gguf_key_count(g); i++) {
        const char *key = fl_gguf_at(g, i)->key;
        if (!strncmp(key, "adapter.", 8) && strcmp(key, kind_key) && strcmp(key, alpha_key))
            return fl_gguf_fail(FL_ERR_UNSUPPORTED, g, key, "this kind of adapter is not supported");
    }
    FL_TRY(fl_gguf_real(g, alpha_key, &alpha));
    if (!(fabs(alpha) < MOST_ALPHA)) return fl_gguf_fail(FL_ERR_FORMAT, g, alpha_key, "is absurd");
    a->divisor = alpha == 0 ? BY_NOTHING : BY_RANK;
    if (alpha != 0) a->strength *= alpha;
    return FL_OK;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------- */

/* *base: length of the part of the name between the form's prefix and end. */
static bool parse_name(const form *f, const char *name, const char *end, size_t *base)
{
    size_t n = strlen(name), p = strlen(f->prefix), e = strlen(end);
    if (n <= p + e || strncmp(name, f->prefix, p) || strcmp(name + n - e, end)) return false;
    *base = n - p - e;
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static const fl_file_tensor *partner(const adapter *a, const char *name, size_t base, const char *end)
{
    size_t most = strlen(name) + 32;
    char *other = fl_calloc(most, 1);
    if (!other) return NULL;
    snprintf(other, most, "%.*s%s", (int)(strlen(a->form->prefix) + base), name, end);
    const fl_file_tensor *t = a->gguf ? fl_gguf_tensor(a->gguf, other) : fl_safetensors_find(a->file, other);
    fl_free(other);
    return t;
}

static bool is_head(const char *name)
{
    return !strcmp(name, "lm_head.weight") || !strcmp(name, "embed_out.weight");
}

static bool is_table(const char *name)
{
    static const char *const looked_up[] = {"embed_tokens.weight", "embed_in.weight", "wte.weight", "wpe.weight"};
    for (size_t i = 0; i < sizeof looked_up / sizeof *looked_up; i++)
        if (ends_with(name, looked_up[i])) return true;
    return false;
}

/* The checkpoint's weight of that name, if a change of it is seen: not the embedding (whose rows are looked up), nor
 * the unread copy of a tied head. */
static const fl_file_tensor *matrix_of(const fl_checkpoint *c, const char *name)
{
    if ((is_head(name) && fl_checkpoint_config(c)->tied_head) || is_table(name)) return NULL;
    return fl_checkpoint_find(c, name);
}

/* The checkpoint's weight of an adapter's name. */
static const fl_file_tensor *weight_of(const adapter *a, const fl_checkpoint *c, const char *name, size_t base)
{
    size_t most = base + 32;
    char *wanted = fl_calloc(most, 1), hf[FL_GGUF_HF_NAME];
    if (!wanted) return NULL;
    snprintf(wanted, most, "%.*s%s", (int)base, name + strlen(a->form->prefix), a->form->weight);
    const fl_file_tensor *t = NULL;
    if (!a->gguf)
        t = matrix_of(c, wanted);
    else if (fl_gguf_hf_name(a->family, wanted, fl_checkpoint_config(c)->layers, hf))
        t = matrix_of(c, hf);
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

/* Takes `rows`, the values of an adapter's tensor t for that weight; fl_free_aligned(*out). */
static fl_status reordered(float **out, float *rows, const adapter *a, const fl_config *c, fl_lora_order to,
                           const fl_file_tensor *t, const char *weight)
{
    fl_lora_order from = {a->gguf && a->family->interleaved, !a->gguf};
    fl_status s = fl_lora_reorder(&rows, c, weight, t->dim[0], t->rank == 2 ? t->dim[1] : 1, from, to);
    if (s == FL_OK)
        *out = rows;
    else
        fl_free_aligned(rows);
    return s == FL_ERR_SHAPE ? fl_fail(s, "%s: %s: rows do not make whole heads", a->path, t->name) : s;
}

/* factor * B [out, r], its rows in another order. */
static fl_status scaled_rows(float **out, const adapter *a, const fl_config *c, fl_lora_order to, double factor,
                             const fl_file_tensor *up, const char *weight)
{
    float *rows;
    int64_t rank = up->dim[1], size = up->dim[0] * rank;
    FL_TRY(copy_of(&rows, up));
    for (int64_t i = 0; i < size; i++)
        rows[i] = (float)(factor * (double)rows[i]);
    return reordered(out, rows, a, c, to, up, weight);
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

static fl_stored matrix(const float *data, int64_t rows, int64_t cols, int64_t row_stride, int64_t col_stride)
{
    return (fl_stored){FL_F32, rows, cols, row_stride, col_stride, data};
}

static void replace(fl_lora *l, const fl_file_tensor *w, float *values)
{
    l->tensor[l->count] = *w;
    l->tensor[l->count].type = FL_F32;
    l->tensor[l->count].data = values;
    l->replaced[l->count++] = w;
}

static fl_status merge_pair(fl_lora *l, fl_device *d, const adapter *a, const fl_config *c, const fl_file_tensor *w,
                            const fl_file_tensor *down, const fl_file_tensor *up)
{
    float *merged = NULL, *low = NULL, *high = NULL;
    int64_t rank = down->dim[0], in = down->dim[1], out = up->dim[0];
    double factor = a->strength;
    if (a->divisor != BY_NOTHING) factor /= a->divisor == BY_ROOT ? sqrt((double)rank) : (double)rank;
    fl_status s = copy_of(&merged, w);
    if (s == FL_OK) s = copy_of(&low, down);
    if (s == FL_OK)
        s = scaled_rows(&high, a, c, (fl_lora_order){c->rope_interleaved, c->qkv_by_head}, factor, up, w->name);
    if (s == FL_OK) {
        fl_stored by_input = matrix(low, in, rank, 1, in), by_output = matrix(high, out, rank, rank, 1);
        d->table->matmul(d, a->transposed ? &by_input : &by_output, a->transposed ? &by_output : &by_input, merged,
                         w->dim[1], true);
        replace(l, w, merged);
        merged = NULL;
    }
    fl_free_aligned(merged);
    fl_free_aligned(low);
    fl_free_aligned(high);
    return s;
}

/* ---- whole adapters ---------------------------------------------------------------------------------------------- */

static int64_t tensors_of(const adapter *a)
{
    return a->gguf ? fl_gguf_count(a->gguf) : fl_safetensors_count(a->file);
}

typedef struct pair {
    const fl_file_tensor *weight, *down, *up; /* weight NULL: the tensor asked for is the up of another pair */
} pair;

/* The pair of tensor i. */
static fl_status pair_at(pair *out, const adapter *a, const fl_checkpoint *c, int64_t i)
{
    const form *f = a->form;
    const fl_file_tensor *t = a->gguf ? fl_gguf_tensor_at(a->gguf, i) : fl_safetensors_at(a->file, i);
    size_t base;
    *out = (pair){0};
    bool down = parse_name(f, t->name, f->down, &base);
    if (!down && !parse_name(f, t->name, f->up, &base))
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: tensor %s: only pairs %s of matrices are read", a->path, t->name,
                       f->message);
    const fl_file_tensor *w = weight_of(a, c, t->name, base);
    if (!w)
        return fl_fail(FL_ERR_FORMAT, "%s: tensor %s changes no matrix of %s: the adapter belongs to another model",
                       a->path, t->name, fl_checkpoint_path(c));
    const fl_file_tensor *other = partner(a, t->name, base, down ? f->up : f->down);
    if (!other)
        return fl_fail(FL_ERR_FORMAT, "%s: tensor %s has no partner %s", a->path, t->name, down ? f->up : f->down);
    if (!down) return FL_OK;
    *out = (pair){w, t, other};
    return check_shapes(a, w, t, other);
}

static bool same_values(const fl_file_tensor *a, const fl_file_tensor *b)
{
    size_t bytes;
    return a->type == b->type && a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof a->dim) &&
           fl_file_tensor_bytes(a, &bytes) == FL_OK && !memcmp(a->data, b->data, bytes);
}

/* A head that the model shares with its embedding must stay the same as it. */
static fl_status check_tied(const adapter *a, const fl_checkpoint *c, const fl_file_tensor *head)
{
    for (int64_t i = 0; i < tensors_of(a); i++) {
        const fl_file_tensor *t = fl_safetensors_at(a->file, i);
        if (t != head && is_table(t->name) && same_values(t, head)) return FL_OK;
    }
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "%s: %s is not the embedding, which the head of %s is: merge the adapter with PEFT", a->path,
                   head->name, fl_checkpoint_path(c));
}

/* A whole tensor in place of the checkpoint's (modules_to_save); with a scale, that share of the way from it. */
static fl_status merge_whole(fl_lora *l, const adapter *a, const fl_checkpoint *c, const fl_file_tensor *t)
{
    const fl_config *config = fl_checkpoint_config(c);
    const char *name = t->name + strlen(a->form->prefix);
    if (config->tied_head && is_head(name)) return check_tied(a, c, t);
    const fl_file_tensor *w = fl_checkpoint_find(c, name);
    if (!w || w->rank != t->rank || memcmp(w->dim, t->dim, sizeof w->dim))
        return fl_fail(w ? FL_ERR_SHAPE : FL_ERR_FORMAT,
                       "%s: tensor %s replaces no tensor of %s of its shape: the "
                       "adapter belongs to another model",
                       a->path, t->name, fl_checkpoint_path(c));
    if (!fl_dtype_get(t->type)->real || !fl_dtype_get(w->type)->real)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has type %s, which holds no real numbers", a->path, t->name,
                       fl_dtype_get(t->type)->name);
    float *values, *old = NULL;
    size_t count;
    FL_TRY(fl_file_tensor_values(t, &count));
    FL_TRY(copy_of(&values, t));
    FL_TRY(
        reordered(&values, values, a, config, (fl_lora_order){config->rope_interleaved, config->qkv_by_head}, t, name));
    fl_status s = a->scale != 1 ? copy_of(&old, w) : FL_OK;
    for (size_t i = 0; old && i < count; i++)
        values[i] = (float)((double)old[i] + a->scale * ((double)values[i] - (double)old[i]));
    fl_free_aligned(old);
    if (s == FL_OK)
        replace(l, w, values);
    else
        fl_free_aligned(values);
    return s;
}

static bool is_whole(const adapter *a, const fl_file_tensor *t)
{
    return a->saves && !strncmp(t->name, a->form->prefix, strlen(a->form->prefix)) && !strstr(t->name, ".lora_");
}

static fl_status merge_all(fl_lora *l, fl_device *d, const adapter *a, const fl_checkpoint *c)
{
    int64_t count = tensors_of(a);
    l->tensor = fl_calloc((size_t)count + 1, sizeof *l->tensor);
    l->replaced = fl_calloc((size_t)count + 1, sizeof *l->replaced);
    if (!l->tensor || !l->replaced) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        const fl_file_tensor *t = a->gguf ? fl_gguf_tensor_at(a->gguf, i) : fl_safetensors_at(a->file, i);
        if (is_whole(a, t)) {
            FL_TRY(merge_whole(l, a, c, t));
            continue;
        }
        pair p;
        FL_TRY(pair_at(&p, a, c, i));
        if (p.weight) FL_TRY(merge_pair(l, d, a, fl_checkpoint_config(c), p.weight, p.down, p.up));
    }
    return l->count ? FL_OK : fl_fail(FL_ERR_FORMAT, "%s: holds no adapter", a->path);
}

static bool is_file(const char *path)
{
    return fl_file_exists(path) && !fl_file_is_folder(path);
}

/* The adapter at path, its keys read; close_adapter, also after a failure. */
static fl_status open_adapter(adapter *a, const fl_config *c, const char *path)
{
    a->transposed = !strcmp(c->family, "gpt2") && !c->by_output;
    if (is_file(path)) {
        a->form = &gguf_form;
        a->path = fl_strdup(path);
        if (!a->path) return FL_ERR_MEMORY;
        FL_TRY(fl_gguf_open(&a->gguf, path));
        return read_keys(a, a->gguf, c);
    }
    FL_TRY(read_config(a, path, c));
    a->form = &peft_form;
    a->path = fl_path_join(path, "adapter_model.safetensors");
    return a->path ? fl_safetensors_open(&a->file, a->path) : FL_ERR_MEMORY;
}

static void close_adapter(adapter *a)
{
    fl_safetensors_close(a->file);
    fl_gguf_close(a->gguf);
    fl_free(a->path);
}

fl_status fl_lora_merge(fl_lora *out, fl_device *d, const fl_checkpoint *c, const char *path, double scale)
{
    adapter a = {.scale = scale, .strength = scale};
    if (!isfinite(scale)) return fl_fail(FL_ERR_ARGUMENT, "%s: lora_scale = %g: give a number", path, scale);
    fl_status s = open_adapter(&a, fl_checkpoint_config(c), path);
    if (s == FL_OK) s = merge_all(out, d, &a, c);
    close_adapter(&a);
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

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct written {
    fl_file_tensor *tensor;
    char (*name)[FL_GGUF_HF_NAME];
    float **values; /* owned */
    int64_t count;
} written;

static void put_tensor(written *w, const fl_file_tensor *like, float *values, const char *name, const char *end)
{
    snprintf(w->name[w->count], FL_GGUF_HF_NAME, "%s%s", name, end);
    w->values[w->count] = values;
    w->tensor[w->count] = (fl_file_tensor){w->name[w->count], FL_F32, 2, {like->dim[0], like->dim[1]}, values};
    w->count++;
}

static fl_status collect(written *w, const adapter *a, const fl_checkpoint *c)
{
    const fl_config *config = fl_checkpoint_config(c);
    int64_t count = tensors_of(a);
    w->tensor = fl_calloc((size_t)count + 1, sizeof *w->tensor);
    w->name = fl_calloc((size_t)count + 1, sizeof *w->name);
    w->values = fl_calloc((size_t)count + 1, sizeof *w->values);
    if (!w->tensor || !w->name || !w->values) return FL_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        pair p;
        char name[FL_GGUF_HF_NAME];
        float *values;
        FL_TRY(pair_at(&p, a, c, i));
        if (!p.weight) continue;
        /* Sixteen bytes are more than the ends and the zero need. */
        if (!fl_gguf_name_of_hf(a->family, p.weight->name, config->layers, name) ||
            strlen(name) + 16 > FL_GGUF_NAME_LIMIT)
            return fl_fail(FL_ERR_UNSUPPORTED, "%s: %s has no name in GGUF", a->path, p.weight->name);
        FL_TRY(copy_of(&values, p.down));
        put_tensor(w, p.down, values, name, gguf_form.down);
        double factor = a->divisor == BY_ROOT ? sqrt((double)p.up->dim[1]) : 1; /* readers divide by r */
        FL_TRY(scaled_rows(&values, a, config, (fl_lora_order){a->family->interleaved, false}, factor, p.up,
                           p.weight->name));
        put_tensor(w, p.up, values, name, gguf_form.up);
    }
    return w->count ? FL_OK : fl_fail(FL_ERR_FORMAT, "%s: holds no adapter", a->path);
}

static fl_status write_gguf(const adapter *a, const fl_checkpoint *c, const char *path)
{
    written w = {0};
    fl_gguf_keys keys = {0};
    fl_status s = collect(&w, a, c);
    if (s == FL_OK) {
        fl_gguf_put_string(&keys, "general.architecture", a->family->arch);
        fl_gguf_put_string(&keys, "general.type", "adapter");
        fl_gguf_put_string(&keys, "adapter.type", "lora");
        fl_gguf_put_f32(&keys, "adapter.lora.alpha", a->strength);
        s = fl_gguf_write_file(path, &keys, w.tensor, w.count);
    }
    fl_gguf_keys_free(&keys);
    for (int64_t i = 0; i < w.count; i++)
        fl_free_aligned(w.values[i]);
    fl_free(w.tensor);
    fl_free(w.name);
    fl_free(w.values);
    return s;
}

fl_status fl_convert_lora(const char *model, const char *lora, const char *path)
{
    if (!model || !lora || !path) return fl_fail(FL_ERR_ARGUMENT, "fl_convert_lora: an argument is NULL");
    if (is_file(lora)) return fl_fail(FL_ERR_ARGUMENT, "%s: is a file: give a folder with adapter_config.json", lora);
    fl_checkpoint *c;
    FL_TRY(fl_checkpoint_open(&c, model));
    const fl_config *config = fl_checkpoint_config(c);
    adapter a = {.scale = 1, .strength = 1};
    fl_status s = fl_checkpoint_need_rows(c, "the model of an adapter that is written");
    if (s == FL_OK) s = open_adapter(&a, config, lora);
    a.family = fl_gguf_family_of_config(config);
    if (s == FL_OK && !a.family)
        s = fl_fail(FL_ERR_UNSUPPORTED, "%s: family %s has no name in GGUF", model, config->family);
    if (s == FL_OK && a.strength == 0)
        s = fl_fail(FL_ERR_UNSUPPORTED, "%s: lora_alpha = 0: means another thing in GGUF", lora);
    if (s == FL_OK && a.saves)
        s = fl_fail(FL_ERR_UNSUPPORTED,
                    "%s: modules_to_save: whole tensors have no place in a GGUF adapter: merge it "
                    "(convert -m MODEL --lora FOLDER)",
                    lora);
    if (s == FL_OK) s = write_gguf(&a, c, path);
    close_adapter(&a);
    fl_checkpoint_close(c);
    return s;
}
