/* A prompt and its answer as ids. */
#ifndef FL_EVAL_PROMPT_H
#define FL_EVAL_PROMPT_H

#include "text/tokenizer.h"

/* Replace out by the ids of text[0 .. bytes-1], with BOS in front if the tokenizer puts one there. The answer is what
 * follows text[prompt_bytes]; *first is the place of its first id: the first that differs from the ids of the prompt
 * alone, for tokenizers may join the prompt's last letters with the answer's first. FL_ERR_ARGUMENT if the answer is
 * empty, or nothing stands before it. */
fl_status fl_prompt_encode(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t prompt_bytes, size_t bytes,
                           int64_t *first);
/* The same by the rule of the LM evaluation harness (TemplateLM._encode_pair): the answer begins after as many ids as
 * the prompt alone has. Where a tokenizer joins the two, the joint id counts as the prompt's. */
fl_status fl_prompt_encode_counted(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t prompt_bytes,
                                   size_t bytes, int64_t *first);
/* The same without an answer. */
fl_status fl_prompt_encode_text(fl_tokens *out, const fl_tokenizer *t, const char *text, size_t bytes);

#endif
