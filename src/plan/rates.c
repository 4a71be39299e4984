/* What this machine does per second on a model's own shapes. Each kind of work is run for some tens of milliseconds and
 * the fastest of its runs counts: whatever disturbs a run only makes it slower. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/size.h"
#include "file/json.h"
#include "model/model.h"

#define ROWS 512      /* of a reading pass: the most rows of a product */
#define LEAST_ROWS 64 /* enough for products to run at the rate of many rows */
#define KEYS 1024     /* in a memory */
#define QUERIES 64    /* rows that look at them */
#define ALONE 256     /* rows of a sequence that is trained on */
#define PIECE 1e8     /* operations: a run should fit between two interruptions by other programs */
#define SECONDS 0.08  /* each measurement runs at least this long, and at least three times */

/* Everything a measurement touches; all tensors are filled with small random numbers. */
typedef struct bed {
    const fl_model *m;
    fl_device *d;
    const fl_weight *w; /* the largest matrix of a block */
    int64_t rows;       /* that go through it */
    fl_attention_shape shape;
    fl_memory *memory; /* one layer, KEYS tokens */
    fl_tensor x, y, dy, dx, q, k, v, out, dq, dk, dv;
    float *master, *dw, *lse;
    int64_t *lo, *hi; /* [KEYS] */
} bed;

static fl_tensor matrix(int64_t rows, int64_t cols, fl_rng *rng)
{
    fl_tensor t = {.type = FL_F32, .rows = rows, .cols = cols, .ld = cols};
    size_t bytes;
    if (!fl_size_product((int64_t[]){rows, cols, (int64_t)sizeof(float)}, 3, &bytes)) return t;
    float *data = fl_alloc_aligned(bytes);
    for (int64_t i = 0; data && i < rows * cols; i++)
        data[i] = (float)fl_rng_uniform(rng) - 0.5f;
    t.data = data;
    return t;
}

/* The embedding and the head also stand at the ends of the list; blocks are what a model mostly computes. */
static const fl_weight *largest_of_blocks(const fl_model *m)
{
    const fl_weight *best = NULL;
    for (int i = 0; i < m->weights; i++) {
        const fl_weight *w = m->weight[i];
        if (!w->packed || w == m->embed || w == m->head) continue;
        if (!best || w->stored.rows * w->stored.cols > best->stored.rows * best->stored.cols) best = w;
    }
    return best ? best : m->head;
}

static void bed_destroy(bed *b)
{
    fl_tensor *all[] = {&b->x, &b->y, &b->dy, &b->dx, &b->q, &b->k, &b->v, &b->out, &b->dq, &b->dk, &b->dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        fl_free_aligned(all[i]->data);
    fl_free_aligned(b->master);
    fl_free_aligned(b->dw);
    fl_free_aligned(b->lse);
    fl_free(b->lo);
    fl_free(b->hi);
    fl_memory_destroy(b->memory);
}

static fl_status bed_fill(bed *b)
{
    const fl_config *c = &b->m->config;
    fl_rng rng;
    fl_rng_seed(&rng, 1);
    int64_t rows = b->w->stored.rows, cols = b->w->stored.cols;
    b->rows = (int64_t)fmin(ROWS, fmax(LEAST_ROWS, floor(PIECE / (2.0 * (double)rows * (double)cols))));
    b->x = matrix(b->rows, cols, &rng);
    b->y = matrix(b->rows, rows, &rng);
    b->dy = matrix(b->rows, rows, &rng);
    b->dx = matrix(b->rows, cols, &rng);
    fl_tensor master = matrix(rows, cols, &rng), dw = matrix(rows, cols, &rng), lse = matrix(KEYS, c->heads, &rng);
    b->master = master.data;
    b->dw = dw.data;
    b->lse = lse.data;
    fl_tensor *query[] = {&b->q, &b->out, &b->dq}, *key[] = {&b->k, &b->v, &b->dk, &b->dv};
    bool made = b->x.data && b->y.data && b->dy.data && b->dx.data && b->master && b->dw && b->lse;
    for (size_t i = 0; i < sizeof query / sizeof *query; i++) {
        *query[i] = matrix(KEYS, c->heads * c->head_dim, &rng);
        made = made && query[i]->data;
    }
    for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
        *key[i] = matrix(KEYS, c->kv_heads * c->head_dim, &rng);
        made = made && key[i]->data;
    }
    b->lo = fl_calloc(KEYS, sizeof *b->lo);
    b->hi = fl_calloc(KEYS, sizeof *b->hi);
    return made && b->lo && b->hi ? FL_OK : FL_ERR_MEMORY;
}

