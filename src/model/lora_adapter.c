#include "model/lora_adapter.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/json.h"

#define MOST_RANK 65536
#define MOST_ALPHA 1e9

const fl_adapter_form fl_adapter_peft = {"base_model.model.", ".lora_A.weight", ".lora_B.weight", ".weight",
                                         "base_model.model.NAME.lora_A.weight and .lora_B.weight"};
const fl_adapter_form fl_adapter_gguf = {"", ".lora_a", ".lora_b", "", "NAME.lora_a and .lora_b"};

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

static fl_status read_adapter(fl_adapter *a, const fl_json_at *at, const fl_config *c)
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
    a->divisor = by_root ? FL_ALPHA_BY_ROOT : FL_ALPHA_BY_RANK;
    bool gpt2 = !strcmp(c->family, "gpt2"), flipped = false;
    FL_TRY(fl_json_bool(at, "fan_in_fan_out", &flipped));
    if (flipped != gpt2)
        return fl_json_fail(FL_ERR_UNSUPPORTED, at, "fan_in_fan_out",
                            "must be true for gpt2, and false for the others");
    return FL_OK;
}

static fl_status read_config(fl_adapter *a, const char *folder, const fl_config *c)
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
static fl_status read_keys(fl_adapter *a, const fl_gguf *g, const fl_config *c)
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
    a->divisor = alpha == 0 ? FL_ALPHA_BY_NOTHING : FL_ALPHA_BY_RANK;
    if (alpha != 0) a->strength *= alpha;
    return FL_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static bool is_file(const char *path)
{
    return fl_file_exists(path) && !fl_file_is_folder(path);
}

fl_status fl_adapter_open(fl_adapter *a, const fl_config *c, const char *path, double scale)
{
    *a = (fl_adapter){.scale = scale, .strength = scale};
    a->transposed = !strcmp(c->family, "gpt2") && !c->by_output;
    if (is_file(path)) {
        a->form = &fl_adapter_gguf;
        a->path = fl_strdup(path);
        if (!a->path) return FL_ERR_MEMORY;
        FL_TRY(fl_gguf_open(&a->gguf, path));
        return read_keys(a, a->gguf, c);
    }
    FL_TRY(read_config(a, path, c));
    a->form = &fl_adapter_peft;
    a->path = fl_path_join(path, "adapter_model.safetensors");
    return a->path ? fl_safetensors_open(&a->file, a->path) : FL_ERR_MEMORY;
}

void fl_adapter_close(fl_adapter *a)
{
    fl_safetensors_close(a->file);
    fl_gguf_close(a->gguf);
    fl_free(a->path);
}

int64_t fl_adapter_count(const fl_adapter *a)
{
    return a->gguf ? fl_gguf_count(a->gguf) : fl_safetensors_count(a->file);
}

const fl_file_tensor *fl_adapter_at(const fl_adapter *a, int64_t i)
{
    return a->gguf ? fl_gguf_tensor_at(a->gguf, i) : fl_safetensors_at(a->file, i);
}
