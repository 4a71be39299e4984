#include "model/lora_rows.h"

#include <string.h>

#include "base/alloc.h"
#include "file/permute.h"

#define PARTS 3 /* q, k, v */

/* Rows of a fused q, k, v matrix: together for each head, or all q, then all k, then all v. */
static void regroup(float *to, const float *from, int64_t heads, int64_t head_dim, int64_t cols, bool by_head)
{
    int64_t size = head_dim * cols;
    for (int64_t h = 0; h < heads; h++)
        for (int64_t p = 0; p < PARTS; p++) {
            int64_t together = h * PARTS + p, apart = p * heads + h;
            memcpy(to + (by_head ? together : apart) * size, from + (by_head ? apart : together) * size,
                   (size_t)size * sizeof *to);
        }
}

/* Whether `name` is the weight or the bias of that module. */
static bool belongs(const char *name, const char *module)
{
    const char *end = strrchr(name, '.');
    size_t n = strlen(module), base = end ? (size_t)(end - name) : 0;
    return base >= n && !strncmp(name + base - n, module, n) && (!strcmp(end, ".weight") || !strcmp(end, ".bias"));
}

fl_status fl_lora_reorder(float **values, const fl_config *c, const char *name, int64_t rows, int64_t cols,
                          fl_lora_order from, fl_lora_order to)
{
    bool fused = belongs(name, ".query_key_value");
    int64_t heads = 0;
    if (fused)
        heads = from.by_head != to.by_head ? PARTS * c->heads : 0;
    else if (c->rotary && from.interleaved != to.interleaved)
        heads = belongs(name, ".q_proj") ? c->heads : belongs(name, ".k_proj") ? c->kv_heads : 0;
    if (!heads) return FL_OK;
    if (heads * c->head_dim != rows) return fl_fail(FL_ERR_SHAPE, "%s: rows do not make whole heads", name);
    float *moved = fl_alloc_aligned((size_t)(rows * cols) * sizeof *moved);
    if (!moved) return FL_ERR_MEMORY;
    if (fused)
        regroup(moved, *values, c->heads, c->head_dim, cols, to.by_head);
    else
        fl_permute_rows(moved, *values, heads, c->head_dim, c->rope.dim, (size_t)cols * sizeof **values,
                        to.interleaved ? FL_ROWS_INTERLEAVED : FL_ROWS_HALF_SPLIT);
    fl_free_aligned(*values);
    *values = moved;
    return FL_OK;
}