static fl_status bed_create(bed *b, const fl_model *m)
{
    fl_kv_shape shape = fl_model_kv_shape(m);
    *b = (bed){.m = m, .d = m->engine->device, .w = largest_of_blocks(m)};
    fl_status s = bed_fill(b);
    if (s == FL_OK) s = fl_memory_create(&b->memory, 1, &shape);
    if (s == FL_OK) s = fl_memory_begin(b->memory, KEYS);
    if (s != FL_OK) {
        bed_destroy(b);
        return s;
    }
    fl_kv_view view = fl_memory_view(b->memory, 0);
    b->d->table->kv_write(b->d, &view, 0, &b->k, &b->v, 0, KEYS);
    fl_memory_commit(b->memory);
    return FL_OK;
}

/* ---- the measurements: each does its work once and says what fl_work it was ----------------------------------------
 */

typedef void work_fn(bed *b, fl_work *work);

static double flops(const bed *b)
{
    return 2.0 * (double)b->w->stored.rows * (double)b->w->stored.cols;
}

static void work_packed(bed *b, fl_work *work)
{
    fl_operand w = {b->w->packed, b->w->stored};
    b->d->table->linear(b->d, &w, NULL, &b->x, &b->y, false);
    work->packed_flops = (double)b->rows * flops(b);
}

/* y = x W^T, dx = dy W, dW = dy^T x, as a training step does them. */
static void work_plain(bed *b, fl_work *work)
{
    int64_t rows = b->w->stored.rows, cols = b->w->stored.cols;
    fl_operand w = {NULL, {FL_F32, rows, cols, cols, 1, b->master}};
    fl_stored transposed = {FL_F32, cols, rows, 1, cols, b->master};
    fl_stored dy = {FL_F32, b->rows, rows, rows, 1, b->dy.data};
    fl_stored dyt = {FL_F32, rows, b->rows, 1, rows, b->dy.data}, xt = {FL_F32, cols, b->rows, 1, cols, b->x.data};
    b->d->table->linear(b->d, &w, NULL, &b->x, &b->y, false);
    b->d->table->matmul(b->d, &dy, &transposed, b->dx.data, cols, false);
    b->d->table->matmul(b->d, &dyt, &xt, b->dw, cols, true);
    work->plain_flops = 3 * (double)b->rows * flops(b);
}

/* One row through every matrix of the model, so that small caches help no more than they do in use. */
static void work_stream(bed *b, fl_work *work)
{
    double limit = fl_clock_seconds() + 4 * SECONDS;
    for (int i = 0; i < b->m->weights && fl_clock_seconds() < limit; i++) {
        const fl_weight *w = b->m->weight[i];
        if (!w->packed || w->stored.cols > b->x.rows * b->x.cols || w->stored.rows > b->y.rows * b->y.cols) continue;
        fl_tensor x = {.type = FL_F32, .rows = 1, .cols = w->stored.cols, .ld = w->stored.cols, .data = b->x.data};
        fl_tensor y = {.type = FL_F32, .rows = 1, .cols = w->stored.rows, .ld = w->stored.rows, .data = b->y.data};
        fl_operand operand = {w->packed, w->stored};
        b->d->table->linear(b->d, &operand, NULL, &x, &y, false);
        work->weight_bytes += (double)b->d->table->packed_bytes(b->d, &w->stored);
    }
}

/* The last `rows` of the first `keys` tokens look at all before them. */
static fl_attend_seq last_rows(bed *b, int64_t rows, int64_t keys)
{
    for (int64_t r = 0; r < rows; r++)
        b->hi[r] = keys - rows + r + 1;
    fl_attend_seq seq = {.rows = rows, .lo = b->lo, .hi = b->hi, .kv = fl_memory_view(b->memory, 0)};
    seq.kv.keys = keys;
    return seq;
}

static fl_tensor first_rows(fl_tensor t, int64_t rows)
{
    t.rows = rows;
    return t;
}

