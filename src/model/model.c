/* Opening and closing a model, and what can be asked of it. */
#include "model/model.h"

#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/lora_positions.h"
#include "model/passes_options.h"
#include "position/scaling_law.h"
#include "text/model_tokenizer.h"

static const fl_arch *const archs[] = {&fl_arch_llama, &fl_arch_mistral, &fl_arch_qwen2, &fl_arch_qwen3,
                                       &fl_arch_phi3,  &fl_arch_gptneox, &fl_arch_gpt2};

const fl_arch *fl_arch_find(const char *family)
{
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (!strcmp(archs[i]->family, family)) return archs[i];
    return NULL;
}

/* Tensors that files carry and no computation needs: constant masks, frequency tables, a copy of a tied head. */
static bool ignorable(const fl_model *m, const char *name)
{
    static const char *const suffix[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias",
                                         ".attention.masked_bias"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        size_t n = strlen(suffix[i]);
        if (length >= n && !strcmp(name + length - n, suffix[i])) return true;
    }
    return m->config.tied_head && (!strcmp(name, "lm_head.weight") || !strcmp(name, "embed_out.weight"));
}

/* A tensor nobody reads means that the file is not what its config says: dropping it would give wrong results. */
static fl_status refuse_unused(const fl_model *m)
{
    for (int64_t i = 0; i < fl_checkpoint_count(m->checkpoint); i++) {
        const fl_file_tensor *t = fl_lora_applied(&m->lora, fl_checkpoint_at(m->checkpoint, i));
        bool used = ignorable(m, t->name);
        for (int j = 0; j < m->weights && !used; j++)
            used = m->source[j] == t;
        if (!used)
            return fl_fail(FL_ERR_UNSUPPORTED,
                           "%s: tensor %s is not used by family %s as configured; leaving it out "
                           "would change the results",
                           fl_checkpoint_path(m->checkpoint), t->name, m->config.family);
    }
    return FL_OK;
}

/* The same of panels. */
static fl_status refuse_unused_panels(const fl_model *m)
{
    const fl_packed_model *file = fl_checkpoint_packed(m->checkpoint);
    const fl_device *d = m->engine->device;
    for (int64_t i = 0; file && i < file->places; i++) {
        bool used = !file->panels[i].layout;
        for (int j = 0; j < m->weights && !used; j++)
            used = m->weight[j]->packed && d->table->panels(d, m->weight[j]->packed).data == file->panels[i].data;
        size_t offset;
        if (!used)
            return fl_fail(FL_ERR_UNSUPPORTED, "%s: panels %s are not used by family %s as configured",
                           fl_checkpoint_path(m->checkpoint), fl_packed_model_entry(file, i, &offset),
                           m->config.family);
    }
    return FL_OK;
}

static fl_status set_scheme(fl_model *m, int64_t blockwise)
{
    const fl_config *c = &m->config;
    bool xpos = c->positions == FL_POSITIONS_XPOS;
    if (blockwise < -1 || blockwise == 1)
        return fl_fail(FL_ERR_ARGUMENT, "--blockwise %lld: give a window of 2 tokens or more, or -1 for none",
                       (long long)blockwise);
    if (blockwise == 0 && xpos) blockwise = fl_max64(c->window, 2);
    m->scheme = (fl_scheme){.rope = c->rotary ? &c->rope : NULL,
                            .interleaved = c->rope_interleaved,
                            .passes = c->passes,
                            .logn = c->logn,
                            .logn_window = c->logn_window,
                            .xpos = xpos};
    fl_passes *passes = &m->scheme.passes;
    passes->window = c->sliding_window;
    passes->block = fl_max64(blockwise, 0) / 2;
    if (passes->block && passes->kind != FL_PASSES_PLAIN)
        return fl_fail(FL_ERR_UNSUPPORTED, "--blockwise %lld with --rope-scaling %s: choose one of the two",
                       (long long)blockwise, fl_passes_name(passes));
    fl_passes_method_of(passes)->describe(passes, m->passes_text, sizeof m->passes_text);
    if (c->positions != FL_POSITIONS_ALIBI) return FL_OK;
    double *slope = fl_calloc((size_t)c->heads, sizeof *slope);
    m->slopes = fl_calloc((size_t)c->heads, sizeof *m->slopes);
    if (slope && m->slopes) fl_law_alibi_slopes((int)c->heads, slope);
    for (int64_t h = 0; slope && m->slopes && h < c->heads; h++)
        m->slopes[h] = (float)slope[h];
    m->scheme.alibi = m->slopes;
    bool made = slope && m->slopes;
    fl_free(slope);
    return made ? FL_OK : FL_ERR_MEMORY;
}

static fl_status open_parts(fl_model *m, const char *path, const fl_model_options *options)
{
    FL_TRY(fl_checkpoint_open(&m->checkpoint, path));
    m->config = *fl_checkpoint_config(m->checkpoint);
    m->arch = fl_arch_find(m->config.family);
    if (!m->arch)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: family %s is unknown; furlong reads llama, mistral, qwen2, qwen3, phi3, gpt_neox "
                       "and gpt2",
                       path, m->config.family);
    if (options->lora) FL_TRY(fl_checkpoint_need_rows(m->checkpoint, "merged with an adapter"));
    if (options->lora) FL_TRY(fl_lora_positions_read(&m->config, options->lora));
    FL_TRY(fl_position_options_apply(&m->config, options));
    FL_TRY(set_scheme(m, options->blockwise));
    fl_engine_lock(m->engine); /* merging and packing use the pool */
    fl_status s = FL_OK;
    if (options->lora)
        s = fl_lora_merge(&m->lora, m->engine->device, m->checkpoint, options->lora, options->lora_scale);
    if (s == FL_OK) s = m->arch->bind(m);
    fl_engine_unlock(m->engine);
    FL_TRY(s);
    fl_checkpoint_release(m->checkpoint);
    FL_TRY(refuse_unused(m));
    return refuse_unused_panels(m);
}

