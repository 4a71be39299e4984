/* Attention backward: the weights are computed again from lse, tile by tile, and five products per tile give dq, dk
 * and dv (Dao et al. 2022, FlashAttention, algorithm 4).
 *
 * A task is a chunk of keys of one kv head: it sums dk and dv over all query heads that share it and over all rows, in
 * order, in memory of its own. dq of a block of rows sums over chunks of keys; they take turns, in order of keys. So
 * all gradients have the same bits for any number of threads and any size of the chunks. A task only ever waits for one
 * with a lower number, which the pool has started before. */
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "device/cpu/attend.h"
#include "kernel/kernel.h"

#define BATCH 256        /* sequences handled at once */
#define CHUNK_TILES 8    /* the most tiles of a task, */
#define CHUNK_VALUES 512 /* fewer for long heads: tiles * head_dim <= this, so that a chunk stays in the cache */
#define TASKS_PER_THREAD 4
#define SLOT 2        /* of the scratch memory */
#define DLOGIT_PAD 16 /* keeps rows of dlogit from falling into the same cache sets */

typedef struct backward_seq {
    int64_t tasks;    /* first task */
    int64_t counters; /* first counter */
} backward_seq;

typedef struct backward_job {
    fl_device *device;
    const fl_attend_backward_args *args;
    const fl_attend_seq *seq;
    int sequences, kv_heads, group, head_dim, tiles;
    int together; /* kv heads whose chunks alternate: enough of them that tasks seldom wait for each other's turn, and
                     few, so that their rows stay in the cache from one chunk to the next */
    backward_seq begin[BATCH + 1];
    _Atomic int64_t *turn; /* per sequence, query head and block of rows: the chunk whose turn it is to add to dq */
} backward_job;

/* Scratch memory of a task. */
typedef struct chunk {
    const fl_attend_seq *seq;
    int kv_head;
    int64_t index, begin, end; /* number, keys */
    float *k;                  /* [keys][head_dim] times scale, 0 past the last key */
    float *v;                  /* per tile [head_dim][64], 0 past the last key */
    float *dk, *dv;            /* [keys][head_dim] */
    float *q, *dout;           /* [FL_ATTEND_ROWS][head_dim], q times scale * log2(e) */
    float *weight, *dlogit;    /* [FL_ATTEND_ROWS][64], [FL_ATTEND_ROWS][dlogit_stride] */
    int dlogit_stride;
} chunk;

/* What a block of rows sees. */
typedef struct row_block {
    int64_t first; /* row of the sequence */
    int rows;
    int64_t lo, hi;         /* some row sees something of [lo, hi) */
    int64_t all_lo, all_hi; /* every row sees all of [all_lo, all_hi) */
    int64_t row_lo[FL_ATTEND_ROWS], row_hi[FL_ATTEND_ROWS];
} row_block;

static int64_t row_blocks(const fl_attend_seq *s)
{
    return (s->rows + FL_ATTEND_ROWS - 1) / FL_ATTEND_ROWS;
}

static int64_t chunk_keys(const backward_job *job)
{
    return (int64_t)job->tiles * FL_TILE_KEYS;
}

static int64_t chunks(const backward_job *job, const fl_attend_seq *s)
{
    return (s->kv.keys + chunk_keys(job) - 1) / chunk_keys(job);
}

static void block_open(const fl_attend_seq *s, int64_t index, row_block *b)
{
    b->first = index * FL_ATTEND_ROWS;
    b->rows = (int)fl_min64(FL_ATTEND_ROWS, s->rows - b->first);
    b->lo = b->all_hi = INT64_MAX;
    b->hi = b->all_lo = 0;
    for (int r = 0; r < b->rows; r++) {
        int64_t lo = fl_max64(s->lo[b->first + r], 0), hi = fl_min64(s->hi[b->first + r], s->kv.keys);
        if (lo < hi) {
            b->lo = fl_min64(b->lo, lo);
            b->hi = fl_max64(b->hi, hi);
        } else {
            lo = hi = 0;
        }
        b->all_lo = fl_max64(b->all_lo, lo);
        b->all_hi = fl_min64(b->all_hi, hi);
        b->row_lo[r] = lo;
        b->row_hi[r] = hi;
    }
    b->lo = fl_min64(b->lo, b->hi);
}

