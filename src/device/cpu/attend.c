/* Attention forward: softmax(scale q k^T) v over a range of keys for each row, tile by tile, never a matrix of logits
 * (Rabe, Staats 2021; Dao et al. 2022, FlashAttention).
 *
 * A unit of work is a block of query rows of one sequence against one kv head; the query heads that share the kv head
 * are rows of the block, so that they share each read of a tile. Keys come in blocks of 1024 at absolute multiples of
 * 1024, each with a softmax of its own; their results, the parts, are merged in order. So a row's bits depend on its
 * query, its range and the keys alone: not on the rows beside it, on chunks, or on who computes which block. */
#include <math.h>
#include <string.h>

#include "device/cpu/attend.h"
#include "kernel/kernel.h"
#include "kernel/simd/exp.h"

#define BLOCK_KEYS 1024
#define BATCH 256          /* sequences handled at once */
#define UNITS_PER_THREAD 4 /* with fewer units than this, each key block of a unit becomes a task */
#define SPLIT_BYTES ((size_t)16 << 20)
#define SLOT 2 /* and the next: of the scratch memory */

_Static_assert(FL_ATTEND_KEYS == FL_TILE_KEYS, "kernels work on the tiles of a page");
_Static_assert(BLOCK_KEYS % FL_PAGE_TOKENS == 0, "a key block is whole pages");
_Static_assert(FL_EVICT_TOKENS % BLOCK_KEYS == 0, "evictions move keys by whole blocks");

typedef struct attend_job {
    fl_device *device;
    const fl_attend_args *args;
    const fl_attend_seq *seq;
    int sequences, group, head_dim;
    int64_t unit_begin[BATCH + 1]; /* first unit of each sequence */
} attend_job;

/* Softmax of some keys for the rows of a unit: what is merged. */
typedef struct part {
    float *max, *sum, *out; /* [rows], [rows], [rows][head_dim] not yet divided by sum */
} part;

/* A unit with its rows gathered in scratch memory. */
typedef struct unit {
    const fl_attend_seq *seq;
    int kv_head, rows;
    int64_t first;          /* the first row: row of the sequence * group + head within the group */
    int64_t lo, hi;         /* some row sees something of [lo, hi) */
    int64_t all_lo, all_hi; /* every row sees all of [all_lo, all_hi) */
    int64_t row_lo[FL_ATTEND_ROWS], row_hi[FL_ATTEND_ROWS];
    float slope[FL_ATTEND_ROWS]; /* with slopes, times log2(e) */
    float *q, *lanes, *weight;   /* [rows][head_dim] scaled, [rows][16], [rows][64] */
    void *q8;                    /* q as integers, for keys that are stored as such */
    float *k, *v;                /* scratch for a tile */
    part block, total;
} unit;

static size_t round16(size_t n)
{
    return (n + 15) / 16 * 16;
}

static size_t part_floats(int rows, int head_dim)
{
    return 2 * round16(rows) + round16((size_t)rows * head_dim);
}

static part part_at(float *at, int rows)
{
    return (part){.max = at, .sum = at + round16(rows), .out = at + 2 * round16(rows)};
}

static void part_clear(const part *p, int rows, int head_dim)
{
    for (int r = 0; r < rows; r++) {
        p->max[r] = -INFINITY;
        p->sum[r] = 0;
    }
    memset(p->out, 0, (size_t)rows * head_dim * sizeof(float));
}

static void merge_row(float *restrict to, float a, const float *restrict from, float b, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = to[i] * a + from[i] * b;
}

/* total = total and block together; block holds later keys. A row that saw nothing of the block stays as it is. */
static void part_merge(const attend_job *job, const part *total, const part *block, int rows)
{
    int d = job->head_dim;
    float a[FL_ATTEND_ROWS], b[FL_ATTEND_ROWS];
    for (int r = 0; r < rows; r++) {
        float max = block->max[r] > total->max[r] ? block->max[r] : total->max[r];
        a[r] = total->max[r] - max;
        b[r] = block->max[r] - max;
    }
    job->device->kernels->attend->exp2(a, rows);
    job->device->kernels->attend->exp2(b, rows);
    for (int r = 0; r < rows; r++) {
        if (block->max[r] == -INFINITY) continue;
        total->max[r] = block->max[r] > total->max[r] ? block->max[r] : total->max[r];
        total->sum[r] = total->sum[r] * a[r] + block->sum[r] * b[r];
        merge_row(total->out + (ptrdiff_t)r * d, a[r], block->out + (ptrdiff_t)r * d, b[r], d);
    }
}

static int64_t row_blocks(int64_t rows)
{
    return (rows + FL_ATTEND_ROWS - 1) / FL_ATTEND_ROWS;
}

