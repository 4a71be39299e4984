#include "file/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/file.h"

#define STEP ((size_t)1 << 17)

struct fl_stream {
    FILE *file;
    char *path;
    ZSTD_DStream *zstd; /* NULL: not compressed */
    char *in, *out;     /* [STEP] each; out only with zstd */
    ZSTD_inBuffer from; /* what of `in` is not decompressed yet */
    int64_t taken;
    bool ended;       /* the file gave its last byte */
    bool inside;      /* of a frame that needs more input */
    bool out_is_full; /* the decompressor may hold more output */
};

static fl_status fill(fl_stream *s)
{
    size_t n = fread(s->in, 1, STEP, s->file);
    if (n < STEP && ferror(s->file)) return fl_fail(FL_ERR_IO, "%s: cannot read: %s", s->path, strerror(errno));
    s->from = (ZSTD_inBuffer){s->in, n, 0};
    s->taken += (int64_t)n;
    s->ended = n == 0;
    return FL_OK;
}

/* A frame's magic number, or that of a skippable frame. */
static bool is_zstd(const char *bytes, size_t n)
{
    const uint8_t *p = (const uint8_t *)bytes;
    if (n < 4) return false;
    return (p[0] == 0x28 && p[1] == 0xB5 && p[2] == 0x2F && p[3] == 0xFD) ||
           ((p[0] & 0xF0) == 0x50 && p[1] == 0x2A && p[2] == 0x4D && p[3] == 0x18);
}

static fl_status start(fl_stream *s)
{
    FL_TRY(fill(s));
    size_t length = strlen(s->path);
    bool named = length > 4 && !strcmp(s->path + length - 4, ".zst");
    if (!is_zstd(s->in, s->from.size))
        return named ? fl_fail(FL_ERR_FORMAT, "%s: offset 0: is not Zstandard data, which the name promises", s->path)
                     : FL_OK;
    s->zstd = ZSTD_createDStream();
    s->out = fl_realloc(NULL, STEP, 1);
    if (!s->zstd || !s->out) return fl_fail(FL_ERR_MEMORY, "%s: no memory to decompress it", s->path);
    s->inside = true;
    return FL_OK;
}

fl_status fl_stream_open(fl_stream **out, const char *path)
{
    fl_stream *s = fl_calloc(1, sizeof *s);
    if (!s) return FL_ERR_MEMORY;
    bool standard = !strcmp(path, "-");
    s->path = fl_strdup(standard ? "standard input" : path);
    s->in = fl_realloc(NULL, STEP, 1);
    fl_status status = s->path && s->in ? FL_OK : FL_ERR_MEMORY;
    if (status == FL_OK && !standard && fl_file_is_folder(path))
        status = fl_fail(FL_ERR_IO, "%s: is a folder; name a file in it", path);
    if (status == FL_OK && !(s->file = standard ? stdin : fopen(path, "rbe")))
        status = fl_fail(FL_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (status == FL_OK) status = start(s);
    if (status == FL_OK)
        *out = s;
    else
        fl_stream_close(s);
    return status;
}

void fl_stream_close(fl_stream *s)
{
    if (!s) return;
    ZSTD_freeDStream(s->zstd);
    if (s->file && s->file != stdin) fclose(s->file);
    fl_free(s->path);
    fl_free(s->in);
    fl_free(s->out);
    fl_free(s);
}

static fl_status decompress(fl_stream *s, const char **bytes, size_t *size)
{
    for (;;) {
        if (s->from.pos == s->from.size && !s->out_is_full) {
            FL_TRY(fill(s));
            if (s->ended && s->inside)
                return fl_fail(FL_ERR_FORMAT, "%s: offset %lld: ends inside a Zstandard frame; is the file cut off?",
                               s->path, (long long)s->taken);
            if (s->ended) return FL_OK;
        }
        int64_t at = s->taken - (int64_t)(s->from.size - s->from.pos);
        ZSTD_outBuffer to = {s->out, STEP, 0};
        size_t left = ZSTD_decompressStream(s->zstd, &to, &s->from);
        if (ZSTD_isError(left))
            return fl_fail(FL_ERR_FORMAT, "%s: offset %lld: %s", s->path, (long long)at, ZSTD_getErrorName(left));
        s->inside = left != 0;
        s->out_is_full = s->inside && to.pos == to.size;
        *bytes = s->out;
        *size = to.pos;
        if (to.pos) return FL_OK;
    }
}

fl_status fl_stream_next(fl_stream *s, const char **bytes, size_t *size)
{
    *bytes = "";
    *size = 0;
    if (s->ended) return FL_OK;
    if (s->zstd) return decompress(s, bytes, size);
    if (s->from.pos == s->from.size) FL_TRY(fill(s));
    *bytes = s->in + s->from.pos;
    *size = s->from.size - s->from.pos;
    s->from.pos = s->from.size;
    return FL_OK;
}

int64_t fl_stream_taken(const fl_stream *s)
{
    return s->taken;
}
