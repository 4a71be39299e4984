/* The tokenizer that belongs to a model: a file beside it, keys inside a GGUF file, or bytes carried in a packed one. */
#ifndef FL_TEXT_MODEL_TOKENIZER_H
#define FL_TEXT_MODEL_TOKENIZER_H

#include "file/checkpoint.h"
#include "text/tokenizer.h"

bool fl_tokenizer_inside(const fl_checkpoint *c); /* in the model's own file */

/* FL_ERR_ARGUMENT when the model has none. */
fl_status fl_tokenizer_open_model(fl_tokenizer **out, const fl_checkpoint *c);

/* What a packed file carries of it: the bytes of the tokenizer's file (of a GGUF model, of a file of its tokenizer.*
 * keys alone), of the tokenizer_config.json beside it, and the chat template of the model. Empty: there is none. */
typedef struct fl_carried_tokenizer {
    fl_buffer tokenizer, config, chat_template;
} fl_carried_tokenizer;

/* path: another tokenizer's file or folder, NULL: the model's own, if it has one. The tokenizer is opened once, so that
 * what cannot be read is refused here. Free also after a failure. */
fl_status fl_carried_tokenizer_gather(fl_carried_tokenizer *out, const fl_checkpoint *c, const char *path);
void fl_carried_tokenizer_free(fl_carried_tokenizer *t);

#endif
