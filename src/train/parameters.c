#include "train/parameters.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/size.h"
#include "model/export.h"

/* Arrays start at multiples of 16 values so that every row kernel sees aligned data. */
#define STEP 16
#define MOST_RANK 65536

/* ---- what trains ------------------------------------------------------------------------------------------------- */

const char *fl_lora_default_targets(const fl_model *m)
{
    const char *family = m->config.family;
    if (!strcmp(family, "gpt2")) return "c_attn,attn.c_proj";
    if (!strcmp(family, "gpt_neox")) return "query_key_value,dense";
    if (!strcmp(family, "phi3")) return "qkv_proj,o_proj";
    return "q_proj,k_proj,v_proj,o_proj";
}

/* Whether the module of a tensor is the target or ends with "." and the target, as PEFT matches target_modules. */
static bool is_target(const char *tensor, const char *target, size_t length)
{
    const char *end = strrchr(tensor, '.');
    if (!end || strcmp(end, ".weight")) return false;
    size_t n = (size_t)(end - tensor);
    return n >= length && !strncmp(end - length, target, length) && (n == length || end[-(ptrdiff_t)length - 1] == '.');
}

static bool contains(const char *name, const char *part, size_t length)
{
    for (; *name; name++)
        if (!strncmp(name, part, length)) return true;
    return false;
}

typedef bool (*match_fn)(const char *name, const char *item, size_t length);

/* Whether an item of a list separated by commas matches; NULL: nothing does. */
static bool any_matches(const char *list, const char *name, match_fn matches)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ",");
        if (n && matches(name, p, n)) return true;
        p += n + (p[n] == ',');
    }
    return false;
}

/* Every item must match some tensor: a name that says nothing is a mistake. */
static fl_status check_list(const fl_model *m, const char *flag, const char *list, match_fn matches)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ",");
        bool found = false;
        for (int i = 0; n && i < m->weights && !found; i++)
            found = matches(m->source[i]->name, p, n);
        if (!found)
            return fl_fail(
                FL_ERR_ARGUMENT, "%s %s: '%.*s' matches nothing of this model, whose last tensors are %s and %s", flag,
                list, (int)n, p, m->source[m->weights > 1 ? m->weights - 2 : 0]->name, m->source[m->weights - 1]->name);
        p += n + (p[n] == ',');
    }
    return FL_OK;
}

typedef struct choice {
    int64_t rank;
    const char *targets, *trainable;
    bool everything;
} choice;

static fl_status choose(choice *c, const fl_model *m, const fl_train_options *o)
{
    *c = (choice){.rank = o->lora_rank, .trainable = o->trainable};
    if (o->lora_rank < 0 || o->lora_rank > MOST_RANK || !isfinite(o->lora_alpha))
        return fl_fail(FL_ERR_ARGUMENT, "--lora-rank %lld --lora-alpha %g: give a rank up to %d and a number",
                       (long long)o->lora_rank, o->lora_alpha, MOST_RANK);
    if (o->lora_targets && !o->lora_rank) return fl_fail(FL_ERR_ARGUMENT, "--lora-targets needs --lora-rank R");
    if (o->lora_rank) c->targets = o->lora_targets ? o->lora_targets : fl_lora_default_targets(m);
    c->everything = !o->lora_rank && !o->trainable;
    if (o->lora_targets) FL_TRY(check_list(m, "--lora-targets", o->lora_targets, is_target));
    if (o->trainable) FL_TRY(check_list(m, "--trainable", o->trainable, contains));
    return FL_OK;
}

static bool has_adapter(const choice *c, const fl_model *m, int i)
{
    return c->rank && any_matches(c->targets, m->source[i]->name, is_target);
}

static bool trains_whole(const choice *c, const fl_model *m, int i)
{
    return c->everything || any_matches(c->trainable, m->source[i]->name, contains);
}

/* ---- arrays ------------------------------------------------------------------------------------------------------ */

static fl_status append(fl_parameters *p, const fl_model *m, int weight, int64_t rows, int64_t cols, bool decays)
{
    size_t n;
    if (!fl_size_product((int64_t[]){rows, cols}, 2, &n) || (int64_t)n > INT64_MAX / 64 - p->count)
        return fl_fail(FL_ERR_MEMORY, "%s is too large to train", m->weight[weight]->name);
    p->array[p->arrays++] = (fl_trained){weight, p->count, rows, cols, decays};
    p->trained += (int64_t)n;
    p->count += fl_round_up((int64_t)n, STEP);
    return FL_OK;
}

static int64_t outputs_of(const fl_model *m, int i)
{
    return m->source[i]->dim[m->weight[i]->stored.col_stride != 1 ? 1 : 0];
}

static fl_status place_adapter(fl_parameters *p, const fl_model *m, const choice *c, int i)
{
    const fl_weight *w = m->weight[i];
    if (trains_whole(c, m, i))
        return fl_fail(FL_ERR_ARGUMENT, "%s: --trainable and --lora-targets both name it: choose one", w->name);
    if (w == m->embed || w == m->head || !w->packed)
        return fl_fail(FL_ERR_UNSUPPORTED, "--lora-targets: %s cannot have an adapter: train it whole with --trainable",
                       w->name);
    FL_TRY(append(p, m, i, c->rank, w->stored.cols, true));
    return append(p, m, i, outputs_of(m, i), c->rank, true);
}

