/* Merging of long stretches. The usual heap of candidate pairs costs a cache miss per level when a stretch has millions
 * of symbols. Here the candidates of one rank are kept in runs: lists in the order of their places, each place in at
 * most one list. Sweeping a run from left to right appends new candidates to other runs mostly in order, so there are
 * few runs; only the runs stand in a heap. Where candidates come in any order there are many short runs and this is the
 * usual heap again: n log n in every case. */
#include <string.h>

#include "base/alloc.h"
#include "text/bpe.h"

#define NONE UINT32_MAX

typedef struct run {
    uint32_t rank;
    uint32_t first, last; /* of the list; first NONE: empty */
    uint32_t next;        /* only places from here on may be appended */
} run;

typedef struct heap_entry {
    uint64_t key; /* rank, then a lower bound of the run's first place */
    uint32_t run;
} heap_entry;

struct fl_bpe_queue {
    /* One entry per place of the stretch. */
    struct place {
        uint32_t before, after;  /* living neighbours */
        uint32_t earlier, later; /* neighbours in the run's list */
        uint32_t run;            /* NONE: the pair (this, after) has no rule */
        int32_t result;          /* of that rule */
    } * place;
    size_t place_capacity;
    run *run;
    size_t runs, run_capacity;
    uint32_t free_run; /* list through `first` */
    heap_entry *heap;
    size_t heaped, heap_capacity;
    uint32_t *open; /* by rank: the run that new candidates are appended to */
    size_t open_capacity;
};

void fl_bpe_queue_free(struct fl_bpe_queue *q)
{
    if (!q) return;
    fl_free(q->place);
    fl_free(q->run);
    fl_free(q->heap);
    fl_free(q->open);
    fl_free(q);
}