/* The last i with begin[i] <= value; begin ascends. */
static int find(const int64_t *begin, int64_t n, int64_t value)
{
    int64_t i = 0;
    for (int64_t end = n; end - i > 1;) {
        int64_t middle = (i + end) / 2;
        if (begin[middle] <= value)
            i = middle;
        else
            end = middle;
    }
    return (int)i;
}

/* Which rows unit `index` has and what they see. Units of a sequence go by kv head, then from the last rows (which see
 * most keys when attention is causal) to the first, so that the threads end together. */
static void unit_open(const attend_job *job, int64_t index, unit *u)
{
    int s = find(job->unit_begin, job->sequences, index);
    u->seq = &job->seq[s];
    int64_t rows = u->seq->rows * job->group, blocks = row_blocks(rows);
    index -= job->unit_begin[s];
    u->kv_head = (int)(index / blocks);
    u->first = (blocks - 1 - index % blocks) * FL_ATTEND_ROWS;
    u->rows = (int)fl_min64(FL_ATTEND_ROWS, rows - u->first);
    u->lo = u->all_hi = INT64_MAX;
    u->hi = u->all_lo = 0;
    for (int r = 0; r < u->rows; r++) {
        int64_t row = (u->first + r) / job->group;
        int64_t lo = fl_max64(u->seq->lo[row], 0), hi = fl_min64(u->seq->hi[row], u->seq->kv.keys);
        if (lo < hi) {
            u->lo = fl_min64(u->lo, lo);
            u->hi = fl_max64(u->hi, hi);
        } else {
            lo = hi = 0;
        }
        u->all_lo = fl_max64(u->all_lo, lo);
        u->all_hi = fl_min64(u->all_hi, hi);
        u->row_lo[r] = lo;
        u->row_hi[r] = hi;
    }
    u->lo = fl_min64(u->lo, u->hi);
}

/* Row r of a unit: its row in q and out, and its query head. */
static int64_t unit_row(const attend_job *job, const unit *u, int r, int *head)
{
    *head = u->kv_head * job->group + (int)((u->first + r) % job->group);
    return u->seq->first_row + (u->first + r) / job->group;
}

/* Ask for the unit's part of q, or of out to be written. */
static void unit_prefetch(const attend_job *job, const unit *u, const fl_tensor *t, bool to_write)
{
    int64_t first = u->first / job->group, last = (u->first + u->rows - 1) / job->group;
    ptrdiff_t column = (ptrdiff_t)u->kv_head * job->group * job->head_dim;
    fl_prefetch_rows(t, u->seq->first_row + first, last - first + 1, column, job->group * job->head_dim, to_write);
}

/* Gather the unit's queries in this thread's scratch memory, which also holds its parts. */
static void unit_gather(const attend_job *job, unit *u, int thread)
{
    int d = job->head_dim;
    size_t q = round16((size_t)FL_ATTEND_ROWS * d), rest = part_floats(FL_ATTEND_ROWS, d);
    size_t lanes = FL_ATTEND_ROWS * FL_ATTEND_LANES, weight = FL_ATTEND_ROWS * FL_ATTEND_KEYS;
    size_t q8 = FL_ATTEND_Q8_BYTES(FL_ATTEND_ROWS, d);
    u->q = fl_cpu_scratch(job->device, thread, SLOT, (q + lanes + weight + 2 * rest) * sizeof(float) + q8);
    u->lanes = u->q + q;
    u->weight = u->lanes + lanes;
    u->block = part_at(u->weight + weight, FL_ATTEND_ROWS);
    u->total = part_at(u->weight + weight + rest, FL_ATTEND_ROWS);
    u->q8 = u->weight + weight + 2 * rest;
    u->k = fl_cpu_scratch(job->device, thread, SLOT + 1, 2 * FL_ATTEND_SCRATCH(d));
    u->v = u->k + (ptrdiff_t)d * FL_TILE_KEYS;
    unit_prefetch(job, u, job->args->q, false);
    float scale = (float)(job->args->scale * FL_LOG2_E);
    for (int r = 0; r < u->rows; r++) {
        int head;
        int64_t row = unit_row(job, u, r, &head);
        const float *from = fl_row(job->args->q, row) + (ptrdiff_t)head * d;
        fl_scale_row(from, scale, u->q + (ptrdiff_t)r * d, d);
        if (job->args->slope) u->slope[r] = (float)(job->args->slope[head] * FL_LOG2_E);
    }
    fl_dtype type = u->seq->kv.shape.k_type;
    if (type == FL_Q8_0 || type == FL_Q4_0) job->device->kernels->attend->quantise_queries(u->rows, d, u->q, u->q8);
}