static fl_status place(fl_parameters *p, const fl_model *m, const choice *c)
{
    p->array = fl_calloc((size_t)m->weights * 2 + 1, sizeof *p->array);
    if (!p->array) return FL_ERR_MEMORY;
    for (int i = 0; i < m->weights; i++)
        if (trains_whole(c, m, i)) {
            const fl_stored *s = &m->weight[i]->stored;
            FL_TRY(append(p, m, i, s->rows, s->cols, s->rows > 1));
        }
    p->whole = p->arrays;
    for (int i = 0; i < m->weights; i++)
        if (has_adapter(c, m, i) && fl_model_weight_first(m, i) == 0) FL_TRY(place_adapter(p, m, c, i));
    return FL_OK;
}

static fl_status block(float **out, int64_t count)
{
    size_t bytes;
    if (!fl_size_mul((size_t)count, sizeof **out, &bytes)) return fl_fail(FL_ERR_MEMORY, "too many parameters");
    *out = fl_alloc_aligned(bytes);
    if (!*out) return FL_ERR_MEMORY;
    memset(*out, 0, bytes);
    return FL_OK;
}

/* ---- values and the overlay over them ---------------------------------------------------------------------------- */

/* Where an array's values or gradients begin; without any (an outline), somewhere. */
static float *place_of(float *block, int64_t offset)
{
    static float nowhere;
    return block ? block + offset : &nowhere;
}

static void lay_whole(fl_parameters *p)
{
    for (int i = 0; i < p->whole; i++) {
        const fl_trained *a = &p->array[i];
        p->overlay.master[a->weight] = place_of(p->master, a->offset);
        p->overlay.grad[a->weight] = place_of(p->grad, a->offset);
    }
}

/* Every weight that is a part of a fused tensor shares A and has its rows of B. */
static void lay_adapter(fl_parameters *p, const fl_model *m, const fl_trained *down, const fl_trained *up, float scale)
{
    for (int i = 0; i < m->weights; i++) {
        if (m->source[i] != m->source[down->weight]) continue;
        int64_t row = fl_model_weight_first(m, i) / m->weight[i]->stored.row_stride;
        p->adapter[i] = (fl_adapter){.rank = down->rows,
                                     .scale = scale,
                                     .down = place_of(p->master, down->offset),
                                     .down_grad = place_of(p->grad, down->offset),
                                     .up = place_of(p->master, up->offset + row * up->cols),
                                     .up_grad = place_of(p->grad, up->offset + row * up->cols)};
    }
}

static fl_status lay_overlay(fl_parameters *p, const fl_model *m, const fl_train_options *o)
{
    p->overlay.master = fl_calloc((size_t)m->weights, sizeof *p->overlay.master);
    p->overlay.grad = fl_calloc((size_t)m->weights, sizeof *p->overlay.grad);
    if (!p->overlay.master || !p->overlay.grad) return FL_ERR_MEMORY;
    lay_whole(p);
    if (p->whole == p->arrays) return FL_OK;
    p->overlay.adapter = p->adapter = fl_calloc((size_t)m->weights, sizeof *p->adapter);
    if (!p->adapter) return FL_ERR_MEMORY;
    for (int i = p->whole; i < p->arrays; i += 2)
        lay_adapter(p, m, &p->array[i], &p->array[i + 1], (float)(o->lora_alpha / (double)o->lora_rank));
    return FL_OK;
}

static void fill(fl_parameters *p, const fl_model *m, const fl_train_options *o)
{
    for (int i = 0; i < p->whole; i++) {
        const fl_trained *a = &p->array[i];
        for (int64_t n = 0; n < a->rows; n++)
            fl_stored_row(&m->weight[a->weight]->stored, n, p->master + a->offset + n * a->cols);
    }
    fl_rng rng;
    fl_rng_seed(&rng, o->seed);
    for (int i = p->whole; i < p->arrays; i += 2) {
        const fl_trained *down = &p->array[i];
        double bound = 1 / sqrt((double)down->cols);
        for (int64_t n = 0; n < down->rows * down->cols; n++)
            p->master[down->offset + n] = (float)(bound * (2 * fl_rng_uniform(&rng) - 1));
    }
}

static fl_status create(fl_parameters *p, const fl_model *m, const fl_train_options *o, bool values)
{
    *p = (fl_parameters){.overlay.count = m->weights};
    choice c;
    fl_status s = choose(&c, m, o);
    if (s == FL_OK) s = place(p, m, &c);
    float **blocks[] = {&p->master, &p->grad, &p->moment1, &p->moment2};
    for (int i = 0; i < 4 && values && s == FL_OK; i++)
        s = block(blocks[i], p->count);
    if (s == FL_OK) s = lay_overlay(p, m, o);
    if (s != FL_OK) fl_parameters_destroy(p);
    return s;
}

fl_status fl_parameters_outline(fl_parameters *p, const fl_model *m, const fl_train_options *o)
{
    return create(p, m, o, false);
}

fl_status fl_parameters_create(fl_parameters *p, const fl_model *m, const fl_train_options *o)
{
    FL_TRY(create(p, m, o, true));
    fill(p, m, o);
    fl_checkpoint_release(m->checkpoint);
    return FL_OK;
}

void fl_parameters_destroy(fl_parameters *p)
{
    fl_free_aligned(p->master);
    fl_free_aligned(p->grad);
    fl_free_aligned(p->moment1);
    fl_free_aligned(p->moment2);
    fl_free(p->array);
    fl_free(p->adapter);
    fl_free(p->overlay.master);
    fl_free(p->overlay.grad);
    *p = (fl_parameters){0};
}
