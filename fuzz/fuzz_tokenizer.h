/* What the tokenizer targets share: a file that opened has to work on every text. */
#ifndef FUZZ_FUZZ_TOKENIZER_H
#define FUZZ_FUZZ_TOKENIZER_H

#include "fuzz.h"

#include <string.h>

#include "text/tokenizer_internal.h"

/* Ids are in range; one token at a time never half a character comes out; a stream and the whole agree unless bytes
 * had to be repaired. */
static inline void fuzz_tokenizer_text(const fl_tokenizer *t, const char *text, size_t n)
{
    for (int special = 0; special < 2; special++) {
        fl_tokens ids = {0};
        fl_buffer whole = {0}, streamed = {0};
        fl_detokenizer d;
        fl_buffer_append(&whole, "", 0);
        fl_buffer_append(&streamed, "", 0);
        fl_status status = fl_tokenizer_encode(t, text, n, special, special, &ids);
        FUZZ_PROMISE(status == FL_OK || ids.count == 0);
        for (int64_t i = 0; i < ids.count; i++)
            FUZZ_PROMISE(ids.id[i] >= 0 && ids.id[i] < fl_tokenizer_vocab(t) && fl_tokenizer_piece(t, ids.id[i], NULL));
        FUZZ_PROMISE(fl_tokenizer_decode(t, ids.id, ids.count, special, &whole) == FL_OK);
        FUZZ_PROMISE(fl_utf8_valid(whole.data, whole.size));
        fl_detokenizer_init(&d, t, special);
        for (int64_t i = 0; i < ids.count; i++) {
            size_t before = streamed.size;
            FUZZ_PROMISE(fl_detokenizer_push(&d, ids.id[i], &streamed) == FL_OK);
            FUZZ_PROMISE(fl_utf8_valid(streamed.data + before, streamed.size - before));
        }
        fl_detokenizer_finish(&d, &streamed);
        fl_tokens_free(&ids);
        fl_buffer_free(&whole);
        fl_buffer_free(&streamed);
    }
}

static inline void fuzz_tokenizer_file(const uint8_t *data, size_t size, int64_t vocab)
{
    static const char text[] =
        "Hello  <s> World's\n\n 1234 e\xCC\x81\xEF\xAC\x81 \xE2\x96\x81\xF0\x9F\x98\x80\xFF <0x41>";
    fl_buffer bytes = {0};
    fl_tokenizer *t = NULL;
    fl_buffer_append(&bytes, data, size);
    if (fl_tokenizer_open_bytes(&t, &bytes, NULL, "/no/input", vocab) == FL_OK) {
        fuzz_tokenizer_text(t, text, sizeof(text) - 1);
        for (int32_t id = 0; id < fl_tokenizer_vocab(t) && id < 300; id++) {
            size_t length = 0;
            const char *piece = fl_tokenizer_piece(t, id, &length);
            if (!piece) continue;
            FUZZ_PROMISE(piece[length] == 0);
            fuzz_tokenizer_text(t, piece, length);
        }
        fl_tokenizer_close(t);
    } else {
        FUZZ_PROMISE(!t && (strstr(fl_error_message(), "/no/input") || strstr(fl_error_message(), "memory")));
    }
    fl_buffer_free(&bytes);
}

#endif
