/* Pages, their reference counts, and the begin / commit / rollback of a memory. */
#include "memory/memory.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

#define MOST_EVICTED (INT64_C(1) << 48) /* more than any text has tokens */

/* The count sits in front of the page's bytes; FL_ALIGNMENT keeps those aligned. */
typedef struct page_header {
    atomic_size_t holders;
} page_header;

typedef struct layer_pages {
    fl_kv_shape shape;
    size_t page_bytes;
    void **page; /* [capacity], the first `pages` of the memory are held */
    int64_t capacity;
} layer_pages;

struct fl_memory {
    int layers;
    bool counting;           /* every page is the same one, never touched and never freed */
    int64_t tokens, pending; /* held and to come; `evicted` more were held once, from `hole` on */
    int64_t evicted, hole;
    int64_t pages; /* held in every layer: enough for tokens + pending */
    layer_pages layer[];
};

static page_header *header_of(void *page)
{
    return (page_header *)(void *)((char *)page - FL_ALIGNMENT);
}

static void *page_create(size_t bytes)
{
    _Static_assert(sizeof(page_header) <= FL_ALIGNMENT, "the header must fit before the page");
    char *block = fl_alloc_aligned(bytes + FL_ALIGNMENT);
    if (!block) return NULL;
    atomic_init(&((page_header *)(void *)block)->holders, 1);
    return block + FL_ALIGNMENT;
}

/* Stands for every page of a counting memory: a header and no bytes behind it, with one holder of its own. */
static struct {
    _Alignas(FL_ALIGNMENT) page_header header;
    _Alignas(FL_ALIGNMENT) char page[1];
} phantom = {.header = {1}};

static void page_hold(void *page)
{
    atomic_fetch_add_explicit(&header_of(page)->holders, 1, memory_order_relaxed);
}

static void page_release(void *page)
{
    if (atomic_fetch_sub_explicit(&header_of(page)->holders, 1, memory_order_acq_rel) == 1)
        fl_free_aligned(header_of(page));
}

/* Acquire: whatever the last other holder did to the page happened before our write. */
static bool page_is_shared(void *page)
{
    return atomic_load_explicit(&header_of(page)->holders, memory_order_acquire) > 1;
}

static void *page_of(const fl_memory *m, int layer)
{
    if (!m->counting) return page_create(m->layer[layer].page_bytes);
    page_hold(phantom.page);
    return phantom.page;
}

static int64_t pages_for(int64_t tokens)
{
    return tokens / FL_PAGE_TOKENS + (tokens % FL_PAGE_TOKENS != 0);
}

static fl_status shape_check(const fl_kv_shape *s, int layer)
{
    if (s->kv_heads < 1 || s->head_dim < 1)
        return fl_fail(FL_ERR_ARGUMENT, "memory: layer %d has %d kv heads of size %d: both must be at least 1", layer,
                       s->kv_heads, s->head_dim);
    if (s->head_dim > FL_HEAD_DIM_MAX)
        return fl_fail(FL_ERR_UNSUPPORTED, "memory: layer %d has heads of size %d: attention goes up to %d", layer,
                       s->head_dim, FL_HEAD_DIM_MAX);
    FL_TRY(fl_kv_type_check(s->k_type, s->head_dim, "keys"));
    FL_TRY(fl_kv_type_check(s->v_type, s->head_dim, "values"));
    size_t values = (size_t)FL_PAGE_TOKENS * 2 * sizeof(float), bytes;
    if (!fl_size_mul(values, (size_t)s->head_dim, &values) || !fl_size_mul(values, (size_t)s->kv_heads, &values) ||
        !fl_size_add(values, FL_ALIGNMENT, &bytes))
        return fl_fail(FL_ERR_ARGUMENT, "memory: layer %d has %d kv heads of size %d: a page has no size", layer,
                       s->kv_heads, s->head_dim);
    return FL_OK;
}

fl_status fl_memory_create(fl_memory **out, int layers, const fl_kv_shape *shape)
{
    if (layers < 1) return fl_fail(FL_ERR_ARGUMENT, "memory: layers = %d: at least one is needed", layers);
    for (int i = 0; i < layers; i++)
        FL_TRY(shape_check(&shape[i], i));
    size_t bytes;
    if (!fl_size_mul((size_t)layers, sizeof(layer_pages), &bytes) || !fl_size_add(bytes, sizeof(fl_memory), &bytes))
        return fl_fail(FL_ERR_ARGUMENT, "memory: layers = %d: too many", layers);
    fl_memory *m = fl_calloc(1, bytes);
    if (!m) return FL_ERR_MEMORY;
    m->layers = layers;
    for (int i = 0; i < layers; i++) {
        m->layer[i].shape = shape[i];
        m->layer[i].page_bytes = fl_kv_page_bytes(&shape[i]);
    }
    *out = m;
    return FL_OK;
}

