/* precompiled_charsmap of SentencePiece: a double-array trie (darts-clone) from byte strings to replacements.
 * Layout: u32 size of the trie in bytes, the trie's u32 units, zero-terminated replacement strings; little-endian. */
#ifndef FL_TEXT_CHARSMAP_H
#define FL_TEXT_CHARSMAP_H

#include "base/buffer.h"

typedef struct fl_charsmap { /* owns its bytes */
    fl_buffer blob;
    const char *units; /* count units of 4 bytes */
    size_t count;
    const char *text; /* text_size bytes */
    size_t text_size;
} fl_charsmap;

/* Copies size bytes. FL_ERR_FORMAT with a message that begins at the fault. The trie's links are checked while walking
 * it, so that a hostile one can only give wrong replacements. */
fl_status fl_charsmap_open(fl_charsmap *out, const void *bytes, size_t size);
void fl_charsmap_free(fl_charsmap *m);

typedef enum fl_charsmap_match { FL_CHARSMAP_SHORTEST, FL_CHARSMAP_LONGEST } fl_charsmap_match;

/* Replacement (*length bytes) of a beginning of s; its own length in *consumed. NULL when no rule applies. */
const char *fl_charsmap_find(const fl_charsmap *m, const char *s, size_t n, fl_charsmap_match which, size_t *consumed,
                             size_t *length);

#endif
