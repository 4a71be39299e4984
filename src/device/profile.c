#include "device/profile.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/size.h"
#include "device/cpu/product.h"

typedef enum operator{
    EMBED,
    NORM,
    LINEAR,
    ROTATE,
    KV_WRITE,
    KV_ROTATE,
    ATTEND,
    ACTIVATION,
    ADD,
    COPY,
    HEAD,
    OPERATORS
}
operator;

static const char *const names[OPERATORS] = {
    "embedding",   "norms", "linear", "rotation", "keys, values written", "keys rotated", "attention",
    "activations", "sums",  "copies", "head"};

struct fl_profile {
    fl_device_table table; /* first: the device's table is this one */
    const fl_device_table *inner;
    fl_device *device;
    fl_profile_row row[OPERATORS];
};

static fl_profile *profile_of(fl_device *d)
{
    return (fl_profile *)(uintptr_t)d->table;
}

static void note(fl_profile *p, operator which, double begin, fl_profile_row work)
{
    fl_profile_row *r = &p->row[which];
    r->seconds += fl_clock_seconds() - begin;
    r->calls++;
    r->operations += work.operations;
    r->byte_operations += work.byte_operations;
    r->bytes += work.bytes;
}

/* Call an entry of the real table; `work` is what it amounts to. */
#define TIMED(which, call, ...)                                                                                        \
    do {                                                                                                               \
        fl_profile *p = profile_of(d);                                                                                 \
        double begin = fl_clock_seconds();                                                                             \
        p->inner->call;                                                                                                \
        note(p, which, begin, (fl_profile_row){__VA_ARGS__});                                                          \
    } while (0)

static double bytes_of(const fl_tensor *t)
{
    return (double)t->rows * (double)t->cols * sizeof(float);
}

static double weight_bytes(const fl_stored *w)
{
    const fl_dtype_info *info = fl_dtype_get(w->type);
    return (double)w->rows * (double)w->cols / info->block * (double)info->block_bytes;
}

/* 2 m n k, as operations on bytes if the weights are multiplied as integers. */
static fl_profile_row product_of(const fl_operand *w, int64_t m, double bytes)
{
    double operations = 2.0 * (double)m * (double)w->stored.rows * (double)w->stored.cols;
    bool integers = w->packed && w->packed->quantised;
    return (fl_profile_row){.operations = integers ? 0 : operations,
                            .byte_operations = integers ? operations : 0,
                            .bytes = bytes + weight_bytes(&w->stored)};
}

static void embed(fl_device *d, const fl_stored *table, const int32_t *tokens, fl_tensor *out, bool accumulate)
{
    TIMED(EMBED, embed(d, table, tokens, out, accumulate), .bytes = 2 * bytes_of(out));
}

static void rms_norm(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse)
{
    TIMED(NORM, rms_norm(d, x, w, eps, y, inverse), .bytes = 2 * bytes_of(x));
}

static void layer_norm(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                       float *stats)
{
    TIMED(NORM, layer_norm(d, x, w, b, eps, y, stats), .bytes = 2 * bytes_of(x));
}

static void linear(fl_device *d, const fl_operand *w, const float *bias, const fl_tensor *x, fl_tensor *y,
                   bool accumulate)
{
    fl_profile *p = profile_of(d);
    double begin = fl_clock_seconds();
    p->inner->linear(d, w, bias, x, y, accumulate);
    note(p, LINEAR, begin, product_of(w, x->rows, bytes_of(x) + bytes_of(y)));
}

static void rotate(fl_device *d, const fl_tensor *x, int heads, int head_dim, const float *cos, const float *sin,
                   int pairs, bool interleaved, bool inverse, fl_tensor *y)
{
    TIMED(ROTATE, rotate(d, x, heads, head_dim, cos, sin, pairs, interleaved, inverse, y), .bytes = 2 * bytes_of(x));
}

static void scale_rows(fl_device *d, const fl_tensor *x, const float *factor, fl_tensor *y)
{
    TIMED(ROTATE, scale_rows(d, x, factor, y), .bytes = 2 * bytes_of(x));
}

static void kv_write(fl_device *d, const fl_kv_view *kv, int64_t first_token, const fl_tensor *k, const fl_tensor *v,
                     int64_t first_row, int64_t rows)
{
    double token = (double)fl_kv_page_bytes(&kv->shape) / FL_PAGE_TOKENS;
    TIMED(KV_WRITE, kv_write(d, kv, first_token, k, v, first_row, rows),
          .bytes = (double)rows * (token + 2.0 * kv->shape.kv_heads * kv->shape.head_dim * sizeof(float)));
}