static void sift_down(struct fl_bpe_queue *q, size_t i, fl_bpe_work *w)
{
    heap_entry moving = q->heap[i];
    for (;; w->steps++) {
        size_t child = 2 * i + 1;
        if (child >= q->heaped) break;
        if (child + 1 < q->heaped && q->heap[child + 1].key < q->heap[child].key) child++;
        if (q->heap[child].key >= moving.key) break;
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = moving;
}

static bool heap_push(struct fl_bpe_queue *q, heap_entry entry, fl_bpe_work *w)
{
    if (q->heaped == q->heap_capacity) {
        size_t capacity = q->heap_capacity ? q->heap_capacity * 2 : 64;
        heap_entry *heap = fl_realloc(q->heap, capacity, sizeof(*heap));
        if (!heap) return false;
        q->heap = heap;
        q->heap_capacity = capacity;
    }
    size_t i = q->heaped++;
    for (; i > 0 && q->heap[(i - 1) / 2].key > entry.key; i = (i - 1) / 2, w->steps++)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = entry;
    return true;
}

static bool new_run(struct fl_bpe_queue *q, uint32_t rank, uint32_t place, fl_bpe_work *w)
{
    uint32_t r = q->free_run;
    if (r != NONE) {
        q->free_run = q->run[r].first;
    } else {
        if (q->runs == q->run_capacity) {
            size_t capacity = q->run_capacity ? q->run_capacity * 2 : 64;
            run *runs = fl_realloc(q->run, capacity, sizeof(run));
            if (!runs) return false;
            q->run = runs;
            q->run_capacity = capacity;
        }
        r = (uint32_t)q->runs++;
    }
    q->run[r] = (run){rank, NONE, NONE, 0};
    q->open[rank] = r;
    return heap_push(q, (heap_entry){(uint64_t)rank << 32 | place, r}, w);
}

/* Queue the pair that begins at `place`, if it has a rule. */
static bool enqueue(const fl_bpe *b, struct fl_bpe_queue *q, const int32_t *symbol, uint32_t place, fl_bpe_work *w)
{
    struct place *p = &q->place[place];
    p->run = NONE;
    w->steps++;
    if (p->after == NONE) return true;
    const fl_bpe_rule *rule = fl_bpe_find(b, symbol[place], symbol[p->after]);
    if (!rule) return true;
    if (w->seen) w->seen[rule->result] = rule;
    uint32_t r = q->open[rule->rank];
    if (r == NONE || place < q->run[r].next) {
        if (!new_run(q, rule->rank, place, w)) return false;
        r = q->open[rule->rank];
    }
    run *list = &q->run[r];
    p->run = r;
    p->result = rule->result;
    p->earlier = list->last;
    p->later = NONE;
    if (list->last != NONE)
        q->place[list->last].later = place;
    else
        list->first = place;
    list->last = place;
    list->next = place + 1;
    return true;
}

static void dequeue(struct fl_bpe_queue *q, uint32_t place)
{
    struct place *p = &q->place[place];
    if (p->run == NONE) return;
    run *list = &q->run[p->run];
    if (p->earlier != NONE)
        q->place[p->earlier].later = p->later;
    else
        list->first = p->later;
    if (p->later != NONE)
        q->place[p->later].earlier = p->earlier;
    else
        list->last = p->earlier;
    p->run = NONE;
}

static struct fl_bpe_queue *prepare(const fl_bpe *b, fl_bpe_work *w, int64_t count)
{
    struct fl_bpe_queue *q = w->queue;
    if (!q && !(q = w->queue = fl_calloc(1, sizeof(*q)))) return NULL;
    if ((size_t)count > q->place_capacity) {
        fl_free(q->place);
        q->place_capacity = 0;
        q->place = fl_realloc(NULL, (size_t)count, sizeof(*q->place));
        if (!q->place) return NULL;
        q->place_capacity = (size_t)count;
    }
    if (b->ranks > q->open_capacity) {
        fl_free(q->open);
        q->open_capacity = 0;
        q->open = fl_realloc(NULL, b->ranks, sizeof(uint32_t));
        if (!q->open) return NULL;
        q->open_capacity = b->ranks;
        memset(q->open, 0xFF, b->ranks * sizeof(uint32_t));
    }
    q->runs = q->heaped = 0;
    q->free_run = NONE;
    return q;
}

int64_t fl_bpe_merge_long(const fl_bpe *b, fl_bpe_work *w, int32_t *symbol, int64_t count)
{
    struct fl_bpe_queue *q = prepare(b, w, count);
    if (!q) return -1;
    bool ok = true;
    uint32_t n = (uint32_t)count;
    for (uint32_t i = 0; ok && i < n; i++) {
        q->place[i] = (struct place){i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE, NONE, NONE, NONE, 0};
        ok = enqueue(b, q, symbol, i, w);
    }
    while (ok && q->heaped) {
        heap_entry top = q->heap[0];
        run *list = &q->run[top.run];
        w->steps++;
        if (list->first == NONE) {
            /* Used up. Its slot may be taken by a new run: nothing else refers to it. */
            if (q->open[list->rank] == top.run) q->open[list->rank] = NONE;
            list->first = q->free_run;
            q->free_run = top.run;
            q->heap[0] = q->heap[--q->heaped];
            if (q->heaped) sift_down(q, 0, w);
            continue;
        }
        uint64_t key = (uint64_t)list->rank << 32 | list->first;
        if (key != top.key) {
            q->heap[0].key = key;
            sift_down(q, 0, w);
            continue;
        }
        uint32_t left = list->first;
        struct place *p = &q->place[left];
        uint32_t right = p->after, result = (uint32_t)p->result;
        dequeue(q, left);
        dequeue(q, right);
        symbol[left] = (int32_t)result;
        p->after = q->place[right].after;
        if (p->after != NONE) q->place[p->after].before = left;
        q->place[right].before = right; /* marks a dead place: no living one is its own neighbour */
        if (p->before != NONE) {
            dequeue(q, p->before);
            ok = enqueue(b, q, symbol, p->before, w);
        }
        ok = ok && enqueue(b, q, symbol, left, w);
    }
    for (size_t i = 0; i < q->runs; i++)
        if (q->run[i].rank < q->open_capacity) q->open[q->run[i].rank] = NONE;
    if (!ok) {
        memset(q->open, 0xFF, q->open_capacity * sizeof(uint32_t));
        return -1;
    }
    int64_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (q->place[i].before != i) symbol[kept++] = symbol[i];
    return kept;
}
