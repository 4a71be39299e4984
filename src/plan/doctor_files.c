/* What is in the files and what the way to another format would lose. The traps are those of llama.cpp's converters and
 * of files that they have written (docs/formats.md). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/json.h"
#include "plan/doctor_internal.h"
#include "position/scaling_law.h"
#include "text/tokenizer.h"

static void check_tokenizer(fl_doctor *d, const fl_model *m)
{
    fl_tokenizer *t;
    fl_status s = fl_tokenizer_load(&t, NULL, m);
    if (s != FL_OK) {
        fl_doctor_find(d, FL_FINDING_BAD, "tokenizer", "%s", fl_error_message());
        fl_doctor_advise(d, "put tokenizer.json or tokenizer.model beside the model, or name one with --tokenizer");
        return;
    }
    int64_t ids = fl_tokenizer_vocab(t);
    if (ids > m->config.vocab) {
        fl_doctor_find(d, FL_FINDING_BAD, "tokenizer", "has %lld ids but the model %lld rows", (long long)ids,
                       (long long)m->config.vocab);
        fl_doctor_advise(d, "it belongs to another model, or added tokens were not trained: resize one of the two");
    } else if (m->config.bos >= 0 && fl_tokenizer_bos(t) >= 0 && m->config.bos != fl_tokenizer_bos(t)) {
        fl_doctor_find(d, FL_FINDING_WARN, "tokenizer", "begins texts with id %d, the config says %d",
                       fl_tokenizer_bos(t), m->config.bos);
        fl_doctor_advise(d, "furlong follows the tokenizer for prompts; correct the file that is wrong");
    } else {
        fl_doctor_find(d, FL_FINDING_OK, "tokenizer", "%s with %lld ids for %lld rows", fl_tokenizer_kind(t),
                       (long long)ids, (long long)m->config.vocab);
    }
    fl_tokenizer_close(t);
}

/* ---- a Hugging Face folder: what conversion to GGUF would lose -----------------------------------------------------
 */

static void check_folder(fl_doctor *d, const fl_model *m)
{
    const fl_rope_spec *r = &m->config.rope;
    char *path = fl_path_join(fl_checkpoint_folder(m->checkpoint), "config.json");
    json_t *root = NULL;
    if (path && fl_json_read(&root, path, fl_json_config_limits) != FL_OK) root = NULL;
    fl_free(path);
    const json_t *scaling = json_object_get(root, "rope_scaling");
    const json_t *dictionary = json_is_object(scaling) ? scaling : json_object_get(root, "rope_parameters");
    bool old_type = json_object_get(dictionary, "type") != NULL;
    bool at_top = json_object_get(root, "original_max_position_embeddings") != NULL;
    if (r->kind == FL_ROPE_DYNAMIC) {
        fl_doctor_find(d, FL_FINDING_WARN, "gguf", "dynamic scaling has no form in GGUF: a converter would drop it");
        fl_doctor_advise(
            d, "extend by yarn or a larger base instead before converting: furlong extend --rope-scaling yarn");
    } else if (r->kind == FL_ROPE_LLAMA3 && r->original_window != 8192 && !at_top) {
        fl_doctor_find(
            d, FL_FINDING_WARN, "gguf",
            "original_max_position_embeddings is %lld inside rope_scaling; llama.cpp's converter of early 2025 looks "
            "for it at the top level and takes 8192",
            (long long)r->original_window);
        fl_doctor_advise(d, "convert with furlong convert, which writes the divisors of this schedule");
    } else if (r->kind != FL_ROPE_PLAIN && r->kind != FL_ROPE_LLAMA3 && r->kind != FL_ROPE_LONGROPE &&
               !(r->kind == FL_ROPE_LINEAR && old_type)) {
        fl_doctor_find(
            d, FL_FINDING_WARN, "gguf",
            "llama.cpp's converter of early 2025 writes scaling of llama models only where the old key \"type\" says "
            "linear: %s would be dropped without a word",
            fl_rope_kind_name(r->kind));
        fl_doctor_advise(d, "convert with furlong convert and look at the result: furlong doctor -m model.gguf");
    } else if (r->kind != FL_ROPE_PLAIN) {
        fl_doctor_find(d, FL_FINDING_OK, "gguf", "its scaling survives the usual converters");
    }
    json_decref(root);
}

/* ---- a GGUF file: what a converter may have lost or doubled ---------------------------------------------------------
 */

static void check_yarn(fl_doctor *d, const fl_rope_spec *r)
{
    double magnitude = fl_law_yarn_magnitude(r->factor, 1);
    if (r->factor <= 1.01 || r->attention_factor > 0 || fabs(r->attn_factor / magnitude - 1) > 0.01) return;
    fl_doctor_find(
        d, FL_FINDING_BAD, "gguf",
        "rope.scaling.attn_factor is %.4g, YaRN's own 0.1 ln(%g) + 1, which readers multiply by that once more",
        r->attn_factor, r->factor);
    fl_doctor_advise(d, "read it with --yarn-attn-factor 1, or write the file anew without that key");
}

static void check_gguf(fl_doctor *d, const fl_model *m)
{
    const fl_gguf *g = fl_checkpoint_gguf(m->checkpoint);
    const fl_rope_spec *r = &m->config.rope;
    bool freqs = fl_gguf_tensor(g, "rope_freqs.weight") != NULL, llama = !strcmp(m->config.family, "llama");
    if (r->kind == FL_ROPE_YARN) check_yarn(d, r);
    if (llama && r->kind == FL_ROPE_PLAIN && !freqs && r->base == 5e5 && m->config.window > 8192) {
        fl_doctor_find(
            d, FL_FINDING_BAD, "gguf",
            "base 500000 and a window of %lld are Llama 3.1's, but the tensor rope_freqs.weight of its scaling is "
            "missing",
            (long long)m->config.window);
        fl_doctor_advise(
            d, "read it with --rope-scaling llama3 --rope-scale 8 --yarn-orig-ctx 8192, or convert the original again");
    } else if (r->kind == FL_ROPE_PLAIN && r->base == 1e4 && m->config.window > 8192) {
        fl_doctor_find(d, FL_FINDING_WARN, "gguf",
                       "a window of %lld with base 10000 and no scaling: a converter may have dropped rope_scaling",
                       (long long)m->config.window);
        fl_doctor_advise(d, "compare with the original's config.json; measure with -f TEXT");
    } else if (r->kind != FL_ROPE_YARN) {
        fl_doctor_find(d, FL_FINDING_OK, "gguf", "position keys are whole: base %g, scaling %s", r->base,
                       fl_rope_kind_name(r->kind));
    }
}

void fl_doctor_files(fl_doctor *d, const fl_model *m)
{
    check_tokenizer(d, m);
    if (!m->config.rotary) return;
    if (fl_checkpoint_format(m->checkpoint) == FL_FORMAT_GGUF) check_gguf(d, m);
    if (fl_checkpoint_format(m->checkpoint) == FL_FORMAT_HF) check_folder(d, m);
}