/* The task's part of k and v, and zeros for its sums. */
static void chunk_open(const backward_job *job, int64_t task, int thread, chunk *c)
{
    int s = 0;
    while (job->begin[s + 1].tasks <= task)
        s++;
    task -= job->begin[s].tasks;
    c->seq = &job->seq[s];
    int64_t part_tasks = chunks(job, c->seq) * job->together;
    int64_t first_head = task / part_tasks * job->together, heads = fl_min64(job->together, job->kv_heads - first_head);
    task %= part_tasks;
    c->kv_head = (int)(first_head + task % heads);
    c->index = task / heads;
    c->begin = c->index * chunk_keys(job);
    c->end = fl_min64(c->begin + chunk_keys(job), c->seq->kv.keys);

    int d = job->head_dim;
    size_t keys = (size_t)chunk_keys(job) * d, rows = (size_t)FL_ATTEND_ROWS * d;
    c->dlogit_stride = (int)chunk_keys(job) + DLOGIT_PAD;
    c->k = fl_cpu_scratch(job->device, thread, SLOT, 4 * keys * sizeof(float));
    c->v = c->k + keys;
    c->dk = c->v + keys;
    c->dv = c->dk + keys;
    size_t weights = FL_ATTEND_ROWS * FL_TILE_KEYS, dlogits = (size_t)FL_ATTEND_ROWS * c->dlogit_stride;
    c->q = fl_cpu_scratch(job->device, thread, SLOT + 1, (2 * rows + weights + dlogits) * sizeof(float));
    c->dout = c->q + rows;
    c->weight = c->dout + rows;
    c->dlogit = c->weight + weights;

    memset(c->k, 0, 4 * keys * sizeof(float));
    for (int64_t key = c->begin; key < c->end; key++) {
        const float *k = fl_row(job->args->k, c->seq->first_row + key) + (ptrdiff_t)c->kv_head * d;
        const float *v = fl_row(job->args->v, c->seq->first_row + key) + (ptrdiff_t)c->kv_head * d;
        int64_t at = key - c->begin;
        float *tile = c->v + at / FL_TILE_KEYS * FL_TILE_KEYS * d + at % FL_TILE_KEYS;
        for (int i = 0; i < d; i++) {
            c->k[at * d + i] = k[i] * job->args->forward.scale;
            tile[(ptrdiff_t)i * FL_TILE_KEYS] = v[i];
        }
    }
}

static void chunk_close(const backward_job *job, const chunk *c)
{
    int d = job->head_dim;
    for (int64_t key = c->begin; key < c->end; key++) {
        ptrdiff_t column = (ptrdiff_t)c->kv_head * d, at = (key - c->begin) * d;
        fl_scale_row(c->dk + at, (float)FL_LN_2, fl_row(job->args->dk, c->seq->first_row + key) + column, d);
        memcpy(fl_row(job->args->dv, c->seq->first_row + key) + column, c->dv + at, (size_t)d * sizeof(float));
    }
}

/* Sum of a * b in 16 lanes. */
static float dot(const float *a, const float *b, int n)
{
    float lane[16] = {0};
    int i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] += a[i + j] * b[i + j];
    for (int j = 0; i + j < n; j++)
        lane[j] += a[i + j] * b[i + j];
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