static void kv_rotate(fl_device *d, const fl_kv_view *from, int64_t first, const float *cos, const float *sin,
                      int pairs, bool interleaved, const fl_kv_view *to)
{
    double page = (double)(fl_kv_page_bytes(&from->shape) + fl_kv_page_bytes(&to->shape));
    TIMED(KV_ROTATE, kv_rotate(d, from, first, cos, sin, pairs, interleaved, to),
          .bytes = (double)(to->keys - first) / FL_PAGE_TOKENS * page);
}

/* Keys and values of Q8_0 and Q4_0 are multiplied as integers, of 8 bits and of 16: these at half the rate of bytes. */
static fl_profile_row attention_of(const fl_attend_args *args)
{
    fl_profile_row work = {.bytes = 0};
    for (int s = 0; s < args->sequences; s++) {
        const fl_attend_seq *seq = &args->seq[s];
        const fl_kv_shape *shape = &seq->kv.shape;
        int64_t pairs = 0, lo = INT64_MAX, hi = 0;
        for (int64_t r = 0; r < seq->rows; r++) {
            if (seq->lo[r] >= seq->hi[r]) continue;
            pairs += seq->hi[r] - seq->lo[r];
            lo = fl_min64(lo, seq->lo[r]);
            hi = fl_max64(hi, seq->hi[r]);
        }
        double half = 2.0 * (double)pairs * args->heads * shape->head_dim;
        bool integer_k = fl_dtype_get(shape->k_type)->block > 1, integer_v = fl_dtype_get(shape->v_type)->block > 1;
        work.operations += (integer_k ? 0 : half) + (integer_v ? 0 : half);
        work.byte_operations += (integer_k ? half : 0) + (integer_v ? 2 * half : 0);
        double token = (double)fl_kv_page_bytes(shape) / FL_PAGE_TOKENS;
        work.bytes += token * (double)fl_max64(0, hi - lo) +
                      2.0 * (double)seq->rows * args->heads * shape->head_dim * sizeof(float);
    }
    return work;
}

static void attend(fl_device *d, const fl_attend_args *args)
{
    fl_profile *p = profile_of(d);
    double begin = fl_clock_seconds();
    p->inner->attend(d, args);
    note(p, ATTEND, begin, attention_of(args));
}

static void swiglu(fl_device *d, const fl_tensor *gate, const fl_tensor *up, fl_tensor *y)
{
    TIMED(ACTIVATION, swiglu(d, gate, up, y), .bytes = 3 * bytes_of(y));
}

static void gelu(fl_device *d, const fl_tensor *x, bool tanh_form, fl_tensor *y)
{
    TIMED(ACTIVATION, gelu(d, x, tanh_form, y), .bytes = 2 * bytes_of(y));
}

static void add(fl_device *d, const fl_tensor *a, const fl_tensor *b, fl_tensor *y)
{
    TIMED(ADD, add(d, a, b, y), .bytes = 3 * bytes_of(y));
}

static void copy(fl_device *d, const fl_tensor *from, fl_tensor *to)
{
    TIMED(COPY, copy(d, from, to), .bytes = 2 * bytes_of(to));
}

static void head(fl_device *d, const fl_head_args *args)
{
    fl_profile *p = profile_of(d);
    double begin = fl_clock_seconds(), rows = (double)args->n * sizeof(float);
    p->inner->head(d, args);
    double logits = args->logits ? rows * (double)args->w.stored.rows : 0;
    note(p, HEAD, begin, product_of(&args->w, args->n, rows * (double)args->w.stored.cols + logits));
}

fl_status fl_profile_open(fl_profile **out, fl_device *d)
{
    fl_profile *p = fl_calloc(1, sizeof *p);
    if (!p) return FL_ERR_MEMORY;
    p->inner = d->table;
    p->device = d;
    p->table = *d->table;
    p->table.embed = embed;
    p->table.rms_norm = rms_norm;
    p->table.layer_norm = layer_norm;
    p->table.linear = linear;
    p->table.rotate = rotate;
    p->table.scale_rows = scale_rows;
    p->table.kv_write = kv_write;
    p->table.kv_rotate = kv_rotate;
    p->table.attend = attend;
    p->table.swiglu = swiglu;
    p->table.gelu = gelu;
    p->table.add = add;
    p->table.copy = copy;
    p->table.head = head;
    d->table = &p->table;
    fl_profile_reset(p);
    *out = p;
    return FL_OK;
}

void fl_profile_close(fl_profile *p)
{
    if (!p) return;
    p->device->table = p->inner;
    fl_free(p);
}

int fl_profile_rows(void)
{
    return OPERATORS;
}

fl_profile_row fl_profile_get(const fl_profile *p, int row)
{
    return p->row[row];
}

void fl_profile_reset(fl_profile *p)
{
    for (int i = 0; i < OPERATORS; i++)
        p->row[i] = (fl_profile_row){.name = names[i]};
}
