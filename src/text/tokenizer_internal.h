/* What the parts of the tokenizer share. */
#ifndef FL_TEXT_TOKENIZER_INTERNAL_H
#define FL_TEXT_TOKENIZER_INTERNAL_H

#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/trie.h"
#include "text/unigram.h"
#include "text/utf8.h"
#include "text/vocab.h"

/* The longest piece that is taken. Real ones stay under 256 bytes; a bound keeps time linear on hostile files. */
#define FL_PIECE_BYTES 1024
/* The largest tokenizer file that is read; the largest in use have about 35 MB. */
#define FL_TOKENIZER_FILE_BYTES ((size_t)128 << 20)

/* Scratch memory of one encode call. */
typedef struct fl_encode_work {
    fl_bpe_work bpe;
    fl_unigram_work unigram;
    int64_t steps; /* other elementary steps, as in fl_bpe_work */
    fl_buffer text, mapped;
    int32_t *symbol;
    size_t symbol_capacity;
} fl_encode_work;
void fl_encode_work_free(fl_encode_work *w);
/* Room for n symbols; false when memory is out. */
bool fl_encode_work_symbols(fl_encode_work *w, size_t n);

/* One of the file formats. Every function gets the tokenizer whose `format` it is. */
typedef struct fl_tokenizer_format {
    void (*close)(fl_tokenizer *t);
    /* Append the ids of text, without BOS and EOS. */
    fl_status (*encode)(const fl_tokenizer *t, fl_encode_work *w, const char *text, size_t length, bool parse_special,
                        fl_tokens *out);
    /* Append the text of a whole sequence. ids are within the vocabulary. */
    fl_status (*decode)(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special, fl_buffer *out);
    /* Append the bytes, not always whole characters, that one id adds to a text; *started as in fl_detokenizer. True
     * when bytes before and after this token cannot make a character together even if it adds nothing. */
    bool (*token_bytes)(const fl_tokenizer *t, int32_t id, bool show_special, bool *started, fl_buffer *out);
} fl_tokenizer_format;

struct fl_tokenizer {
    const fl_tokenizer_format *format;
    const char *kind;
    fl_vocab vocab;
    fl_bpe bpe;
    fl_unigram unigram;
    bool is_unigram;
    int32_t bos, eos, unk;        /* -1: none */
    fl_tokens prefix, suffix;     /* put around a text when add_special */
    uint64_t checksum;            /* of what it was read from */
    fl_repair repair;             /* of bytes that are not UTF-8, when decoding */
    struct fl_pipeline *pipeline; /* tokenizer.json (pipeline.h) */
    struct fl_sentencepiece *sp;  /* tokenizer.model and llama2.c (sentencepiece.h) */
};

/* Encode and tell the work done: elementary steps that stand for time. NULL: do not tell. */
fl_status fl_tokenizer_encode_counted(const fl_tokenizer *t, const char *text, size_t length, bool add_special,
                                      bool parse_special, fl_tokens *out, int64_t *steps);

/* fl_tokenizer_open_sized of a file whose content is at hand (zero-terminated); config: that of its
 * tokenizer_config.json (empty: there is none), NULL: what lies beside path. Else path is for messages. */
fl_status fl_tokenizer_open_bytes(fl_tokenizer **out, const fl_buffer *bytes, const fl_buffer *config, const char *path,
                                  int64_t vocab);
/* The tokenizer's file in a folder, or path itself; fl_free(*out). */
fl_status fl_tokenizer_find(char **out, const char *path);
bool fl_is_gguf_file(const char *path);

/* Readers. `bytes` is the file's content (zero-terminated), path is for messages. On failure the caller closes t. */
fl_status fl_pipeline_load(fl_tokenizer *t, const fl_buffer *bytes, const char *path);
fl_status fl_sentencepiece_load(fl_tokenizer *t, const fl_buffer *bytes, const char *path);
fl_status fl_llama2c_load(fl_tokenizer *t, const fl_buffer *bytes, const char *path, int64_t vocab);

/* tokenizer_config.json, whose text is `config`: bos_token, eos_token, add_bos_token and add_eos_token override what
 * the tokenizer file gave. name: for messages. */
fl_status fl_tokenizer_config_apply(fl_tokenizer *t, const fl_buffer *config, const char *name);
/* The one in the folder of path; *out NULL: there is none. fl_free(*out). */
fl_status fl_tokenizer_config_find(char **out, const char *path);

/* Give the parts of text between spellings of the strings in `special` to encode_part, and their ids to out. Without
 * parse_special the whole text is one part. */
typedef fl_status (*fl_encode_part)(const fl_tokenizer *t, fl_encode_work *w, const char *text, size_t length,
                                    fl_tokens *out);
fl_status fl_encode_between(const fl_tokenizer *t, fl_encode_work *w, const fl_trie *special, const char *text,
                            size_t length, bool parse_special, fl_encode_part encode_part, fl_tokens *out);
/* A whole sequence through token_bytes, with what is not UTF-8 repaired. */
fl_status fl_decode_by_token(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special,
                             fl_buffer *out);

/* The byte that a piece spelled <0xHH> stands for; -1 for any other spelling. */
int fl_byte_piece(const char *piece, size_t length);

#endif
