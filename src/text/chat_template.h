/* Chat templates: how the turns of a conversation are written for a model. The formats in use are known by the names
 * that llama.cpp gives them; which one a model's own template (Jinja) asks for is told from its text by the same
 * telltale markers. The Jinja itself is never executed. */
#ifndef FL_TEXT_CHAT_TEMPLATE_H
#define FL_TEXT_CHAT_TEMPLATE_H

#include "base/buffer.h"
#include "file/checkpoint.h"

/* What of a message loses the white space at its ends. */
typedef enum fl_chat_trim { FL_CHAT_TRIM_NOTHING, FL_CHAT_TRIM_ANSWERS, FL_CHAT_TRIM_ALL } fl_chat_trim;

/* Text around what is said. BOS is not part of it: tokenizers put it before a text. */
typedef struct fl_chat_template {
    const char *name;
    const char *first, *again; /* before the first message, and before the first after an answer */
    const char *before_system, *after_system;
    const char *before_user, *after_user;
    const char *before_answer, *after_answer;
    const char *answer_space; /* what models begin an answer with; put before the answers of a conversation given */
    fl_chat_trim trim;
} fl_chat_template;

extern const fl_chat_template fl_chat_templates[]; /* ended by one without a name */

const fl_chat_template *fl_chat_template_named(const char *name); /* NULL: none */
/* NULL: none of the formats known here. */
const fl_chat_template *fl_chat_template_detect(const char *jinja);

/* The model's own template: of a GGUF or packed file what it carries, else chat_template.jinja, or chat_template in
 * tokenizer_config.json or chat_template.json of the model's folder. Nothing is appended when there is none. */
fl_status fl_chat_template_find(fl_buffer *out, const fl_checkpoint *c);

typedef enum fl_chat_role { FL_CHAT_SYSTEM, FL_CHAT_USER, FL_CHAT_ASSISTANT } fl_chat_role;

typedef struct fl_chat_message {
    fl_chat_role role;
    const char *text;
} fl_chat_message;

/* Append a conversation, and with `answer` what the next answer goes on from. */
void fl_chat_template_apply(const fl_chat_template *t, const fl_chat_message *message, int count, bool answer,
                            fl_buffer *out);

/* The steps of that for a conversation that grows: what comes before and after the text of a message. fresh: nothing
 * has been said since the beginning or since an answer; opening: since the beginning. */
void fl_chat_template_before(const fl_chat_template *t, fl_chat_role role, bool opening, bool fresh, fl_buffer *out);
const char *fl_chat_template_after(const fl_chat_template *t, fl_chat_role role);
/* Leaves out what the template trims. */
const char *fl_chat_template_trim(const fl_chat_template *t, fl_chat_role role, const char *text, size_t *length);

#endif