/* Where the tile that begins with `key` lies. */
static void tile_at(const fl_kv_view *kv, int kv_head, int64_t key, const void **k, const void **v)
{
    const char *page = kv->page[key / FL_PAGE_TOKENS];
    int within = (int)(key % FL_PAGE_TOKENS);
    *k = page + fl_kv_key_offset(&kv->shape, kv_head, within / FL_TILE_KEYS);
    *v = page + fl_kv_value_offset(&kv->shape, kv_head, within);
}

/* u->block = softmax over keys block*1024 .. of every row. */
static void unit_attend(const attend_job *job, unit *u, int64_t block)
{
    int d = job->head_dim;
    const fl_kv_view *kv = &u->seq->kv;
    const fl_attend_kernels *kernels = job->device->kernels->attend;
    part_clear(&u->block, u->rows, d);
    memset(u->lanes, 0, (size_t)u->rows * FL_ATTEND_LANES * sizeof(float));
    float offset[FL_ATTEND_ROWS];
    const float *slope = job->args->slope ? u->slope : NULL;
    fl_attend_state state = {u->rows, d, u->q, u->q8, u->block.max, u->lanes, u->block.out, u->weight, slope, offset};
    fl_attend_tile tile = {.k_format = fl_attend_format_of(kv->shape.k_type),
                           .v_format = fl_attend_format_of(kv->shape.v_type),
                           .k_scratch = u->k,
                           .v_scratch = u->v};
    int64_t key = fl_max64(u->lo, block * BLOCK_KEYS) / FL_TILE_KEYS * FL_TILE_KEYS;
    int64_t end = fl_min64(u->hi, (block + 1) * BLOCK_KEYS);
    for (; key < end; key += FL_TILE_KEYS) {
        bool more = key + FL_TILE_KEYS < end;
        tile_at(kv, u->kv_head, key, &tile.k, &tile.v);
        tile_at(kv, u->kv_head, more ? key + FL_TILE_KEYS : key, &tile.next_k, &tile.next_v);
        for (int r = 0; slope && r < u->rows; r++)
            offset[r] = (float)(key - u->seq->first_key - (u->first + r) / job->group);
        if (key >= u->all_lo && key + FL_TILE_KEYS <= u->all_hi) {
            kernels->forward(&state, &tile, NULL, NULL);
            continue;
        }
        uint8_t first[FL_ATTEND_ROWS], last[FL_ATTEND_ROWS];
        for (int r = 0; r < u->rows; r++) {
            first[r] = fl_within_tile(u->row_lo[r], key);
            last[r] = fl_within_tile(u->row_hi[r], key);
        }
        kernels->forward(&state, &tile, first, last);
    }
    for (int r = 0; r < u->rows; r++) {
        float *lane = u->lanes + r * FL_ATTEND_LANES;
        for (int half = FL_ATTEND_LANES / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++)
                lane[i] += lane[i + half];
        u->block.sum[r] = lane[0];
    }
}

/* Put `total` where it belongs, beside what an earlier pass has left there if the call merges. */
static void unit_close(const attend_job *job, const unit *u, const part *total)
{
    const fl_attend_args *args = job->args;
    int d = job->head_dim;
    unit_prefetch(job, u, args->out, true);
    for (int r = 0; r < u->rows; r++) {
        int head;
        int64_t row = unit_row(job, u, r, &head);
        float *to = fl_row(args->out, row) + (ptrdiff_t)head * d;
        float *lse = &args->lse[row * args->heads + head];
        const float *from = total->out + (ptrdiff_t)r * d;
        bool seen = total->max[r] != -INFINITY;
        float own = seen ? (float)(total->max[r] * FL_LN_2 + log(total->sum[r])) : -INFINITY;
        if (args->merge) {
            if (!seen) continue;
            float max = own > *lse ? own : *lse;
            float a = fl_exp_scalar(*lse - max), b = fl_exp_scalar(own - max);
            float before = a / (a + b), now = b / (a + b) / total->sum[r];
            merge_row(to, before, from, now, d);
            *lse = max + logf(a + b);
        } else {
            fl_scale_row(from, seen ? 1.0f / total->sum[r] : 0, to, d);
            *lse = own;
        }
    }
}

static void attend_unit(void *context, int64_t index, int thread)
{
    const attend_job *job = context;
    unit u;
    unit_open(job, index, &u);
    unit_gather(job, &u, thread);
    part_clear(&u.total, u.rows, job->head_dim);
    for (int64_t block = u.lo / BLOCK_KEYS; block * BLOCK_KEYS < u.hi; block++) {
        unit_attend(job, &u, block);
        part_merge(job, &u.total, &u.block, u.rows);
    }
    unit_close(job, &u, &u.total);
}

