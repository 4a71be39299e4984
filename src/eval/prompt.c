#include "eval/prompt.h"

fl_status fl_prompt_encode_text(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t bytes)
{
    out->count = 0;
    if (fl_tokenizer_adds_bos(t) && fl_tokenizer_bos(t) >= 0) FL_TRY(fl_tokens_push(out, fl_tokenizer_bos(t)));
    return fl_tokenizer_encode(t, text, bytes, false, false, out);
}

/* How many ids the answer follows: the first id that differs from the prompt's own, or as many as the prompt has. */
static fl_status encode(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t prompt_bytes, size_t bytes,
                        bool by_count, int64_t *first)
{
    fl_tokens prompt = {0};
    fl_status s = fl_prompt_encode_text(&prompt, t, text, prompt_bytes);
    if (s == FL_OK) s = fl_prompt_encode_text(out, t, text, bytes);
    int64_t n = by_count ? prompt.count : 0;
    while (!by_count && s == FL_OK && n < prompt.count && n < out->count && prompt.id[n] == out->id[n])
        n++;
    fl_tokens_free(&prompt);
    if (s == FL_OK && (n < 1 || n >= out->count))
        return fl_fail(FL_ERR_ARGUMENT, "an answer of %lld of %lld tokens: it must have one and follow one",
                       (long long)(out->count - n), (long long)out->count);
    *first = n;
    return s;
}

fl_status fl_prompt_encode(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t prompt_bytes, size_t bytes,
                           int64_t *first)
{
    return encode(out, t, text, prompt_bytes, bytes, false, first);
}

fl_status fl_prompt_encode_counted(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t prompt_bytes,
                                   size_t bytes, int64_t *first)
{
    return encode(out, t, text, prompt_bytes, bytes, true, first);
}
