/* An opened tokenizer in the form of another format. Each refuses with FL_ERR_UNSUPPORTED what the format cannot say.
 */
#ifndef FL_TEXT_TOKENIZER_WRITE_H
#define FL_TEXT_TOKENIZER_WRITE_H

#include "file/gguf_write.h"
#include "text/tokenizer.h"

/* tokenizer.ggml.* keys but for the ids of special tokens other than unknown: model gpt2 for byte-level BPE, llama and
 * t5 for SentencePiece. vocab: pieces of the model; what the tokenizer lacks is filled up with "[PADi]". */
fl_status fl_tokenizer_put_gguf(fl_gguf_keys *keys, const fl_tokenizer *t, int64_t vocab);

/* A SentencePiece file (tokenizer.model). */
fl_status fl_tokenizer_write_sentencepiece(const fl_tokenizer *t, const char *path);

/* tokenizer.bin of llama2.c, of `vocab` pieces. */
fl_status fl_tokenizer_write_llama2c(const fl_tokenizer *t, const char *path, int64_t vocab);

#endif
