/* tokenizer.json in memory: the steps of the tokenizers library, as far as language models use them. */
#ifndef FL_TEXT_PIPELINE_H
#define FL_TEXT_PIPELINE_H

#include "file/json.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/scan.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

#define FL_PIPELINE_STEPS 16 /* most normalizers, pre-tokenizers or decoders in a row */

/* A text, or a regular expression, to look for. */
typedef struct fl_pipeline_pattern {
    char *text; /* NULL when it is a regular expression */
    size_t length;
    fl_regex *regex;
} fl_pipeline_pattern;

typedef enum fl_pipeline_normalizer_kind {
    FL_PIPELINE_FORM,     /* NFC, NFD, NFKC, NFKD */
    FL_PIPELINE_PREPEND,  /* content, unless the text is empty */
    FL_PIPELINE_REPLACE,  /* pattern by content */
    FL_PIPELINE_STRIP,    /* white space at the ends */
    FL_PIPELINE_CHARSMAP, /* Precompiled */
    FL_PIPELINE_TO_BYTES  /* ByteLevel */
} fl_pipeline_normalizer_kind;

typedef struct fl_pipeline_normalizer {
    fl_pipeline_normalizer_kind kind;
    fl_normal_form form;
    fl_pipeline_pattern pattern;
    char *content;
    size_t content_length;
    bool left, right;
    fl_charsmap map;
} fl_pipeline_normalizer;

/* What becomes of the matches of a pattern that divides a text. */
typedef enum fl_pipeline_behavior {
    FL_PIPELINE_ISOLATED,
    FL_PIPELINE_REMOVED,
    FL_PIPELINE_MERGED_WITH_PREVIOUS,
    FL_PIPELINE_MERGED_WITH_NEXT,
    FL_PIPELINE_CONTIGUOUS
} fl_pipeline_behavior;

typedef enum fl_pipeline_splitter_kind {
    FL_PIPELINE_BYTE_LEVEL,
    FL_PIPELINE_SPLIT,
    FL_PIPELINE_METASPACE,
    FL_PIPELINE_DIGITS,
    FL_PIPELINE_PUNCTUATION,
    FL_PIPELINE_WHITESPACE_SPLIT
} fl_pipeline_splitter_kind;

typedef enum fl_pipeline_scheme { FL_PIPELINE_NEVER, FL_PIPELINE_FIRST, FL_PIPELINE_ALWAYS } fl_pipeline_scheme;

typedef struct fl_pipeline_splitter { /* pre-tokenizer */
    fl_pipeline_splitter_kind kind;
    bool add_prefix_space, use_regex; /* ByteLevel */
    fl_scanner scanner;               /* Split with a known pattern */
    fl_pipeline_pattern pattern;
    fl_pipeline_behavior behavior;
    bool invert;
    fl_pipeline_scheme scheme; /* Metaspace */
    bool split;
    char replacement[5];
    bool individual; /* Digits */
} fl_pipeline_splitter;

typedef enum fl_pipeline_decoder_kind {
    FL_PIPELINE_DECODE_REPLACE,
    FL_PIPELINE_DECODE_BYTE_FALLBACK,
    FL_PIPELINE_DECODE_FUSE,
    FL_PIPELINE_DECODE_STRIP,
    FL_PIPELINE_DECODE_METASPACE,
    FL_PIPELINE_DECODE_BYTE_LEVEL
} fl_pipeline_decoder_kind;

typedef struct fl_pipeline_decoder {
    fl_pipeline_decoder_kind kind;
    char *pattern, *content;
    char character[5]; /* Strip, Metaspace */
    int64_t start, stop;
    bool drop_first; /* Metaspace: replacements in the first token vanish */
} fl_pipeline_decoder;

typedef struct fl_pipeline_added {
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
    char *form; /* how it looks after normalisation, if that differs from its spelling and `normalized` */
    size_t form_length;
} fl_pipeline_added;

typedef struct fl_pipeline {
    fl_pipeline_normalizer normalizer[FL_PIPELINE_STEPS];
    int normalizers;
    fl_pipeline_splitter splitter[FL_PIPELINE_STEPS];
    int splitters;
    fl_pipeline_decoder decoder[FL_PIPELINE_STEPS];
    int decoders;
    bool joins_with_spaces; /* there is no decoder */
    fl_pipeline_added *added;
    int64_t added_count;
    fl_trie raw, normalized; /* added tokens by their spelling before and after normalisation; values index `added` */
    int32_t *added_of;       /* by id: index into added, -1 */
    uint8_t *only_added;     /* by id: the piece is not the model's own */
    int64_t model_pieces;    /* how many pieces the model itself has */
    bool byte_fallback, fuse_unk, ignore_merges;
    int32_t byte_id[256]; /* <0x00> to <0xFF>, -1 */
    int32_t quick[0x800]; /* model piece of each character of one or two bytes, -1 */
} fl_pipeline;

extern const fl_tokenizer_format FL_PIPELINE_FORMAT;
void fl_pipeline_close(fl_tokenizer *t);

/* Readers of the parts; `at` is the file's root. */
fl_status fl_pipeline_read_normalizer(fl_pipeline *pipeline, const fl_json_at *root);
fl_status fl_pipeline_read_splitter(fl_pipeline *pipeline, const fl_json_at *root);
fl_status fl_pipeline_read_decoder(fl_pipeline *pipeline, const fl_json_at *root);
fl_status fl_pipeline_read_model(fl_tokenizer *t, const fl_json_at *root);

/* Id of a piece of the model itself; -1: none. */
int32_t fl_pipeline_model_piece(const fl_tokenizer *t, const char *s, size_t n);

/* Replace the text in `text` by its normalised form; `spare` is scratch. *origin: the first character still stands for
 * the first one of the original (in and out). */
fl_status fl_pipeline_normalize(const fl_pipeline *pipeline, fl_buffer *text, fl_buffer *spare, bool *origin);

/* Spelling of bytes as the characters of byte-level vocabularies. */
void fl_pipeline_to_bytes(const char *s, size_t n, fl_buffer *out);
/* The bytes that such a spelling stands for; the spelling itself if it has other characters. */
void fl_pipeline_from_bytes(const char *s, size_t n, fl_buffer *out);

/* Divide a text by the pre-tokenizers; each word goes to `word`. */
typedef fl_status (*fl_pipeline_word)(void *user, const char *s, size_t n);
typedef struct fl_pipeline_split_work {
    const fl_pipeline *pipeline;
    fl_pipeline_word word;
    void *user;
    int64_t *steps;
    fl_buffer text[FL_PIPELINE_STEPS], mapped[FL_PIPELINE_STEPS];
} fl_pipeline_split_work;
fl_status fl_pipeline_split(fl_pipeline_split_work *w, const char *s, size_t n, bool origin);
void fl_pipeline_split_work_free(fl_pipeline_split_work *w);

fl_status fl_pipeline_decode(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special,
                             fl_buffer *out);
bool fl_pipeline_token_bytes(const fl_tokenizer *t, int32_t id, bool show_special, bool *started, fl_buffer *out);

#endif
