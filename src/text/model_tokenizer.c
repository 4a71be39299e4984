#include "text/model_tokenizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "file/gguf_write.h"
#include "text/chat_template.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_internal.h"

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* Maps may begin anywhere and end without a zero. */
static fl_status copy_of(fl_buffer *out, fl_packed_bytes bytes)
{
    if (bytes.data) fl_buffer_append(out, bytes.data, bytes.size);
    return out->failed ? FL_ERR_MEMORY : FL_OK;
}

static fl_status open_keys(fl_tokenizer **out, const fl_buffer *bytes, const char *name)
{
    fl_gguf *g = NULL;
    FL_TRY(fl_gguf_parse(&g, name, bytes->data, bytes->size));
    fl_status status = fl_tokenizer_open_gguf(out, g);
    fl_gguf_close(g);
    return status;
}

static fl_status open_bytes(fl_tokenizer **out, const fl_buffer *tokenizer, const fl_buffer *config, const char *file,
                            int64_t vocab)
{
    fl_buffer name = {0};
    fl_buffer_format(&name, "%s: tokenizer", file);
    bool keys = tokenizer->size > 4 && !memcmp(tokenizer->data, "GGUF", 4);
    fl_status status = name.failed || !tokenizer->size ? FL_ERR_MEMORY
                       : keys                          ? open_keys(out, tokenizer, name.data)
                              : fl_tokenizer_open_bytes(out, tokenizer, config, name.data, vocab);
    fl_buffer_free(&name);
    return status;
}

static fl_status open_packed(fl_tokenizer **out, const fl_packed_model *m, const char *file)
{
    fl_buffer tokenizer = {0}, config = {0};
    fl_status status = copy_of(&tokenizer, m->tokenizer);
    if (status == FL_OK) status = copy_of(&config, m->tokenizer_config);
    if (status == FL_OK) status = open_bytes(out, &tokenizer, &config, file, m->config.vocab);
    fl_buffer_free(&tokenizer);
    fl_buffer_free(&config);
    return status;
}

bool fl_tokenizer_inside(const fl_checkpoint *c)
{
    const fl_packed_model *packed = fl_checkpoint_packed(c);
    return fl_gguf_has_tokenizer(fl_checkpoint_gguf(c)) || (packed && packed->tokenizer.data);
}

fl_status fl_tokenizer_open_model(fl_tokenizer **out, const fl_checkpoint *c)
{
    const char *path = fl_checkpoint_tokenizer(c);
    const fl_packed_model *packed = fl_checkpoint_packed(c);
    if (fl_tokenizer_inside(c))
        return packed ? open_packed(out, packed, fl_checkpoint_path(c))
                      : fl_tokenizer_open_gguf(out, fl_checkpoint_gguf(c));
    if (!path)
        return fl_fail(FL_ERR_ARGUMENT, "%s: no tokenizer lies beside the model; name one (--tokenizer FILE)",
                       fl_checkpoint_path(c));
    return fl_tokenizer_open_sized(out, path, fl_checkpoint_config(c)->vocab);
}

/* ---- carrying ----------------------------------------------------------------------------------------------- */

static fl_status gather_keys(fl_carried_tokenizer *t, const fl_gguf *g)
{
    fl_gguf_keys keys = {0};
    for (int64_t i = 0; i < fl_gguf_key_count(g); i++)
        if (!strncmp(fl_gguf_at(g, i)->key, "tokenizer.", 10)) fl_gguf_put_value(&keys, fl_gguf_at(g, i));
    fl_gguf_put_header(&t->tokenizer, &keys, 0);
    bool failed = keys.bytes.failed || t->tokenizer.failed;
    fl_gguf_keys_free(&keys);
    return failed ? fl_fail(FL_ERR_MEMORY, "%s: no memory for the tokenizer's keys", fl_gguf_name(g)) : FL_OK;
}

static fl_status gather_file(fl_carried_tokenizer *t, const char *path)
{
    if (fl_is_gguf_file(path)) {
        fl_gguf *g = NULL;
        FL_TRY(fl_gguf_open(&g, path));
        fl_status status = gather_keys(t, g);
        fl_gguf_close(g);
        return status;
    }
    char *config = NULL;
    FL_TRY(fl_file_read(&t->tokenizer, path, FL_TOKENIZER_FILE_BYTES));
    FL_TRY(fl_tokenizer_config_find(&config, path));
    fl_status status = config ? fl_file_read(&t->config, config, FL_TOKENIZER_FILE_BYTES) : FL_OK;
    fl_free(config);
    return status;
}

fl_status fl_carried_tokenizer_gather(fl_carried_tokenizer *t, const fl_checkpoint *c, const char *path)
{
    *t = (fl_carried_tokenizer){0};
    if (!path && fl_tokenizer_inside(c)) {
        FL_TRY(gather_keys(t, fl_checkpoint_gguf(c)));
    } else {
        char *file = NULL;
        if (!path) path = fl_checkpoint_tokenizer(c);
        if (!path) return FL_OK;
        FL_TRY(fl_tokenizer_find(&file, path));
        fl_status status = gather_file(t, file);
        fl_free(file);
        FL_TRY(status);
    }
    fl_tokenizer *opened = NULL;
    FL_TRY(open_bytes(&opened, &t->tokenizer, &t->config, path ? path : fl_checkpoint_path(c),
                      fl_checkpoint_config(c)->vocab));
    fl_tokenizer_close(opened);
    return fl_chat_template_find(&t->chat_template, c);
}

void fl_carried_tokenizer_free(fl_carried_tokenizer *t)
{
    fl_buffer_free(&t->tokenizer);
    fl_buffer_free(&t->config);
    fl_buffer_free(&t->chat_template);
}
