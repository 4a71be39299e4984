#include "file/checkpoint.h"

#include <dirent.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/map.h"
#include "file/gguf_model.h"
#include "file/hf.h"
#include "file/llama2c.h"

struct fl_checkpoint {
    fl_format format;
    char *path, *folder, *tokenizer;
    fl_hf hf; /* one of the four is filled in */
    fl_llama2c llama2c;
    fl_gguf_model gguf;
    fl_packed_model packed;
    fl_map map; /* what llama2c points into */
    const fl_config *config;
    const fl_file_tensor *tensor;
    int64_t count;
    int64_t *index;
};

/* ---- formats ------------------------------------------------------------------------------------------------ */

static fl_status open_hf(fl_checkpoint *c, const char *weights)
{
    FL_TRY(fl_hf_open(&c->hf, c->folder, weights));
    c->format = FL_FORMAT_HF;
    c->config = &c->hf.config;
    c->tensor = c->hf.tensor;
    c->count = c->hf.count;
    return FL_OK;
}

static fl_status open_llama2c(fl_checkpoint *c)
{
    FL_TRY(fl_llama2c_parse(&c->llama2c, c->path, c->map.data, c->map.size));
    c->format = FL_FORMAT_LLAMA2C;
    c->config = &c->llama2c.config;
    c->tensor = c->llama2c.tensor;
    c->count = c->llama2c.count;
    return FL_OK;
}

static fl_status open_gguf(fl_checkpoint *c)
{
    FL_TRY(fl_gguf_model_open(&c->gguf, c->path));
    c->format = FL_FORMAT_GGUF;
    c->config = &c->gguf.config;
    c->tensor = c->gguf.tensor;
    c->count = c->gguf.count;
    return FL_OK;
}

static fl_status open_packed(fl_checkpoint *c, fl_safetensors *file)
{
    FL_TRY(fl_packed_model_open(&c->packed, file, c->path));
    c->format = FL_FORMAT_PACKED;
    c->config = &c->packed.config;
    c->tensor = c->packed.tensor;
    c->count = c->packed.count;
    return FL_OK;
}

static fl_status open_safetensors(fl_checkpoint *c)
{
    const char *slash = strrchr(c->path, '/');
    fl_safetensors *file;
    FL_TRY(fl_safetensors_open(&file, c->path));
    if (fl_is_packed_model(file)) return open_packed(c, file);
    fl_safetensors_close(file);
    return open_hf(c, slash ? slash + 1 : c->path);
}

static bool begins_with(const fl_map *m, const char *text, size_t length)
{
    return m->size >= length && !memcmp(m->data, text, length);
}

/* A header length below 2^32 and then JSON; in a llama2.c file of version 0 the same four bytes are its hidden_dim. */
static bool like_safetensors(const fl_map *m)
{
    return m->size > 8 && !memcmp(m->data + 4, "\0\0\0\0{", 5);
}

static fl_status open_file(fl_checkpoint *c)
{
    FL_TRY(fl_map_open(&c->map, c->path));
    if (like_safetensors(&c->map)) {
        fl_map_close(&c->map);
        return open_safetensors(c);
    }
    if (begins_with(&c->map, "GGUF", 4)) {
        fl_map_close(&c->map);
        return open_gguf(c);
    }
    /* The marks of a zip archive and of PyTorch's older format. */
    if (begins_with(&c->map, "PK\3\4", 4) || begins_with(&c->map, "\x80\x02\x8a\x0a", 4))
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: is a Python pickle, which is not read; convert it to safetensors",
                       c->path);
    return open_llama2c(c);
}

/* ---- tokenizer ---------------------------------------------------------------------------------------------- */

static bool like_llama2c_tokenizer(const char *name)
{
    size_t length = strlen(name);
    return length > 6 && !strncmp(name, "tok", 3) && !strcmp(name + length - 4, ".bin");
}

/* The one tok*.bin of the folder in *out; NULL when there are several. */
static fl_status find_llama2c_tokenizer(const char *folder, char **out)
{
    DIR *listing = opendir(folder);
    if (!listing) return FL_OK; /* a folder may be searchable and not readable: then there is nothing to find */
    char *found = NULL;
    int matches = 0;
    fl_status status = FL_OK;
    for (struct dirent *entry; status == FL_OK && (entry = readdir(listing));) {
        if (!like_llama2c_tokenizer(entry->d_name) || matches++) continue;
        found = fl_path_join(folder, entry->d_name);
        if (!found) status = fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", folder);
    }
    closedir(listing);
    if (matches == 1) {
        *out = found;
    } else {
        fl_free(found);
    }
    return status;
}

