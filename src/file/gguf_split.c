#include "file/gguf_split.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define MOST_SHARDS 65535
#define SUFFIX "-00001-of-00001.gguf"

static const char key_count[] = "split.count", key_no[] = "split.no", key_tensors[] = "split.tensors.count";

typedef struct part {
    int64_t count, no, tensors; /* count 0: not split; tensors -1: it does not say */
} part;

static fl_status read_part(const fl_gguf *g, part *p)
{
    *p = (part){0, -1, -1};
    FL_TRY(fl_gguf_integer(g, key_count, 0, MOST_SHARDS, &p->count));
    FL_TRY(fl_gguf_integer(g, key_no, 0, MOST_SHARDS, &p->no));
    FL_TRY(fl_gguf_integer(g, key_tensors, 0, INT32_MAX, &p->tensors));
    if (p->count < 2) return FL_OK;
    if (p->no < 0) return fl_gguf_fail(FL_ERR_FORMAT, g, key_no, "is missing in a file that is one of several");
    if (p->no >= p->count) return fl_gguf_fail(FL_ERR_FORMAT, g, key_no, "is not below split.count");
    return FL_OK;
}

fl_status fl_gguf_split_whole(const fl_gguf *g)
{
    part p;
    FL_TRY(read_part(g, &p));
    if (p.count > 1) return fl_gguf_fail(FL_ERR_FORMAT, g, key_count, "the file is one of several");
    return FL_OK;
}

/* "NAME-00002-of-00003.gguf" with other numbers in the same place; NULL: memory is out. */
static char *name_of_part(const char *path, int64_t no, int64_t count)
{
    char *name = fl_strdup(path);
    size_t length = strlen(path), suffix = sizeof SUFFIX - 1;
    if (name) snprintf(name + length - suffix, suffix + 1, "-%05d-of-%05d.gguf", (int)(no + 1), (int)count);
    return name;
}

static fl_status open_others(fl_gguf **shard, const fl_gguf *opened, part p, const char *path)
{
    size_t length = strlen(path);
    char *name = length > sizeof SUFFIX - 1 ? name_of_part(path, p.no, p.count) : NULL;
    if (!name && length > sizeof SUFFIX - 1) return FL_ERR_MEMORY;
    bool same = name && !strcmp(name, path);
    fl_free(name);
    if (!same) {
        char why[128];
        snprintf(why, sizeof why, "the file's name must end in -%05d-of-%05d.gguf, by which its other parts are found",
                 (int)(p.no + 1), (int)p.count);
        return fl_gguf_fail(FL_ERR_FORMAT, opened, key_no, why);
    }
    int64_t tensors = 0;
    for (int64_t i = 0; i < p.count; i++) {
        part other = p;
        if (i != p.no) {
            name = name_of_part(path, i, p.count);
            fl_status status = name ? fl_gguf_open(&shard[i], name) : FL_ERR_MEMORY;
            fl_free(name);
            FL_TRY(status);
            FL_TRY(read_part(shard[i], &other));
        }
        if (other.count != p.count)
            return fl_gguf_fail(FL_ERR_FORMAT, shard[i], key_count, "is another than in the file that was opened");
        if (other.no != i) return fl_gguf_fail(FL_ERR_FORMAT, shard[i], key_no, "is not what the file's name says");
        if (other.tensors != p.tensors)
            return fl_gguf_fail(FL_ERR_FORMAT, shard[i], key_tensors, "is another than in the file that was opened");
        tensors += fl_gguf_count(shard[i]);
    }
    if (p.tensors >= 0 && tensors != p.tensors)
        return fl_gguf_fail(FL_ERR_FORMAT, shard[0], key_tensors, "the files together hold another number of tensors");
    return FL_OK;
}

fl_status fl_gguf_split_open(fl_gguf ***out, int64_t *count, const char *path)
{
    fl_gguf *opened;
    part p;
    *out = NULL;
    *count = 0;
    FL_TRY(fl_gguf_open(&opened, path));
    fl_status status = read_part(opened, &p);
    if (status == FL_OK) {
        *count = p.count > 1 ? p.count : 1;
        *out = fl_calloc((size_t)*count, sizeof **out);
        if (!*out) *count = 0;
    }
    if (!*out) {
        fl_gguf_close(opened);
        return status == FL_OK ? FL_ERR_MEMORY : status;
    }
    (*out)[p.count > 1 ? p.no : 0] = opened;
    return p.count > 1 ? open_others(*out, opened, p, path) : FL_OK;
}

void fl_gguf_split_close(fl_gguf **shard, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        fl_gguf_close(shard[i]);
    fl_free(shard);
}
