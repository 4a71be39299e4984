/* The pieces of a vocabulary: id to spelling and back. Ids may have gaps; spellings are unique. */
#ifndef FL_TEXT_VOCAB_H
#define FL_TEXT_VOCAB_H

#include "base/buffer.h"

#define FL_VOCAB_MAX_ID ((int64_t)1 << 24) /* ids below this; the largest vocabularies in use hold 2^18 pieces */

typedef struct fl_vocab {
    fl_buffer pool; /* all spellings, each followed by a zero byte */
    struct fl_vocab_entry {
        uint64_t offset; /* into pool */
        uint32_t length; /* bytes; UINT32_MAX: no piece has this id */
    } * entry;
    int64_t count; /* largest id + 1 */
    int64_t capacity;
    int32_t *slot; /* open addressing by spelling; -1 empty */
    uint64_t mask;
    int64_t used;
    uint64_t seed;
    size_t longest; /* bytes of the longest spelling */
} fl_vocab;

/* Give piece `id` its spelling. FL_ERR_FORMAT with a message that begins at the value ("id = 7: ...") when id is out
 * of range or taken, or the spelling is taken; the caller puts file and key before it. */
fl_status fl_vocab_set(fl_vocab *v, int64_t id, const char *piece, size_t length);
int32_t fl_vocab_find(const fl_vocab *v, const char *piece, size_t length); /* -1: none */
/* Spelling of id, zero-terminated; NULL where there is none. */
const char *fl_vocab_piece(const fl_vocab *v, int64_t id, size_t *length);
void fl_vocab_free(fl_vocab *v);

/* Hash of a byte string; seed keeps chosen inputs from colliding on purpose. */
uint64_t fl_text_hash(const char *s, size_t n, uint64_t seed);
static inline uint64_t fl_text_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xD6E8FEB86659FD93);
    x ^= x >> 32;
    x *= UINT64_C(0xD6E8FEB86659FD93);
    return x ^ x >> 32;
}

#endif