static fl_status find_tokenizer(fl_checkpoint *c)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    if (c->format == FL_FORMAT_GGUF && fl_gguf_find(fl_checkpoint_gguf(c), "tokenizer.ggml.tokens")) return FL_OK;
    if (c->packed.tokenizer.data) return FL_OK;
    for (size_t i = 0; c->format != FL_FORMAT_LLAMA2C && i < sizeof names / sizeof *names; i++) {
        char *path = fl_path_join(c->folder, names[i]);
        if (!path) return fl_fail(FL_ERR_MEMORY, "%s: no memory for a path", c->folder);
        if (fl_file_exists(path)) {
            c->tokenizer = path;
            return FL_OK;
        }
        fl_free(path);
    }
    /* Folders written from llama2.c files carry their tokenizer along. */
    return find_llama2c_tokenizer(c->folder, &c->tokenizer);
}

/* ---- the whole ---------------------------------------------------------------------------------------------- */

static fl_status open_path(fl_checkpoint *c, const char *path)
{
    bool is_folder = fl_file_is_folder(path);
    const char *slash = strrchr(path, '/');
    c->path = fl_strdup(path);
    if (is_folder)
        c->folder = fl_strdup(path);
    else
        c->folder = slash ? fl_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : fl_strdup(".");
    if (!c->path || !c->folder) return FL_ERR_MEMORY;
    if (!fl_file_exists(path)) return fl_fail(FL_ERR_IO, "%s: there is no such file or folder", path);
    FL_TRY(is_folder ? open_hf(c, NULL) : open_file(c));
    c->index = fl_file_tensor_index(c->tensor, c->count);
    if (!c->index) return FL_ERR_MEMORY;
    return find_tokenizer(c);
}

fl_status fl_checkpoint_open(fl_checkpoint **out, const char *path)
{
    fl_checkpoint *c = fl_calloc(1, sizeof *c);
    if (!c) return FL_ERR_MEMORY;
    fl_status status = open_path(c, path);
    if (status == FL_OK)
        *out = c;
    else
        fl_checkpoint_close(c);
    return status;
}

void fl_checkpoint_release(const fl_checkpoint *c)
{
    for (int64_t i = 0; i < c->hf.shards; i++)
        fl_safetensors_release(c->hf.shard[i]);
    for (int64_t i = 0; i < c->gguf.shards; i++)
        fl_gguf_release(c->gguf.shard[i]);
    fl_map_release(&c->map);
}

void fl_checkpoint_close(fl_checkpoint *c)
{
    if (!c) return;
    fl_free(c->index);
    fl_hf_close(&c->hf);
    fl_llama2c_close(&c->llama2c);
    fl_gguf_model_close(&c->gguf);
    fl_packed_model_close(&c->packed);
    fl_map_close(&c->map);
    fl_free(c->tokenizer);
    fl_free(c->folder);
    fl_free(c->path);
    fl_free(c);
}

fl_format fl_checkpoint_format(const fl_checkpoint *c)
{
    return c->format;
}

const fl_config *fl_checkpoint_config(const fl_checkpoint *c)
{
    return c->config;
}

int64_t fl_checkpoint_count(const fl_checkpoint *c)
{
    return c->count;
}

const fl_file_tensor *fl_checkpoint_at(const fl_checkpoint *c, int64_t i)
{
    return i >= 0 && i < c->count ? &c->tensor[i] : NULL;
}

const fl_file_tensor *fl_checkpoint_find(const fl_checkpoint *c, const char *name)
{
    int64_t i = fl_file_tensor_find(c->tensor, c->index, c->count, name);
    return i >= 0 ? &c->tensor[i] : NULL;
}

const char *fl_checkpoint_tokenizer(const fl_checkpoint *c)
{
    return c->tokenizer;
}

const fl_gguf *fl_checkpoint_gguf(const fl_checkpoint *c)
{
    return c->format == FL_FORMAT_GGUF ? fl_gguf_model_keys(&c->gguf) : NULL;
}

const fl_packed_model *fl_checkpoint_packed(const fl_checkpoint *c)
{
    return c->format == FL_FORMAT_PACKED ? &c->packed : NULL;
}

fl_status fl_checkpoint_need_rows(const fl_checkpoint *c, const char *what)
{
    if (c->format != FL_FORMAT_PACKED) return FL_OK;
    return fl_fail(FL_ERR_UNSUPPORTED,
                   "%s: a packed model cannot be %s: its weights are in the order of the processor only; use the model "
                   "it was packed from",
                   c->path, what);
}

const char *fl_checkpoint_path(const fl_checkpoint *c)
{
    return c->path;
}

const char *fl_checkpoint_folder(const fl_checkpoint *c)
{
    return c->folder;
}
