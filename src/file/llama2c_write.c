#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "file/export.h"
#include "file/llama2c_layout.h"
#include "file/passes_config.h"

/* run.c of llama2.c has these built in; a model that needs others would be computed wrongly without a word. */
static fl_status check_model(const fl_config *c, int version)
{
    static const char where[] = "llama2.c files";
    if (version != 0 && version != 1)
        return fl_fail(FL_ERR_ARGUMENT, "%s: version = %d: versions 0 and 1 are written", where, version);
    if (strcmp(c->family, "llama"))
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: family = %s: only llama models fit", where, c->family);
    if (c->positions != FL_POSITIONS_ROTARY)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: position_embedding_type = %s: only rotary positions fit; write a Hugging Face folder "
                       "instead",
                       where, fl_positions_name(c->positions));
    if (c->rope.kind != FL_ROPE_PLAIN || c->rope.base != FL_LLAMA2C_BASE || c->rope.dim != c->head_dim)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: rope_type = %s, rope_theta = %g: only unscaled positions with base 10000 over the whole "
                       "head fit; write a Hugging Face folder instead",
                       where, fl_rope_kind_name(c->rope.kind), c->rope.base);
    /* The file's readers compute with 1e-5 in fp32. */
    if ((float)c->norm_eps != (float)FL_LLAMA2C_EPS)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: rms_norm_eps = %g: only 1e-05 fits; write a Hugging Face folder instead", where,
                       c->norm_eps);
    if (c->qk_norm || c->sliding_window)
        return fl_fail(FL_ERR_UNSUPPORTED,
                       "%s: norms of queries and keys, a sliding window: models with these do not fit", where);
    FL_TRY(fl_passes_config_refuse(c, where));
    if (c->attention_bias || c->output_bias || c->mlp_bias)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: attention_bias, mlp_bias: models with biases do not fit", where);
    if (c->head_dim * c->heads != c->width)
        return fl_fail(FL_ERR_UNSUPPORTED, "%s: head_dim = %lld: only hidden_size / heads fits", where,
                       (long long)c->head_dim);
    return FL_OK;
}

static void put_i32(fl_writer *w, int64_t value)
{
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)((uint64_t)value >> (8 * i));
    fl_writer_write(w, bytes, 4);
}

static void write_header(fl_writer *w, const fl_config *c, int version)
{
    if (version == 1) {
        put_i32(w, FL_LLAMA2C_MAGIC);
        put_i32(w, version);
    }
    const int64_t sizes[] = {c->width, c->ffn, c->layers, c->heads, c->kv_heads, c->vocab, c->window};
    for (int i = 0; i < 7; i++)
        put_i32(w, i == 5 && version == 0 && !c->tied_head ? -sizes[i] : sizes[i]);
    if (version == 1) {
        uint8_t rest[FL_LLAMA2C_HEADER - 36] = {c->tied_head};
        fl_writer_write(w, rest, sizeof rest);
    }
}

/* cos of every position and pair, then sin. Old readers skip them; they are here for those that do not. */
static fl_status write_tables(fl_writer *w, const fl_config *c)
{
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    int pairs = (int)(c->head_dim / 2);
    FL_TRY(fl_rope_frequencies(&c->rope, c->window, freq, &magnitude));
    for (int table = 0; table < 2; table++)
        for (int64_t p = 0; p < c->window; p++) {
            float row[FL_ROPE_MAX_PAIRS];
            for (int i = 0; i < pairs; i++)
                row[i] = (float)(table ? sin((double)p * freq[i]) : cos((double)p * freq[i]));
            fl_writer_write(w, row, (size_t)pairs * sizeof *row);
        }
    return w->status;
}

static fl_status write_part(fl_writer *w, const fl_export *e, fl_llama2c_part part, int64_t layer)
{
    char name[FL_LLAMA2C_NAME];
    fl_file_tensor wanted;
    fl_llama2c_describe(part, layer, e->config, name, &wanted);
    if (part == FL_LLAMA2C_ROTARY_TABLES) return write_tables(w, e->config);
    fl_export_item item = fl_export_find(e, name, fl_layout_llama2c);
    if (!item.tensor) return fl_fail(FL_ERR_SHAPE, "tensor %s: is missing", name);
    bool same = item.tensor->rank == wanted.rank && fl_dtype_get(item.tensor->type)->real;
    for (int d = 0; same && d < wanted.rank; d++)
        same = item.tensor->dim[d] == wanted.dim[d];
    if (!same)
        return fl_fail(FL_ERR_SHAPE, "tensor %s: its shape is not the [%lld, %lld] of the config", name,
                       (long long)wanted.dim[0], (long long)wanted.dim[1]);
    return fl_export_values(e, &item, FL_F32, w);
}

static fl_status write_file(fl_writer *w, const fl_export *e, int version)
{
    write_header(w, e->config, version);
    for (const fl_llama2c_part *part = fl_llama2c_order(version); *part != FL_LLAMA2C_END; part++) {
        int64_t repeats = fl_llama2c_repeats(*part, e->config);
        for (int64_t i = 0; i < repeats; i++)
            FL_TRY(write_part(w, e, *part, i));
    }
    return FL_OK;
}

fl_status fl_llama2c_write(const char *path, int version, const fl_config *config, const fl_file_tensor *tensor,
                           int64_t count, const fl_checkpoint *source)
{
    FL_TRY(check_model(config, version));
    fl_export e;
    FL_TRY(fl_export_open(&e, config, tensor, count, source));
    fl_writer w;
    fl_status status = fl_writer_open(&w, path);
    if (status == FL_OK) {
        status = write_file(&w, &e, version);
        if (status == FL_OK) {
            status = fl_writer_finish(&w);
        } else {
            fl_writer_abandon(&w);
            status = fl_fail_within(status, "%s", path);
        }
    }
    fl_export_close(&e);
    return status;
}