/* -> query-key pairs times the width of all heads */
static double attend(bed *b, int64_t rows, int64_t keys)
{
    fl_attend_seq seq = last_rows(b, rows, keys);
    fl_tensor q = first_rows(b->q, rows), out = first_rows(b->out, rows);
    fl_attend_args args = {1, &seq, (int)b->m->config.heads, 0.1f, &q, &out, b->lse, false, NULL};
    b->d->table->attend(b->d, &args);
    return (double)rows * ((double)keys - (double)(rows - 1) / 2) * (double)q.cols;
}

static void work_attend(bed *b, fl_work *work)
{
    work->attend_flops = 4 * attend(b, QUERIES, KEYS);
}

static void work_cache(bed *b, fl_work *work)
{
    fl_kv_shape shape = fl_model_kv_shape(b->m);
    attend(b, 1, KEYS);
    work->cache_bytes = (double)KEYS / FL_PAGE_TOKENS * (double)fl_kv_page_bytes(&shape);
}

static void work_attend_backward(bed *b, fl_work *work)
{
    fl_attend_seq seq = last_rows(b, ALONE, ALONE);
    fl_tensor q = first_rows(b->q, ALONE), out = first_rows(b->out, ALONE), k = first_rows(b->k, ALONE),
              v = first_rows(b->v, ALONE), dq = first_rows(b->dq, ALONE), dk = first_rows(b->dk, ALONE),
              dv = first_rows(b->dv, ALONE);
    fl_attend_args forward = {1, &seq, (int)b->m->config.heads, 0.1f, &q, &out, b->lse, false, NULL};
    fl_attend_backward_args args = {
        .forward = forward, .k = &k, .v = &v, .dout = &out, .dq = &dq, .dk = &dk, .dv = &dv};
    b->d->table->attend_backward(b->d, &args);
    work->attend_backward_flops = 10.0 * ALONE * (ALONE + 1) / 2 * (double)q.cols;
}

static void work_rows(bed *b, fl_work *work)
{
    b->d->table->swiglu(b->d, &b->dy, &b->dy, &b->y); /* not in place: values must not wither */
    work->row_bytes = 3.0 * sizeof(float) * (double)(b->y.rows * b->y.cols);
}

static void work_call(bed *b, fl_work *work)
{
    fl_tensor x = {.type = FL_F32, .rows = 1, .cols = 16, .ld = 16, .data = b->x.data};
    for (int i = 0; i < 100; i++)
        b->d->table->add(b->d, &x, &x, &x);
    work->calls = 100;
}

/* Seconds of the fastest run. */
static double fastest(bed *b, work_fn *fn, fl_work *work)
{
    double best = INFINITY, began = fl_clock_seconds();
    for (int i = 0; i < 3 || fl_clock_seconds() - began < SECONDS; i++) {
        *work = (fl_work){0};
        double start = fl_clock_seconds();
        fn(b, work);
        best = fmin(best, fl_clock_seconds() - start);
    }
    return fmax(best, 1e-9);
}

