/* A tokenizer as a list of pieces with scores and types, the form that SentencePiece, llama2.c and GGUF files share. */
#ifndef FL_TEXT_PIECES_H
#define FL_TEXT_PIECES_H

#include "text/tokenizer.h"
#include "text/vocab.h"

typedef struct fl_pieces {
    fl_vocab vocab; /* spaces are U+2581 */
    float *score;   /* by id */
    uint8_t *type;  /* fl_piece_type by id */
    bool unigram, add_dummy_prefix, remove_extra_whitespaces;
    const void *charsmap; /* of the tokenizer; NULL: none */
    size_t charsmap_size;
    int32_t bos, eos, unk; /* -1: none */
    bool add_bos, add_eos; /* put around a text */
} fl_pieces;

/* SentencePiece and llama2.c tokenizers, and a tokenizer.json that is one of these in other words: BPE with byte
 * fallback whose merges are in the order of a score. FL_ERR_UNSUPPORTED: any other, saying what does not fit.
 * fl_pieces_free in every case. */
fl_status fl_pieces_of(fl_pieces *out, const fl_tokenizer *t);
void fl_pieces_free(fl_pieces *p);

/* Whether the tokenizer puts BOS before and EOS after a text; FL_ERR_UNSUPPORTED: something else. */
fl_status fl_pieces_around(const fl_tokenizer *t, bool *add_bos, bool *add_eos);

/* The rules of a BPE in the order of their ranks, fl_free when done; *count of them. NULL: no memory. */
const struct fl_bpe_rule **fl_pieces_rules(const fl_tokenizer *t, size_t *count);

#endif
