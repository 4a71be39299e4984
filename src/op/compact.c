#include "op/compact.h"

#include "base/alloc.h"
#include "base/size.h"

/* A run of floats inside the region. Offsets are bytes from its start; every one is a multiple of the alignment. */
typedef struct span {
    size_t from, to, bytes; /* full place, compact place, full size */
    bool exact;
} span;

static size_t packed_bytes(const span *s)
{
    return s->exact ? s->bytes : (size_t)fl_round_up((int64_t)s->bytes / 2, FL_ALIGNMENT);
}

/* The region as spans in order, with their compact places -> how many; 0 when some would overlap itself on the way.
 * list: NULL to count only. */
static size_t lay_out(const fl_compact *c, size_t region, span *list, size_t capacity, size_t *packed)
{
    /* The list of statistics is newest first; spans are found from the end and then put in order. */
    size_t count = 0, end = region;
    for (const fl_exact *e = c->exact; e != c->stop; e = e->older) {
        size_t at = (size_t)((const char *)e->data - c->start);
        if (at + e->bytes < end && count < capacity)
            list[count++] = (span){at + e->bytes, 0, end - at - e->bytes, false};
        if (count < capacity) list[count++] = (span){at, 0, e->bytes, true};
        end = at;
    }
    if (end > 0 && count < capacity) list[count++] = (span){0, 0, end, false};
    for (size_t i = 0; i < count / 2; i++) {
        span other = list[i];
        list[i] = list[count - 1 - i];
        list[count - 1 - i] = other;
    }
    *packed = 0;
    for (size_t i = 0; i < count; i++) {
        list[i].to = *packed;
        *packed += packed_bytes(&list[i]);
        if (list[i].exact && list[i].from != list[i].to && list[i].to + list[i].bytes > list[i].from) return 0;
    }
    return count;
}

static span *spans_of(fl_run *r, const fl_compact *c, size_t region, size_t *count, size_t *packed)
{
    size_t capacity = 1;
    for (const fl_exact *e = c->exact; e != c->stop; e = e->older)
        capacity += 2;
    span *list = fl_arena_alloc(r->nodes, capacity * sizeof *list);
    if (!list) fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    *count = list ? lay_out(c, region, list, capacity, packed) : 0;
    return list;
}

static void move(fl_run *r, char *to, char *from, size_t bytes)
{
    int64_t n = (int64_t)(bytes / sizeof(float));
    fl_tensor a = {.type = FL_F32, .rows = 1, .cols = n, .ld = n, .data = from}, b = a;
    b.data = to;
    if (to != from) r->device->table->copy(r->device, &a, &b);
}

void fl_compact_begin(fl_run *r, fl_compact *c)
{
    c->begin = c->end = fl_arena_mark(r->data);
    c->start = fl_arena_alloc(r->data, 0);
    c->stop = r->exact;
}

void fl_compact_end(fl_run *r, fl_compact *c, fl_tensor *y)
{
    size_t y_bytes = (size_t)(y->rows * y->cols) * sizeof(float), top = fl_arena_mark(r->data), count, packed;
    size_t region = (size_t)((char *)y->data - c->start), mark = fl_arena_mark(r->nodes);
    c->exact = r->exact;
    if (c->begin + region + (size_t)fl_round_up((int64_t)y_bytes, FL_ALIGNMENT) != top) return;
    span *list = spans_of(r, c, region, &count, &packed);
    if (r->status != FL_OK || count == 0 || packed + y_bytes > region) {
        fl_arena_release(r->nodes, mark);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char *to = c->start + list[i].to, *from = c->start + list[i].from;
        if (list[i].exact)
            move(r, to, from, list[i].bytes);
        else
            r->device->table->narrow(r->device, to, from, (int64_t)(list[i].bytes / sizeof(float)));
    }
    move(r, c->start + packed, y->data, y_bytes);
    fl_arena_release(r->nodes, mark);
    fl_arena_release(r->data, c->begin + packed);
    y->data = fl_arena_alloc(r->data, y_bytes);
    c->end = c->begin + region;
}

void fl_compact_restore(fl_run *r, const fl_compact *c)
{
    if (c->begin == c->end || r->status != FL_OK) return;
    size_t count, packed, mark = fl_arena_mark(r->nodes);
    span *list = spans_of(r, c, c->end - c->begin, &count, &packed);
    if (r->status != FL_OK) return;
    fl_arena_release(r->data, c->begin + packed);
    if (!fl_arena_alloc(r->data, c->end - c->begin - packed)) fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
    for (size_t i = count; i-- > 0 && r->status == FL_OK;) {
        char *to = c->start + list[i].from, *from = c->start + list[i].to;
        if (list[i].exact)
            move(r, to, from, list[i].bytes);
        else
            r->device->table->widen(r->device, to, from, (int64_t)(list[i].bytes / sizeof(float)));
    }
    fl_arena_release(r->nodes, mark);
}