fl_status fl_memory_create_counting(fl_memory **out, int layers, const fl_kv_shape *shape, int64_t tokens)
{
    fl_memory *m;
    FL_TRY(fl_memory_create(&m, layers, shape));
    m->counting = true;
    fl_status s = fl_memory_begin(m, tokens);
    if (s != FL_OK) {
        fl_memory_destroy(m);
        return s;
    }
    fl_memory_commit(m);
    *out = m;
    return FL_OK;
}

/* Give up pages keep .. pages-1 of every layer. */
static void drop_pages(fl_memory *m, int64_t keep)
{
    for (int i = 0; i < m->layers; i++)
        for (int64_t p = keep; p < m->pages; p++)
            page_release(m->layer[i].page[p]);
    if (keep < m->pages) m->pages = keep;
}

void fl_memory_destroy(fl_memory *m)
{
    if (!m) return;
    drop_pages(m, 0);
    for (int i = 0; i < m->layers; i++)
        fl_free(m->layer[i].page);
    fl_free(m);
}

int fl_memory_layers(const fl_memory *m)
{
    return m->layers;
}
int64_t fl_memory_tokens(const fl_memory *m)
{
    return m->tokens + m->evicted;
}
int64_t fl_memory_pending(const fl_memory *m)
{
    return m->pending;
}
int64_t fl_memory_evicted(const fl_memory *m)
{
    return m->evicted;
}
int64_t fl_memory_hole(const fl_memory *m)
{
    return m->hole;
}

size_t fl_memory_bytes(const fl_memory *m)
{
    size_t bytes = 0;
    for (int i = 0; i < m->layers; i++)
        bytes += m->layer[i].page_bytes * (size_t)m->pages;
    return bytes;
}

static fl_status reserve_table(layer_pages *l, int64_t pages)
{
    if (pages <= l->capacity) return FL_OK;
    int64_t capacity = fl_max64(pages, fl_max64(8, l->capacity > INT64_MAX / 2 ? pages : l->capacity * 2));
    void **page = fl_realloc(l->page, (size_t)capacity, sizeof *page);
    if (!page) return FL_ERR_MEMORY;
    l->page = page;
    l->capacity = capacity;
    return FL_OK;
}

/* Make this memory the only holder of a page, which others may go on reading in its old place. */
static fl_status own_page(layer_pages *l, int64_t index)
{
    void *old = l->page[index];
    if (!page_is_shared(old)) return FL_OK;
    void *copy = page_create(l->page_bytes);
    if (!copy) return FL_ERR_MEMORY;
    memcpy(copy, old, l->page_bytes);
    l->page[index] = copy;
    page_release(old);
    return FL_OK;
}

/* One more page in every layer, or none. */
static fl_status add_page(fl_memory *m)
{
    for (int i = 0; i < m->layers; i++) {
        layer_pages *l = &m->layer[i];
        l->page[m->pages] = page_of(m, i);
        if (l->page[m->pages]) continue;
        while (i-- > 0)
            page_release(m->layer[i].page[m->pages]);
        return FL_ERR_MEMORY;
    }
    m->pages++;
    return FL_OK;
}

fl_status fl_memory_begin(fl_memory *m, int64_t tokens)
{
    if (m->pending)
        return fl_fail(FL_ERR_STATE, "memory: begin of %lld tokens while %lld are pending: commit or roll back first",
                       (long long)tokens, (long long)m->pending);
    if (tokens < 0 || tokens > INT64_MAX / 2 - fl_memory_tokens(m))
        return fl_fail(FL_ERR_ARGUMENT, "memory: cannot add %lld tokens to %lld", (long long)tokens,
                       (long long)fl_memory_tokens(m));
    int64_t before = m->pages, needed = pages_for(m->tokens + tokens);
    for (int i = 0; i < m->layers; i++) {
        FL_TRY(reserve_table(&m->layer[i], needed));
        if (tokens && m->tokens % FL_PAGE_TOKENS && !m->counting)
            FL_TRY(own_page(&m->layer[i], m->tokens / FL_PAGE_TOKENS));
    }
    while (m->pages < needed)
        if (add_page(m) != FL_OK) {
            drop_pages(m, before);
            return FL_ERR_MEMORY;
        }
    m->pending = tokens;
    return FL_OK;
}