/* Tiles from .. to-1 of the chunk against a block of rows of one query head: dk and dv take it in, dlogit is left. */
static void chunk_block(const backward_job *job, const chunk *c, const row_block *b, int head, int from, int to)
{
    const fl_attend_args *forward = &job->args->forward;
    int d = job->head_dim;
    ptrdiff_t column = (ptrdiff_t)head * d;
    float slope[FL_ATTEND_ROWS], offset[FL_ATTEND_ROWS];
    float lse[FL_ATTEND_ROWS], mean[FL_ATTEND_ROWS], scale = (float)(forward->scale * FL_LOG2_E);
    int64_t first_row = c->seq->first_row + b->first;
    fl_prefetch_rows(forward->q, first_row, b->rows, column, d, false);
    fl_prefetch_rows(job->args->dout, first_row, b->rows, column, d, false);
    fl_prefetch_rows(forward->out, first_row, b->rows, column, d, false);
    for (int r = 0; r < b->rows; r++) {
        int64_t row = first_row + r;
        const float *q = fl_row(forward->q, row) + column, *dout = fl_row(job->args->dout, row) + column;
        fl_scale_row(q, scale, c->q + (ptrdiff_t)r * d, d);
        memcpy(c->dout + (ptrdiff_t)r * d, dout, (size_t)d * sizeof(float));
        lse[r] = (float)(forward->lse[row * forward->heads + head] * FL_LOG2_E);
        mean[r] = dot(dout, fl_row(forward->out, row) + column, d);
        if (forward->slope) slope[r] = (float)(forward->slope[head] * FL_LOG2_E);
    }
    for (int tile = from; tile < to; tile++) {
        int64_t key = c->begin + (int64_t)tile * FL_TILE_KEYS;
        const fl_kv_view *kv = &c->seq->kv;
        const char *page = kv->page[key / FL_PAGE_TOKENS];
        const void *k = page + fl_kv_key_offset(&kv->shape, c->kv_head, (int)(key % FL_PAGE_TOKENS) / FL_TILE_KEYS);
        ptrdiff_t at = (ptrdiff_t)tile * FL_TILE_KEYS * d;
        fl_attend_pair pair = {.rows = b->rows,
                               .head_dim = d,
                               .q = c->q,
                               .dout = c->dout,
                               .lse = lse,
                               .mean = mean,
                               .weight = c->weight,
                               .dlogit = c->dlogit + (ptrdiff_t)tile * FL_TILE_KEYS,
                               .dlogit_stride = c->dlogit_stride,
                               .dk = c->dk + at,
                               .dv = c->dv + at,
                               .slope = forward->slope ? slope : NULL,
                               .offset = offset};
        for (int r = 0; forward->slope && r < b->rows; r++)
            offset[r] = (float)(key - c->seq->first_key - (b->first + r));
        bool whole = key >= b->all_lo && key + FL_TILE_KEYS <= b->all_hi;
        uint8_t first[FL_ATTEND_ROWS], last[FL_ATTEND_ROWS];
        for (int r = 0; r < b->rows && !whole; r++) {
            first[r] = fl_within_tile(b->row_lo[r], key);
            last[r] = fl_within_tile(b->row_hi[r], key);
        }
        job->device->kernels->attend->backward(&pair, k, c->v + at, whole ? NULL : first, whole ? NULL : last);
    }
}

static void wait_for(_Atomic int64_t *turn, int64_t index)
{
    for (int spins = 0; atomic_load_explicit(turn, memory_order_acquire) != index; spins++)
        if (spins > 1000) sched_yield();
}

static void backward_chunk(void *context, int64_t task, int thread)
{
    const backward_job *job = context;
    chunk c;
    chunk_open(job, task, thread, &c);
    int64_t blocks = row_blocks(c.seq);
    int d = job->head_dim;
    for (int head = c.kv_head * job->group; head < (c.kv_head + 1) * job->group; head++)
        for (int64_t index = 0; index < blocks; index++) {
            row_block b;
            block_open(c.seq, index, &b);
            if (b.lo >= c.end || b.hi <= c.begin) continue;
            int from = (int)((fl_max64(b.lo, c.begin) - c.begin) / FL_TILE_KEYS);
            int to = (int)((fl_min64(b.hi, c.end) - c.begin + FL_TILE_KEYS - 1) / FL_TILE_KEYS);
            chunk_block(job, &c, &b, head, from, to);

            _Atomic int64_t *turn = NULL;
            if (job->turn) turn = &job->turn[job->begin[c.seq - job->seq].counters + head * blocks + index];
            if (turn) wait_for(turn, c.index);
            float *dq = fl_row(job->args->dq, c.seq->first_row + b.first) + (ptrdiff_t)head * d;
            job->device->kernels->attend->backward_query(
                b.rows, d, (to - from) * FL_TILE_KEYS, c.dlogit + (ptrdiff_t)from * FL_TILE_KEYS, c.dlogit_stride,
                c.k + (ptrdiff_t)from * FL_TILE_KEYS * d, dq, job->args->dq->ld, b.lo / chunk_keys(job) != c.index);
            if (turn) atomic_store_explicit(turn, c.index + 1, memory_order_release);
        }
    chunk_close(job, &c);
}

