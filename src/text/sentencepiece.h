/* SentencePiece models in memory: what the reader fills in and the encoder uses. llama2.c files share it. */
#ifndef FL_TEXT_SENTENCEPIECE_H
#define FL_TEXT_SENTENCEPIECE_H

#include "text/charsmap.h"
#include "text/tokenizer_internal.h"

typedef enum fl_piece_type { /* numbers of the file */
                             FL_PIECE_NORMAL = 1,
                             FL_PIECE_UNKNOWN = 2,
                             FL_PIECE_CONTROL = 3,
                             FL_PIECE_USER_DEFINED = 4,
                             FL_PIECE_UNUSED = 5,
                             FL_PIECE_BYTE = 6
} fl_piece_type;

#define FL_SPACE_SYMBOL "\xE2\x96\x81" /* U+2581, how vocabularies spell a space */

typedef struct fl_sentencepiece {
    uint8_t *type; /* by id */
    float *score;  /* by id */
    int64_t pieces, piece_capacity;
    bool byte_fallback, treat_whitespace_as_suffix;
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
    bool llama2c;
    bool has_unused;
    char *unk_surface;
    fl_charsmap charsmap;
    fl_trie user_defined; /* never divided, never normalised */
    fl_trie special;      /* control pieces, for parse_special */
    int32_t byte_id[256]; /* with byte_fallback */
    /* BPE: symbol of each character that occurs in some piece. A symbol from vocab.count + 1 on stands for a character
     * that is itself no piece, vocab.count for any character that occurs in none. */
    struct fl_character {
        uint64_t key; /* bytes and their number; 0: empty slot */
        int32_t symbol;
    } * character;
    uint64_t character_mask, character_seed;
    int64_t characters;
    int32_t next_symbol;
} fl_sentencepiece;

/* The score-ranked merge rules, character symbols, tries and byte ids from vocab, type and score. */
fl_status fl_sentencepiece_prepare(fl_tokenizer *t);

/* Symbol of one character of 1 to 4 bytes; vocab.count when no piece has it. */
int32_t fl_sentencepiece_character(const fl_tokenizer *t, const char *s, size_t length);

extern const fl_tokenizer_format FL_SENTENCEPIECE_FORMAT, FL_LLAMA2C_FORMAT;
void fl_sentencepiece_close(fl_tokenizer *t);
bool fl_sentencepiece_add(fl_tokenizer *t, float score, int type); /* type and score of the next piece */

#endif