fl_status fl_model_open(fl_model **out, fl_engine *engine, const char *path, const fl_model_options *options)
{
    if (!out || !engine || !path || !options || options->size != sizeof *options)
        return fl_fail(FL_ERR_ARGUMENT, "fl_model_open: an argument is NULL or options.size is not %zu",
                       sizeof(fl_model_options));
    fl_model *m = fl_calloc(1, sizeof *m);
    if (!m) return FL_ERR_MEMORY;
    m->engine = engine;
    fl_status s = open_parts(m, path, options);
    if (s != FL_OK) {
        fl_model_close(m);
        return s;
    }
    *out = m;
    return FL_OK;
}

void fl_model_close(fl_model *m)
{
    if (!m) return;
    for (int i = 0; i < m->weights; i++) {
        fl_weight *w = m->weight[i];
        if (w->packed) m->engine->device->table->packed_free(m->engine->device, w->packed);
        if (w->values) fl_free_aligned((void *)(uintptr_t)w->values);
        fl_free(w);
    }
    fl_free(m->weight);
    fl_free(m->source);
    fl_free(m->body);
    fl_free(m->slopes);
    fl_lora_free(&m->lora);
    fl_checkpoint_close(m->checkpoint);
    fl_free(m);
}

void fl_model_view(fl_model *out, const fl_model *m, const fl_rope_spec *rope)
{
    *out = *m;
    out->config.rope = *rope;
    out->config.window = rope->window;
    out->scheme.rope = &out->config.rope;
}

fl_kv_shape fl_model_kv_shape(const fl_model *m)
{
    return (fl_kv_shape){(int)m->config.kv_heads, (int)m->config.head_dim, FL_F32, FL_F32};
}

int64_t fl_model_window(const fl_model *m)
{
    const fl_config *c = &m->config;
    return c->rotary ? fl_max64(c->window, fl_rope_scaled_window(&c->rope)) : c->window;
}

fl_status fl_model_get_info(const fl_model *m, fl_model_info *info)
{
    if (!m || !info || info->size != sizeof *info)
        return fl_fail(FL_ERR_ARGUMENT, "fl_model_info.size is not %zu", sizeof(fl_model_info));
    static const char *const formats[] = {[FL_FORMAT_HF] = "Hugging Face",
                                          [FL_FORMAT_LLAMA2C] = "llama2.c",
                                          [FL_FORMAT_GGUF] = "GGUF",
                                          [FL_FORMAT_PACKED] = "packed"};
    const fl_config *c = &m->config;
    double freq[FL_ROPE_MAX_PAIRS] = {0}, magnitude = 1;
    if (c->rotary) FL_TRY(fl_rope_frequencies(&c->rope, fl_model_window(m), freq, &magnitude));
    *info = (fl_model_info){.size = sizeof *info,
                            .path = fl_checkpoint_path(m->checkpoint),
                            .format = formats[fl_checkpoint_format(m->checkpoint)],
                            .family = c->family,
                            .tokenizer = fl_tokenizer_inside(m->checkpoint) ? fl_checkpoint_path(m->checkpoint)
                                                                            : fl_checkpoint_tokenizer(m->checkpoint),
                            .parameters = m->parameters,
                            .weight_bytes = m->weight_bytes,
                            .mapped_bytes = m->mapped_bytes,
                            .vocab = c->vocab,
                            .width = c->width,
                            .layers = c->layers,
                            .heads = c->heads,
                            .kv_heads = c->kv_heads,
                            .head_dim = c->head_dim,
                            .ffn = c->ffn,
                            .window = fl_model_window(m),
                            .trained_window = c->rotary ? c->rope.original_window : c->window,
                            .kv_bytes_per_token = c->layers * c->kv_heads * c->head_dim * 2 * (int64_t)sizeof(float),
                            .stored_type = fl_dtype_get(c->stored_type)->name,
                            .positions = fl_positions_name(c->positions),
                            .rotary = c->rotary,
                            .passes = fl_passes_name(&c->passes),
                            .passes_detail = m->passes_text,
                            .logn = fl_logn_name(c->logn),
                            .logn_window = c->logn_window,
                            .rope_scaling = c->rotary ? fl_rope_kind_name(c->rope.kind) : "none",
                            .rope_base = c->rotary ? c->rope.base : 0,
                            .rope_factor = c->rotary ? c->rope.factor : 1,
                            .rope_first_frequency = freq[0],
                            .rope_last_frequency = c->rotary ? freq[c->rope.dim / 2 - 1] : 0,
                            .rope_magnitude = magnitude,
                            .bos = c->bos,
                            .eos = c->eos_count ? c->eos[0] : -1};
    return FL_OK;
}
