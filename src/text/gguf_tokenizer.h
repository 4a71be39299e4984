/* The tokenizer of a GGUF model, from its tokenizer.* keys.
 *
 * model "llama"  SentencePiece BPE: pieces, scores and types as in a SentencePiece file
 * model "t5"     SentencePiece unigram
 * model "gpt2"   byte-level BPE: pieces, merges, and `pre`, a name for how texts are divided before merging */
#ifndef FL_TEXT_GGUF_TOKENIZER_H
#define FL_TEXT_GGUF_TOKENIZER_H

#include "file/gguf.h"
#include "file/json.h"
#include "text/tokenizer.h"

/* FL_ERR_UNSUPPORTED: another model, or a `pre` that is not known; FL_ERR_FORMAT: keys that do not fit together. Pieces
 * "[PADi]" of type unused at the end, which converters add up to the model's vocabulary, are left out. */
fl_status fl_tokenizer_open_gguf(fl_tokenizer **out, const fl_gguf *g);
/* The same from a file of its own. */
fl_status fl_tokenizer_open_gguf_file(fl_tokenizer **out, const char *path);
bool fl_gguf_has_tokenizer(const fl_gguf *g);

/* A gpt2 tokenizer as a tokenizer.json; json_decref(*out) when done. */
fl_status fl_gguf_tokenizer_json(json_t **out, const fl_gguf *g);

/* ---- shared by reader and writer ----------------------------------------------------------------------------------
 */

#define FL_GGUF_PRE_PATTERNS 4

/* A way to divide texts: patterns that follow each other, each isolating its matches in what the one before left. */
typedef struct fl_gguf_pre {
    const char *names[12]; /* as llama.cpp calls it; the first is written. NULL ends */
    const char *pattern[FL_GGUF_PRE_PATTERNS];
    bool ignore_merges, adds_bos;
} fl_gguf_pre;

extern const fl_gguf_pre fl_gguf_pres[]; /* ended by one without names */

/* The keys that every model has. */
typedef struct fl_gguf_pieces {
    const fl_gguf_value *text, *score, *type; /* score and type: NULL when absent */
    int64_t count;                            /* without padding at the end */
    int64_t bos, eos, unk;                    /* -1: none */
    bool add_bos, add_eos;                    /* as passed in where no key says it */
} fl_gguf_pieces;

fl_status fl_gguf_pieces_read(fl_gguf_pieces *out, const fl_gguf *g);
int fl_gguf_piece_type(const fl_gguf_pieces *p, int64_t id); /* fl_piece_type */

#endif