fl_status fl_rates_measure(fl_rates *out, const fl_model *m)
{
    if (!out || out->size != sizeof *out || !m)
        return fl_fail(FL_ERR_ARGUMENT, "fl_rates_measure: an argument is NULL or rates.size is not %zu", sizeof *out);
    bed b;
    fl_work w;
    FL_TRY(bed_create(&b, m));
    fl_engine_lock(m->engine);
    fl_rates r = {.size = sizeof r, .threads = fl_engine_threads(m->engine)};
    double seconds = fastest(&b, work_packed, &w);
    r.packed_flops = w.packed_flops / seconds;
    seconds = fastest(&b, work_plain, &w);
    r.plain_flops = w.plain_flops / seconds;
    seconds = fastest(&b, work_stream, &w);
    r.weight_bytes = w.weight_bytes / seconds;
    seconds = fastest(&b, work_attend, &w);
    r.attend_flops = w.attend_flops / seconds;
    seconds = fastest(&b, work_cache, &w);
    r.cache_bytes = w.cache_bytes / seconds;
    attend(&b, ALONE, ALONE); /* its results are what the backward pass begins with */
    seconds = fastest(&b, work_attend_backward, &w);
    r.attend_backward_flops = w.attend_backward_flops / seconds;
    seconds = fastest(&b, work_rows, &w);
    r.row_bytes = w.row_bytes / seconds;
    seconds = fastest(&b, work_call, &w);
    r.call_seconds = seconds / (double)w.calls;
    fl_engine_unlock(m->engine);
    bed_destroy(&b);
    *out = r;
    return FL_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

typedef struct member {
    const char *name;
    size_t offset;
} member;

static const member members[] = {
    {"packed_flops", offsetof(fl_rates, packed_flops)},
    {"plain_flops", offsetof(fl_rates, plain_flops)},
    {"weight_bytes", offsetof(fl_rates, weight_bytes)},
    {"attend_flops", offsetof(fl_rates, attend_flops)},
    {"attend_backward_flops", offsetof(fl_rates, attend_backward_flops)},
    {"cache_bytes", offsetof(fl_rates, cache_bytes)},
    {"row_bytes", offsetof(fl_rates, row_bytes)},
    {"call_seconds", offsetof(fl_rates, call_seconds)},
};
#define MEMBERS (sizeof members / sizeof *members)

/* What the rates hold for: threads, kernels, and the shapes and type they were measured on. */
static json_t *conditions(const fl_model *m)
{
    const fl_config *c = &m->config;
    const fl_weight *w = largest_of_blocks(m);
    return json_pack("{si ss ss sI sI sI sI sI}", "threads", fl_engine_threads(m->engine), "cpu",
                     fl_engine_cpu(m->engine), "type", fl_dtype_get(w->stored.type)->name, "rows",
                     (json_int_t)w->stored.rows, "columns", (json_int_t)w->stored.cols, "heads", (json_int_t)c->heads,
                     "kv_heads", (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim);
}

fl_status fl_rates_save(const fl_rates *r, const fl_model *m, const char *path)
{
    if (!r || r->size != sizeof *r || !m || !path)
        return fl_fail(FL_ERR_ARGUMENT, "fl_rates_save: an argument is NULL or rates.size is not %zu", sizeof *r);
    json_t *rates = json_object(), *root = json_pack("{so so}", "measured_with", conditions(m), "per_second", rates);
    if (!root) return FL_ERR_MEMORY;
    for (size_t i = 0; i < MEMBERS; i++)
        json_object_set_new(rates, members[i].name,
                            json_real(*(const double *)(const void *)((const char *)r + members[i].offset)));
    fl_status s = fl_json_write(path, root);
    json_decref(root);
    return s;
}

static fl_status rates_from(fl_rates *out, const json_t *root, const fl_model *m, const char *path)
{
    fl_rates r = {.size = sizeof r, .threads = fl_engine_threads(m->engine)};
    json_t *here = conditions(m);
    const json_t *there = json_object_get(root, "measured_with");
    bool same = here && there && json_equal(here, there);
    json_decref(here);
    if (!same)
        return fl_fail(FL_ERR_STATE,
                       "%s: measured_with: other threads, kernels or shapes than this model's here: remove the file or "
                       "name another, and it is measured anew",
                       path);
    fl_json_at at = {json_object_get(root, "per_second"), path, "per_second."};
    if (!json_is_object(at.object)) return fl_fail(FL_ERR_FORMAT, "%s: per_second: is no object", path);
    for (size_t i = 0; i < MEMBERS; i++) {
        double value = 0;
        FL_TRY(fl_json_need(&at, members[i].name));
        FL_TRY(fl_json_real(&at, members[i].name, &value, NULL));
        if (!(value > 0 && isfinite(value)))
            return fl_json_fail(FL_ERR_FORMAT, &at, members[i].name, "must be positive: remove the file");
        *(double *)(void *)((char *)&r + members[i].offset) = value;
    }
    *out = r;
    return FL_OK;
}

fl_status fl_rates_load(fl_rates *out, const fl_model *m, const char *path)
{
    if (!out || out->size != sizeof *out || !m || !path)
        return fl_fail(FL_ERR_ARGUMENT, "fl_rates_load: an argument is NULL or rates.size is not %zu", sizeof *out);
    json_t *root;
    FL_TRY(fl_json_read(&root, path, fl_json_config_limits));
    fl_status s = rates_from(out, root, m, path);
    json_decref(root);
    return s;
}
