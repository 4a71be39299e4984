/* A trie over byte strings: which strings of a set begin at a place in a text. */
#ifndef FL_TEXT_TRIE_H
#define FL_TEXT_TRIE_H

#include "base/buffer.h"

typedef struct fl_trie_key {
    const char *bytes; /* must outlive fl_trie_build only */
    size_t length;     /* > 0 */
    int32_t value;     /* >= 0 */
} fl_trie_key;

typedef struct fl_trie {
    struct fl_trie_node {
        uint32_t child; /* first child; children of a node lie side by side, in the order of their labels */
        uint16_t children;
        uint8_t label;
        int32_t value; /* -1: no string ends here */
    } * node;          /* node[0] is the root; NULL: empty set */
    uint32_t count;
    uint32_t root_child[256]; /* 0: no string begins with this byte */
} fl_trie;

/* keys: sorted in place; of equal strings one is kept. FL_ERR_MEMORY. */
fl_status fl_trie_build(fl_trie *out, fl_trie_key *keys, size_t count);
void fl_trie_free(fl_trie *t);

/* One step down; 0 when no string goes on like this. Start from node 0. */
static inline uint32_t fl_trie_step(const fl_trie *t, uint32_t node, uint8_t byte)
{
    if (node == 0) return t->root_child[byte];
    const struct fl_trie_node *n = &t->node[node];
    uint32_t low = n->child, high = low + n->children;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->node[middle].label < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n->child + n->children && t->node[low].label == byte ? low : 0;
}

/* Value of the longest string of the set that s begins with, its length in *length; -1 if there is none. */
int32_t fl_trie_longest(const fl_trie *t, const char *s, size_t n, size_t *length);

#endif
