/* Unigram language model: the division of a text into pieces with the best sum of scores (Viterbi), as SentencePiece
 * (unigram_model.cc, EncodeOptimized) and the tokenizers library do it. Time: text times longest piece. */
#ifndef FL_TEXT_UNIGRAM_H
#define FL_TEXT_UNIGRAM_H

#include "text/trie.h"

typedef struct fl_unigram {
    fl_trie trie;     /* pieces that may be chosen, by id */
    double *score;    /* by id */
    int32_t unk;      /* -1: none */
    double unk_score; /* of one unknown character */
    bool single;      /* sums in float as SentencePiece, else in double as the tokenizers library */
} fl_unigram;

void fl_unigram_free(fl_unigram *u);

typedef struct fl_unigram_work {
    struct fl_unigram_node *node;
    size_t capacity;
    struct fl_unigram_piece {
        int32_t id;
        uint32_t length; /* bytes */
    } * path;
    size_t path_capacity;
    int64_t steps; /* as in fl_bpe_work */
} fl_unigram_work;
void fl_unigram_work_free(fl_unigram_work *w);

/* Receives the pieces from left to right; length in bytes. */
typedef fl_status (*fl_unigram_emit)(void *user, int32_t id, const char *text, size_t length);

/* Characters are told apart by their first byte. FL_ERR_FORMAT when a character is unknown and the model has no
 * unknown piece; FL_ERR_MEMORY; or what emit returned. */
fl_status fl_unigram_encode(const fl_unigram *u, fl_unigram_work *w, const char *text, size_t length,
                            fl_unigram_emit emit, void *user);

#endif
