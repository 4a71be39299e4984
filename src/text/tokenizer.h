/* Text to token ids and back. A tokenizer is read-only after it is opened and may be shared by threads. */
#ifndef FL_TEXT_TOKENIZER_H
#define FL_TEXT_TOKENIZER_H

#include "base/buffer.h"

typedef struct fl_tokens { /* owned by the caller; fl_tokens_free */
    int32_t *id;
    int64_t count, capacity;
} fl_tokens;

/* path: tokenizer.json (byte-level BPE, SentencePiece-like BPE with byte fallback, unigram), tokenizer.model
 * (SentencePiece BPE and unigram), tokenizer.bin (llama2.c), or a folder holding one, looked for in this order. Told by
 * content. tokenizer_config.json beside the file is read for bos_token, eos_token, add_bos_token and add_eos_token. A
 * SentencePiece or llama2.c tokenizer that has BOS adds it unless that file says otherwise.
 * FL_ERR_FORMAT, FL_ERR_UNSUPPORTED: the message names file and key. */
fl_status fl_tokenizer_open(fl_tokenizer **out, const char *path);
/* llama2.c files do not say how many pieces they hold: pass the model's vocabulary, which must be just that; 0 where
 * unknown: all there are. Other kinds ignore vocab. */
fl_status fl_tokenizer_open_sized(fl_tokenizer **out, const char *path, int64_t vocab);

/* "sentencepiece-bpe", "sentencepiece-unigram", "llama2c-bpe"; of a tokenizer.json "bpe", "unigram". */
const char *fl_tokenizer_kind(const fl_tokenizer *t);
int64_t fl_tokenizer_vocab(const fl_tokenizer *t); /* largest id + 1 */
int32_t fl_tokenizer_bos(const fl_tokenizer *t);   /* -1: none */
int32_t fl_tokenizer_eos(const fl_tokenizer *t);
int32_t fl_tokenizer_unk(const fl_tokenizer *t);
bool fl_tokenizer_adds_bos(const fl_tokenizer *t);                 /* the model expects BOS before a text */
bool fl_tokenizer_adds_eos(const fl_tokenizer *t);
/* Of everything in its file and what goes around a text: tokenizers that agree in it give the same ids. */
uint64_t fl_tokenizer_checksum(const fl_tokenizer *t);
int32_t fl_tokenizer_id(const fl_tokenizer *t, const char *piece); /* -1: no such piece */
/* The piece's spelling in the vocabulary (not decoded), its length in bytes; NULL for an id outside the vocabulary. */
const char *fl_tokenizer_piece(const fl_tokenizer *t, int32_t id, size_t *length);

/* Append the ids of text (any bytes, length in bytes) to out. add_special: BOS/EOS as the tokenizer's own file says.
 * parse_special: spellings of special tokens inside the text become those tokens. Bytes that are not UTF-8 are taken as
 * the original takes them; a tokenizer.json sees U+FFFD. Time grows like n log n; after a failure out is as before. */
fl_status fl_tokenizer_encode(const fl_tokenizer *t, const char *text, size_t length, bool add_special,
                              bool parse_special, fl_tokens *out);
void fl_tokens_free(fl_tokens *t);
fl_status fl_tokens_push(fl_tokens *t, int32_t id);

/* Append the text of ids to out; special tokens are skipped unless show_special. The leading space that
 * SentencePiece puts before a text is dropped at the start as the original does. The result is UTF-8: other bytes
 * become U+FFFD. FL_ERR_ARGUMENT for an id outside the vocabulary, with nothing appended. */
fl_status fl_tokenizer_decode(const fl_tokenizer *t, const int32_t *id, int64_t count, bool show_special,
                              fl_buffer *out);

/* Streaming decode: feed one id at a time; `ready` receives the bytes that are complete UTF-8 (possibly none); bytes
 * that can never become valid UTF-8 are passed on as U+FFFD. The parts together are what fl_tokenizer_decode gives for
 * all ids, but for how many U+FFFD stand for a run of byte pieces that is not UTF-8. */
typedef struct fl_detokenizer {
    const fl_tokenizer *tokenizer;
    bool show_special, started;
    uint8_t pending[4];
    int pending_count;
} fl_detokenizer;
void fl_detokenizer_init(fl_detokenizer *d, const fl_tokenizer *t, bool show_special);
fl_status fl_detokenizer_push(fl_detokenizer *d, int32_t id, fl_buffer *ready);
void fl_detokenizer_finish(fl_detokenizer *d, fl_buffer *ready); /* what is still pending, as U+FFFD */

#endif
