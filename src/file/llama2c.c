#include "file/llama2c.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "file/llama2c_layout.h"

#define BOS 1 /* of the Llama 2 vocabulary, which every file of this format uses */
#define EOS 2

/* Read position in the file. */
typedef struct reader {
    const char *file;
    const uint8_t *bytes;
    size_t size, place;
    float *converted; /* where the next converted matrix goes */
    int64_t group;    /* values per scale, 0: fp32 */
} reader;

static uint32_t u32_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Version 0 has no mark: parsing decides. */
static bool marked(const void *bytes, size_t size)
{
    return size >= 4 && u32_at(bytes) == FL_LLAMA2C_MAGIC;
}

/* ---- header ------------------------------------------------------------------------------------------------- */

static fl_status bad_field(const reader *r, size_t offset, const char *field, int64_t value, const char *why)
{
    return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %s = %lld: %s", r->file, offset, field, (long long)value, why);
}

static fl_status read_sizes(const reader *r, size_t at, fl_config *c, int64_t *vocab)
{
    /* Bounds beyond any model; products of two of them fit 64 bits. */
    static const struct {
        const char *name;
        int64_t most;
    } field[7] = {{"dim", 1 << 24},        {"hidden_dim", 1 << 24}, {"n_layers", 1 << 16},   {"n_heads", 1 << 16},
                  {"n_kv_heads", 1 << 16}, {"vocab_size", 1 << 28}, {"max_seq_len", 1 << 28}};
    int64_t value[7];
    for (int i = 0; i < 7; i++) {
        value[i] = (int32_t)u32_at(r->bytes + at + 4 * (size_t)i);
        int64_t size = i == 5 && value[i] < 0 ? -value[i] : value[i];
        if (size < 1 || size > field[i].most)
            return bad_field(r, at + 4 * (size_t)i, field[i].name, value[i],
                             "not a size of a model; is this a llama2.c checkpoint?");
    }
    c->width = value[0];
    c->ffn = value[1];
    c->layers = value[2];
    c->heads = value[3];
    c->kv_heads = value[4];
    *vocab = value[5];
    c->window = value[6];
    if (c->width % c->heads) return bad_field(r, at + 12, "n_heads", c->heads, "does not divide dim");
    if (c->heads % c->kv_heads) return bad_field(r, at + 16, "n_kv_heads", c->kv_heads, "does not divide n_heads");
    c->head_dim = c->width / c->heads;
    if (c->head_dim % 2 || c->head_dim > 2 * FL_ROPE_MAX_PAIRS)
        return bad_field(r, at + 12, "n_heads", c->heads, "leaves heads of an odd or too large number of components");
    return FL_OK;
}

static fl_status read_header(reader *r, fl_llama2c *m)
{
    fl_config *c = &m->config;
    int64_t vocab;
    size_t needed = marked(r->bytes, r->size) ? FL_LLAMA2C_HEADER : 28;
    if (r->size < needed)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 0: %zu bytes are less than a llama2.c header of %zu", r->file,
                       r->size, needed);
    r->place = needed;
    if (needed == 28) {
        FL_TRY(read_sizes(r, 0, c, &vocab));
        c->tied_head = vocab > 0;
        c->vocab = vocab > 0 ? vocab : -vocab;
    } else {
        m->version = (int32_t)u32_at(r->bytes + 4);
        if (m->version != 1 && m->version != 2)
            return fl_fail(FL_ERR_UNSUPPORTED, "%s: offset 4: version = %d: llama2.c versions 0, 1 and 2 are read",
                           r->file, m->version);
        FL_TRY(read_sizes(r, 8, c, &vocab));
        if (vocab < 0) return bad_field(r, 28, "vocab_size", vocab, "is negative");
        c->vocab = vocab;
        uint8_t shared = r->bytes[36];
        if (shared > 1) return bad_field(r, 36, "shared_classifier", shared, "is neither 0 nor 1");
        c->tied_head = shared == 1;
        size_t end = 37;
        if (m->version == 2) {
            r->group = (int32_t)u32_at(r->bytes + 37);
            if (r->group < 1) return bad_field(r, 37, "group_size", r->group, "is not positive");
            end = 41;
        }
        for (size_t i = end; i < FL_LLAMA2C_HEADER; i++)
            if (r->bytes[i]) return bad_field(r, i, "padding", r->bytes[i], "is not zero");
    }
    snprintf(c->family, sizeof c->family, "llama");
    c->norm_eps = FL_LLAMA2C_EPS;
    c->activation = FL_ACT_SILU;
    c->rotary = c->rope_interleaved = true;
    fl_rope_spec_init(&c->rope, FL_LLAMA2C_BASE, (int)c->head_dim, c->window);
    c->bos = BOS < c->vocab ? BOS : -1;
    c->pad = -1;
    if (EOS < c->vocab) {
        c->eos[0] = EOS;
        c->eos[1] = BOS;
        c->eos_count = 2;
    }
    c->stored_type = FL_F32;
    return FL_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

