#include "file/hf_write.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/map.h"
#include "base/size.h"
#include "file/export.h"
#include "file/hf_config.h"
#include "file/safetensors.h"

/* ---- weights ------------------------------------------------------------------------------------------------ */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

/* Tables that some files keep although they follow from the config, and a head that is the embedding. */
static bool left_out(const fl_config *c, const char *name)
{
    bool head = !strcmp(name, "lm_head.weight") || !strcmp(name, "embed_out.weight");
    return (c->tied_head && head) || ends_with(name, ".rotary_emb.inv_freq") || ends_with(name, ".attn.bias") ||
           ends_with(name, ".attn.masked_bias") || ends_with(name, ".attention.bias") ||
           ends_with(name, ".attention.masked_bias");
}

static fl_status write_items(const fl_export *e, const fl_export_item *item, const fl_file_tensor *written,
                             int64_t count, const char *path)
{
    static const fl_metadata format = {"format", "pt"}; /* transformers 4 refuses a file that does not say so */
    fl_writer w;
    FL_TRY(fl_writer_open(&w, path));
    fl_status status = fl_safetensors_write_header(&w, written, count, &format, 1);
    for (int64_t i = 0; status == FL_OK && i < count; i++)
        status = fl_export_values(e, &item[i], written[i].type, &w);
    if (status == FL_OK) return fl_writer_finish(&w);
    fl_writer_abandon(&w);
    return fl_fail_within(status, "%s", path);
}

static fl_status write_weights(const fl_export *e, fl_dtype type, const char *path)
{
    int64_t old = e->source ? fl_checkpoint_count(e->source) : 0, count = 0;
    size_t most;
    if (!fl_size_add((size_t)old, (size_t)e->count, &most)) return FL_ERR_MEMORY;
    fl_export_item *item = fl_calloc(most, sizeof *item);
    fl_file_tensor *written = fl_calloc(most, sizeof *written);
    fl_status status = item && written ? FL_OK : FL_ERR_MEMORY;
    for (int64_t i = 0; status == FL_OK && i < old + e->count; i++) {
        const char *name = i < old ? fl_checkpoint_at(e->source, i)->name : e->tensor[i - old].name;
        if (left_out(e->config, name)) continue;
        if (i >= old && e->source && fl_checkpoint_find(e->source, name)) continue; /* written in its old place */
        item[count] = fl_export_find(e, name, fl_layout_hf);
        written[count] = fl_export_shape(&item[count]);
        if (fl_dtype_get(written[count].type)->real) written[count].type = type;
        count++;
    }
    if (status == FL_OK) status = write_items(e, item, written, count, path);
    fl_free(written);
    fl_free(item);
    return status;
}

/* ---- the rest of the folder --------------------------------------------------------------------------------- */

static fl_status copy_file(const char *from, const char *to)
{
    fl_map map = {0};
    fl_writer w;
    FL_TRY(fl_map_open(&map, from));
    fl_status status = fl_writer_open(&w, to);
    if (status == FL_OK) {
        fl_writer_write(&w, map.data, map.size);
        status = fl_writer_finish(&w);
    }
    fl_map_close(&map);
    return status;
}

static fl_status copy_into(const char *folder, const char *from, const char *name)
{
    char *to = fl_path_join(folder, name);
    if (!to) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    fl_status status = copy_file(from, to);
    fl_free(to);
    return status;
}

static fl_status copy_tokenizer(const char *folder, const fl_checkpoint *source)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer.model",    "tokenizer_config.json",   "vocab.json",         "merges.txt",
        "added_tokens.json", "chat_template.json", "special_tokens_map.json", "chat_template.jinja"};
    const char *tokenizer = fl_checkpoint_tokenizer(source);
    if (tokenizer && ends_with(tokenizer, ".bin")) return copy_into(folder, tokenizer, "tokenizer.bin");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *from = fl_path_join(fl_checkpoint_folder(source), names[i]);
        if (!from) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
        fl_status status = FL_OK;
        if (fl_checkpoint_format(source) == FL_FORMAT_HF && fl_file_exists(from))
            status = copy_into(folder, from, names[i]);
        fl_free(from);
        FL_TRY(status);
    }
    return FL_OK;
}

static fl_status write_object(const char *folder, const char *name, json_t *object)
{
    char *path = fl_path_join(folder, name);
    fl_status status = path ? fl_json_write(path, object) : fl_fail(FL_ERR_MEMORY, "%s: no memory", folder);
    fl_free(path);
    json_decref(object);
    return status;
}

static fl_status write_folder(const char *folder, const fl_export *e, fl_dtype type)
{
    json_t *object;
    char *path = fl_path_join(folder, "model.safetensors");
    if (!path) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    fl_status status = write_weights(e, type, path);
    fl_free(path);
    FL_TRY(status);
    if (e->source) FL_TRY(copy_tokenizer(folder, e->source));
    FL_TRY(fl_hf_generation_write(&object, e->config));
    FL_TRY(write_object(folder, "generation_config.json", object));
    FL_TRY(fl_hf_config_write(&object, e->config, type));
    return write_object(folder, "config.json", object);
}

fl_status fl_hf_write(const char *folder, const fl_config *config, const fl_file_tensor *tensors, int64_t count,
                      fl_dtype type, const fl_checkpoint *source)
{
    if (type != FL_F32 && type != FL_F16 && type != FL_BF16)
        return fl_fail(FL_ERR_ARGUMENT, "%s: type: Hugging Face folders are written as F32, F16 or BF16", folder);
    json_t *object; /* a config that cannot be written is found before anything is */
    FL_TRY(fl_hf_config_write(&object, config, type));
    json_decref(object);
    fl_export e;
    FL_TRY(fl_export_open(&e, config, tensors, count, source));
    fl_status status = fl_folder_make(folder);
    if (status == FL_OK) status = write_folder(folder, &e, type);
    fl_export_close(&e);
    return status;
}