/* One task that does all, for when there is no room for turns. */
static void backward_serially(void *context, int64_t task, int thread)
{
    const backward_job *job = context;
    (void)task;
    for (int64_t i = 0; i < job->begin[job->sequences].tasks; i++)
        backward_chunk(context, i, thread);
}

/* The first turn of each block of rows is that of the chunk it sees first. dq of a block that sees nothing is zero. */
static void first_turns(const backward_job *job)
{
    for (int s = 0; s < job->sequences; s++) {
        const fl_attend_seq *seq = &job->seq[s];
        int64_t blocks = row_blocks(seq);
        for (int64_t index = 0; index < blocks; index++) {
            row_block b;
            block_open(seq, index, &b);
            int heads = job->args->forward.heads;
            for (int head = 0; head < heads && job->turn; head++)
                atomic_init(&job->turn[job->begin[s].counters + head * blocks + index], b.lo / chunk_keys(job));
            for (int r = 0; r < b.rows && b.lo == b.hi; r++)
                memset(fl_row(job->args->dq, seq->first_row + b.first + r), 0,
                       (size_t)heads * job->head_dim * sizeof(float));
        }
    }
}

static void plan_tasks(backward_job *job, int tiles)
{
    job->tiles = tiles;
    for (int i = 0; i < job->sequences; i++) {
        const fl_attend_seq *s = &job->seq[i];
        job->begin[i + 1].tasks = job->begin[i].tasks + chunks(job, s) * job->kv_heads;
        job->begin[i + 1].counters = job->begin[i].counters + row_blocks(s) * job->args->forward.heads;
    }
}

void fl_cpu_attend_backward(fl_device *d, const fl_attend_backward_args *args)
{
    int threads = fl_pool_threads(d->pool);
    for (int first = 0; first < args->forward.sequences; first += BATCH) {
        const fl_attend_seq *seq = args->forward.seq + first;
        const fl_kv_shape *shape = &seq->kv.shape;
        backward_job job = {.device = d,
                            .args = args,
                            .seq = seq,
                            .sequences = (int)fl_min64(BATCH, args->forward.sequences - first),
                            .kv_heads = shape->kv_heads,
                            .group = args->forward.heads / shape->kv_heads,
                            .head_dim = shape->head_dim};
        int tiles = (int)fl_max64(1, fl_min64(CHUNK_TILES, CHUNK_VALUES / shape->head_dim));
        int parts = (int)fl_max64(1, job.kv_heads / threads);
        job.together = (job.kv_heads + parts - 1) / parts;
        plan_tasks(&job, tiles);
        while (tiles > 1 && job.begin[job.sequences].tasks < (int64_t)threads * TASKS_PER_THREAD && threads > 1)
            plan_tasks(&job, tiles /= 2);
        int64_t counters = job.begin[job.sequences].counters;
        if (threads > 1) job.turn = fl_cpu_shared_scratch(d, SLOT, (size_t)counters * sizeof *job.turn);
        first_turns(&job);
        if (job.turn)
            fl_pool_run(d->pool, job.begin[job.sequences].tasks, backward_chunk, &job);
        else
            fl_pool_run(d->pool, 1, backward_serially, &job);
    }
}
