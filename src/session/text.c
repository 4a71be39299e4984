/* The tokenizer as the public header offers it. */
#include <string.h>

#include "model/model.h"
#include "text/model_tokenizer.h"

fl_status fl_tokenizer_load(fl_tokenizer **out, const char *path, const fl_model *model)
{
    if (!out || (!path && !model))
        return fl_fail(FL_ERR_ARGUMENT, "fl_tokenizer_load: out is NULL, or path and model both are");
    if (!path) return fl_tokenizer_open_model(out, model->checkpoint);
    return fl_tokenizer_open_sized(out, path, model ? model->config.vocab : 0);
}

fl_status fl_tokenize(const fl_tokenizer *tokenizer, const char *text, size_t length, bool add_special,
                      bool parse_special, int32_t *ids, int64_t capacity, int64_t *count)
{
    if (!tokenizer || (!text && length) || !count || capacity < 0 || (capacity && !ids))
        return fl_fail(FL_ERR_ARGUMENT, "fl_tokenize: an argument is NULL or capacity is negative");
    fl_tokens tokens = {0};
    fl_status s = fl_tokenizer_encode(tokenizer, text ? text : "", length, add_special, parse_special, &tokens);
    if (s == FL_OK) {
        *count = tokens.count;
        if (tokens.count <= capacity && tokens.count) memcpy(ids, tokens.id, (size_t)tokens.count * sizeof *ids);
    }
    fl_tokens_free(&tokens);
    return s;
}

fl_status fl_detokenize(const fl_tokenizer *tokenizer, const int32_t *ids, int64_t count, bool show_special, char *text,
                        size_t capacity, size_t *length)
{
    if (!tokenizer || count < 0 || (count && !ids) || !length || (capacity && !text))
        return fl_fail(FL_ERR_ARGUMENT, "fl_detokenize: an argument is NULL or count is negative");
    fl_buffer buffer = {0};
    fl_status s = fl_tokenizer_decode(tokenizer, ids, count, show_special, &buffer);
    if (s == FL_OK && buffer.failed) s = FL_ERR_MEMORY;
    if (s == FL_OK) {
        *length = buffer.size;
        if (buffer.size <= capacity && buffer.size) memcpy(text, buffer.data, buffer.size);
    }
    fl_buffer_free(&buffer);
    return s;
}
