#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

typedef struct span {
    size_t first, last; /* keys [first, last) share the path to this node */
    size_t depth;
} span;

static int compare_keys(const void *a, const void *b)
{
    const fl_trie_key *x = a, *y = b;
    size_t n = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->bytes, y->bytes, n);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

typedef struct build {
    fl_trie *t;
    span *span; /* of each node */
    size_t capacity;
} build;

static bool add_node(build *b, uint8_t label, span s)
{
    fl_trie *t = b->t;
    if (t->count == UINT32_MAX) return false;
    if (t->count == b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 256;
        void *node = fl_realloc(t->node, capacity, sizeof(*t->node));
        if (!node) return false;
        t->node = node;
        void *spans = fl_realloc(b->span, capacity, sizeof(span));
        if (!spans) return false;
        b->span = spans;
        b->capacity = capacity;
    }
    t->node[t->count] = (struct fl_trie_node){.label = label, .value = -1};
    b->span[t->count++] = s;
    return true;
}

fl_status fl_trie_build(fl_trie *out, fl_trie_key *keys, size_t count)
{
    *out = (fl_trie){0};
    if (count == 0) return FL_OK;
    qsort(keys, count, sizeof(*keys), compare_keys);
    build b = {.t = out};
    bool ok = add_node(&b, 0, (span){0, count, 0});
    /* Nodes are finished in the order of their numbers: level by level, without recursion. */
    for (uint32_t i = 0; ok && i < out->count; i++) {
        span s = b.span[i];
        for (; s.first < s.last && keys[s.first].length == s.depth; s.first++)
            if (out->node[i].value < 0) out->node[i].value = keys[s.first].value;
        out->node[i].child = out->count;
        while (ok && s.first < s.last) {
            uint8_t label = (uint8_t)keys[s.first].bytes[s.depth];
            size_t end = s.first + 1;
            while (end < s.last && (uint8_t)keys[end].bytes[s.depth] == label)
                end++;
            if (i == 0) out->root_child[label] = out->count;
            ok = add_node(&b, label, (span){s.first, end, s.depth + 1});
            if (ok) out->node[i].children++;
            s.first = end;
        }
    }
    fl_free(b.span);
    if (ok) return FL_OK;
    fl_trie_free(out);
    return fl_fail(FL_ERR_MEMORY, "trie: %zu strings need more memory than there is", count);
}

void fl_trie_free(fl_trie *t)
{
    fl_free(t->node);
    *t = (fl_trie){0};
}

int32_t fl_trie_longest(const fl_trie *t, const char *s, size_t n, size_t *length)
{
    int32_t value = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < n && (node = fl_trie_step(t, node, (uint8_t)s[i])) != 0; i++)
        if (t->node[node].value >= 0) {
            value = t->node[node].value;
            *length = i + 1;
        }
    return value;
}