/* Few units with many keys (a row being decoded): key blocks are tasks that leave their parts in shared memory, from
 * where they are merged unit by unit. What does not fit there is done in several rounds. */
typedef struct split_job {
    const attend_job *attend;
    int units, rows; /* most rows of a unit */
    float *shared;   /* [units] totals, then the parts of this round */
    int64_t *begin;  /* [units + 1] parts of this round, by unit */
    int64_t *next;   /* [units] key block to do next */
    int64_t *end;    /* [units] key block to stop before, -1 once the unit is closed */
} split_job;

static part split_part(const split_job *s, int64_t index)
{
    return part_at(s->shared + (size_t)index * part_floats(s->rows, s->attend->head_dim), s->rows);
}

static void split_attend(void *context, int64_t task, int thread)
{
    const split_job *s = context;
    int index = find(s->begin, s->units, task);
    unit u;
    unit_open(s->attend, index, &u);
    unit_gather(s->attend, &u, thread);
    u.block = split_part(s, s->units + task);
    unit_attend(s->attend, &u, s->next[index] + task - s->begin[index]);
}

static void split_merge(void *context, int64_t index, int thread)
{
    const split_job *s = context;
    (void)thread;
    if (s->end[index] < 0) return;
    unit u;
    unit_open(s->attend, index, &u);
    part total = split_part(s, index);
    for (int64_t i = s->begin[index]; i < s->begin[index + 1]; i++) {
        part block = split_part(s, s->units + i);
        part_merge(s->attend, &total, &block, u.rows);
        s->next[index]++;
    }
    if (s->next[index] < s->end[index]) return;
    unit_close(s->attend, &u, &total);
    s->end[index] = -1;
}

/* False if this is no case for it: enough units, nothing to split, or no room. */
static bool attend_split(attend_job *job, int64_t units)
{
    int threads = fl_pool_threads(job->device->pool);
    if (threads == 1 || units >= (int64_t)threads * UNITS_PER_THREAD) return false;
    split_job s = {.attend = job, .units = (int)units, .rows = 1};
    for (int i = 0; i < job->sequences; i++)
        s.rows = (int)fl_max64(s.rows, fl_min64(FL_ATTEND_ROWS, job->seq[i].rows * job->group));
    size_t bytes = part_floats(s.rows, job->head_dim) * sizeof(float);
    int64_t capacity = (int64_t)(SPLIT_BYTES / bytes) - units;
    s.shared = fl_cpu_shared_scratch(job->device, SLOT, SPLIT_BYTES);
    s.begin = fl_cpu_shared_scratch(job->device, SLOT + 1, (size_t)(3 * units + 1) * sizeof(int64_t));
    if (capacity < 1 || !s.shared || !s.begin) return false;
    s.next = s.begin + units + 1;
    s.end = s.next + units;

    int64_t most = 0;
    for (int i = 0; i < units; i++) {
        unit u;
        unit_open(job, i, &u);
        s.next[i] = u.lo / BLOCK_KEYS;
        s.end[i] = (u.hi + BLOCK_KEYS - 1) / BLOCK_KEYS;
        most = fl_max64(most, s.end[i] - s.next[i]);
    }
    if (most < 2) return false;
    for (int i = 0; i < units; i++) {
        part total = split_part(&s, i);
        part_clear(&total, s.rows, job->head_dim);
    }
    for (bool left = true; left;) {
        left = false;
        s.begin[0] = 0;
        for (int i = 0; i < units; i++) {
            int64_t wanted = fl_max64(0, s.end[i] - s.next[i]), n = fl_min64(wanted, capacity - s.begin[i]);
            s.begin[i + 1] = s.begin[i] + n;
            left |= n < wanted;
        }
        fl_pool_run(job->device->pool, s.begin[units], split_attend, &s);
        fl_pool_run(job->device->pool, units, split_merge, &s);
    }
    return true;
}

void fl_cpu_attend(fl_device *d, const fl_attend_args *args)
{
    for (int first = 0; first < args->sequences; first += BATCH) {
        const fl_attend_seq *seq = args->seq + first;
        attend_job job = {
            .device = d, .args = args, .seq = seq, .sequences = (int)fl_min64(BATCH, args->sequences - first)};
        const fl_kv_shape *shape = &seq->kv.shape;
        job.head_dim = shape->head_dim;
        job.group = args->heads / shape->kv_heads;
        for (int i = 0; i < job.sequences; i++)
            job.unit_begin[i + 1] = job.unit_begin[i] + row_blocks(seq[i].rows * job.group) * shape->kv_heads;
        int64_t units = job.unit_begin[job.sequences];
        if (!attend_split(&job, units)) fl_pool_run(d->pool, units, attend_unit, &job);
    }
}