/* int8 values, then one scale for each group of them; the groups run over the whole matrix, across its rows. */
static fl_status convert_groups(reader *r, fl_file_tensor *t, size_t values)
{
    size_t groups = values / (size_t)r->group, scales = 0, end;
    if (values % (size_t)r->group)
        return fl_fail(FL_ERR_FORMAT, "%s: offset 37: group_size = %lld: does not divide the %zu values of %s", r->file,
                       (long long)r->group, values, t->name);
    if (!fl_size_mul(groups, 4, &scales) || !fl_size_add(values, scales, &end) || end > r->size - r->place)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %s needs %zu bytes, %zu are left; is the file cut short?",
                       r->file, r->place, t->name, values + scales, r->size - r->place);
    const int8_t *q = (const int8_t *)r->bytes + r->place;
    const uint8_t *scale = r->bytes + r->place + values;
    t->data = r->converted;
    for (size_t g = 0; g < groups; g++) {
        uint32_t bits = u32_at(scale + 4 * g);
        float s;
        memcpy(&s, &bits, sizeof s);
        for (int64_t i = 0; i < r->group; i++)
            *r->converted++ = (float)*q++ * s;
    }
    r->place += end;
    return FL_OK;
}

static fl_status place_tensor(reader *r, fl_file_tensor *t)
{
    size_t values, bytes;
    FL_TRY(fl_file_tensor_values(t, &values));
    FL_TRY(fl_file_tensor_bytes(t, &bytes));
    if (r->group && t->rank == 2) return convert_groups(r, t, values);
    if (bytes > r->size - r->place)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %s needs %zu bytes, %zu are left; is the file cut short?",
                       r->file, r->place, t->name, bytes, r->size - r->place);
    t->data = r->bytes + r->place;
    r->place += bytes;
    return FL_OK;
}

/* Number of tensors, and of values in matrices, which a file of this size can possibly hold. */
static fl_status count_tensors(const reader *r, const fl_llama2c *m, int64_t *tensors, size_t *matrix_values)
{
    *tensors = 0;
    *matrix_values = 0;
    for (const fl_llama2c_part *part = fl_llama2c_order(m->version); *part != FL_LLAMA2C_END; part++) {
        fl_file_tensor t;
        char name[FL_LLAMA2C_NAME];
        int64_t repeats = fl_llama2c_repeats(*part, &m->config);
        fl_llama2c_describe(*part, 0, &m->config, name, &t);
        size_t values, all;
        if (fl_file_tensor_values(&t, &values) != FL_OK || !fl_size_mul(values, (size_t)repeats, &all) ||
            !fl_size_add(all, t.rank == 2 ? *matrix_values : 0, &all) || all > r->size)
            return fl_fail(
                FL_ERR_FORMAT,
                "%s: offset %d: the sizes of the header ask for more than the %zu bytes of the file (%s); is "
                "this a llama2.c checkpoint, and is it whole?",
                r->file, m->version ? 8 : 0, r->size, name);
        if (t.rank == 2) *matrix_values = all;
        *tensors += repeats;
    }
    return FL_OK;
}

static fl_status place_tensors(reader *r, fl_llama2c *m)
{
    int64_t most;
    size_t values;
    FL_TRY(count_tensors(r, m, &most, &values));
    m->tensor = fl_calloc((size_t)most, sizeof *m->tensor);
    m->names = fl_calloc((size_t)most, FL_LLAMA2C_NAME);
    if (!m->tensor || !m->names) return FL_ERR_MEMORY;
    if (r->group) {
        m->values = r->converted = fl_calloc(values, sizeof *m->values);
        if (!m->values) return FL_ERR_MEMORY;
    }
    for (const fl_llama2c_part *part = fl_llama2c_order(m->version); *part != FL_LLAMA2C_END; part++) {
        int64_t repeats = fl_llama2c_repeats(*part, &m->config);
        for (int64_t i = 0; i < repeats; i++) {
            fl_file_tensor *t = &m->tensor[m->count];
            fl_llama2c_describe(*part, i, &m->config, m->names + m->count * FL_LLAMA2C_NAME, t);
            FL_TRY(place_tensor(r, t));
            if (*part != FL_LLAMA2C_ROTARY_TABLES) m->count++;
        }
    }
    if (r->place != r->size)
        return fl_fail(FL_ERR_FORMAT, "%s: offset %zu: %zu bytes after the last tensor; is this a llama2.c checkpoint?",
                       r->file, r->place, r->size - r->place);
    return FL_OK;
}

fl_status fl_llama2c_parse(fl_llama2c *out, const char *file, const void *bytes, size_t size)
{
    fl_llama2c m = {0};
    reader r = {.file = file, .bytes = bytes, .size = size};
    fl_status status = read_header(&r, &m);
    if (status == FL_OK) status = place_tensors(&r, &m);
    if (status == FL_OK)
        *out = m;
    else
        fl_llama2c_close(&m);
    return status;
}

void fl_llama2c_close(fl_llama2c *m)
{
    fl_free(m->values);
    fl_free(m->names);
    fl_free(m->tensor);
    *m = (fl_llama2c){0};
}
