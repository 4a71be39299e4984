#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "model/lora_adapter.h"

/* *base: length of the part of the name between the form's prefix and end. */
static bool parse_name(const fl_adapter_form *f, const char *name, const char *end, size_t *base)
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

static const fl_file_tensor *partner(const fl_adapter *a, const char *name, size_t base, const char *end)
{
    size_t most = strlen(name) + 32;
    char *other = fl_calloc(most, 1);
    if (!other) return NULL;
    snprintf(other, most, "%.*s%s", (int)(strlen(a->form->prefix) + base), name, end);
    const fl_file_tensor *t = a->gguf ? fl_gguf_tensor(a->gguf, other) : fl_safetensors_find(a->file, other);
    fl_free(other);
    return t;
}

bool fl_adapter_is_head(const char *name)
{
    return !strcmp(name, "lm_head.weight") || !strcmp(name, "embed_out.weight");
}

bool fl_adapter_is_table(const char *name)
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
    if ((fl_adapter_is_head(name) && fl_checkpoint_config(c)->tied_head) || fl_adapter_is_table(name)) return NULL;
    return fl_checkpoint_find(c, name);
}

/* The checkpoint's weight of an adapter's name. */
static const fl_file_tensor *weight_of(const fl_adapter *a, const fl_checkpoint *c, const char *name, size_t base)
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

static fl_status check_shapes(const fl_adapter *a, const fl_file_tensor *w, const fl_file_tensor *down,
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

fl_status fl_adapter_pair_at(fl_adapter_pair *out, const fl_adapter *a, const fl_checkpoint *c, int64_t i)
{
    const fl_adapter_form *f = a->form;
    const fl_file_tensor *t = fl_adapter_at(a, i);
    size_t base;
    *out = (fl_adapter_pair){0};
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
    *out = (fl_adapter_pair){w, t, other};
    return check_shapes(a, w, t, other);
}

bool fl_adapter_whole(const fl_adapter *a, const fl_file_tensor *t)
{
    return a->saves && !strncmp(t->name, a->form->prefix, strlen(a->form->prefix)) && !strstr(t->name, ".lora_");
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

fl_status fl_adapter_copy(float **out, const fl_file_tensor *t)
{
    size_t values, bytes;
    FL_TRY(fl_file_tensor_values(t, &values));
    if (!fl_size_mul(values, sizeof **out, &bytes)) return fl_fail(FL_ERR_MEMORY, "%s is too large", t->name);
    *out = fl_alloc_aligned(bytes);
    if (!*out) return FL_ERR_MEMORY;
    fl_to_f32(t->type, t->data, *out, (int64_t)values);
    return FL_OK;
}

fl_status fl_adapter_reordered(float **out, float *rows, const fl_adapter *a, const fl_config *c, fl_lora_order to,
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

fl_status fl_adapter_up(float **out, const fl_adapter *a, const fl_config *c, fl_lora_order to, double factor,
                        const fl_file_tensor *up, const char *weight)
{
    float *rows;
    int64_t rank = up->dim[1], size = up->dim[0] * rank;
    FL_TRY(fl_adapter_copy(&rows, up));
    for (int64_t i = 0; i < size; i++)
        rows[i] = (float)(factor * (double)rows[i]);
    return fl_adapter_reordered(out, rows, a, c, to, up, weight);
}