void fl_memory_commit(fl_memory *m)
{
    m->tokens += m->pending;
    m->pending = 0;
}

void fl_memory_rollback(fl_memory *m)
{
    m->pending = 0;
    drop_pages(m, pages_for(m->tokens));
}

void fl_memory_truncate(fl_memory *m, int64_t tokens)
{
    if (m->evicted && tokens < m->hole + m->evicted) {
        m->tokens = m->hole;
        m->evicted = 0;
    }
    m->tokens = fl_max64(0, fl_min64(tokens - m->evicted, m->tokens));
    fl_memory_rollback(m);
}

void fl_memory_evict(fl_memory *m, int64_t keep_first, int64_t keep_from)
{
    const int64_t block = FL_EVICT_TOKENS / FL_PAGE_TOKENS;
    int64_t hole = pages_for(keep_first), end = (keep_from - m->evicted) / FL_PAGE_TOKENS;
    int64_t drop = (end - hole) / block * block;
    if (drop <= 0 || m->pending) return;
    for (int i = 0; i < m->layers; i++) {
        void **page = m->layer[i].page;
        for (int64_t p = hole; p < hole + drop; p++)
            page_release(page[p]);
        memmove(page + hole, page + hole + drop, (size_t)(m->pages - hole - drop) * sizeof *page);
    }
    m->pages -= drop;
    m->tokens -= drop * FL_PAGE_TOKENS;
    m->evicted += drop * FL_PAGE_TOKENS;
    m->hole = hole * FL_PAGE_TOKENS;
}

fl_status fl_memory_set_evicted(fl_memory *m, int64_t hole, int64_t evicted)
{
    if (evicted < 0 || evicted % FL_EVICT_TOKENS || evicted > MOST_EVICTED || hole < 0 || hole % FL_PAGE_TOKENS ||
        hole > m->tokens || (!evicted && hole))
        return fl_fail(FL_ERR_ARGUMENT, "%lld tokens cannot have been evicted from %lld on of a memory that holds %lld",
                       (long long)evicted, (long long)hole, (long long)m->tokens);
    m->hole = hole;
    m->evicted = evicted;
    return FL_OK;
}

fl_status fl_memory_fork(fl_memory **out, const fl_memory *m)
{
    size_t bytes = sizeof(fl_memory) + (size_t)m->layers * sizeof(layer_pages);
    fl_memory *copy = fl_calloc(1, bytes);
    if (!copy) return FL_ERR_MEMORY;
    copy->layers = m->layers;
    copy->counting = m->counting;
    copy->tokens = m->tokens;
    copy->evicted = m->evicted;
    copy->hole = m->hole;
    int64_t pages = pages_for(m->tokens);
    for (int i = 0; i < m->layers; i++) {
        copy->layer[i].shape = m->layer[i].shape;
        copy->layer[i].page_bytes = m->layer[i].page_bytes;
        if (reserve_table(&copy->layer[i], pages) == FL_OK) continue;
        fl_memory_destroy(copy);
        return FL_ERR_MEMORY;
    }
    for (int i = 0; i < m->layers; i++)
        for (int64_t p = 0; p < pages; p++) {
            page_hold(m->layer[i].page[p]);
            copy->layer[i].page[p] = m->layer[i].page[p];
        }
    copy->pages = pages;
    *out = copy;
    return FL_OK;
}

fl_kv_view fl_memory_view(const fl_memory *m, int layer)
{
    const layer_pages *l = &m->layer[layer];
    return (fl_kv_view){.shape = l->shape, .page = l->page, .keys = m->tokens + m->pending};
}

const void *fl_memory_page(const fl_memory *m, int layer, int64_t page)
{
    return page >= 0 && page < m->pages ? m->layer[layer].page[page] : NULL;
}

void *fl_memory_page_for_write(fl_memory *m, int layer, int64_t page)
{
    if (page < 0 || page >= m->pages || own_page(&m->layer[layer], page) != FL_OK) return NULL;
    return m->layer[layer].page[page];
}
