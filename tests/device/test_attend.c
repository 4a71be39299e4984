/* Attention forward against a softmax in double precision, and the promise that a row's bits depend on nothing but its
 * query, its range and its keys. */
#include "base/size.h"
#include "device/attend_case.h"
#include "device/cpu/attend.h"

static fl_rng rng;

/* Logits are sums of head_dim products of unit normals times 1/sqrt(head_dim), rounded head_dim times: their error is
 * about sqrt(head_dim) * 2^-24 and at most some 2e-6 for 256; it is the relative error of a weight. Outputs are means
 * of values below 5. */
#define TOLERANCE 1e-5

static void check_within(const attend_case *c, const fl_tensor *out, const float *lse, double tolerance)
{
    double *weight = calloc((size_t)c->keys + 1, sizeof *weight), exact[FL_HEAD_DIM_MAX];
    for (int64_t r = 0; r < c->rows; r++)
        for (int h = 0; h < c->heads; h++) {
            double exact_lse = exact_weights(c, r, h, weight);
            exact_row(c, h, weight, exact);
            const float *got = fl_row(out, r) + h * c->head_dim;
            if (exact_lse == -INFINITY)
                assert_true(lse[r * c->heads + h] == -INFINITY);
            else
                assert_near(lse[r * c->heads + h], exact_lse, TOLERANCE);
            for (int i = 0; i < c->head_dim; i++) {
                if (exact_lse == -INFINITY)
                    assert_true(got[i] == 0);
                else
                    assert_near(got[i], exact[i], tolerance);
            }
        }
    free(weight);
}

static void check(const attend_case *c, const fl_tensor *out, const float *lse)
{
    check_within(c, out, lse, TOLERANCE);
}

static void test_shapes(void **state)
{
    (void)state;
    static const int dims[] = {64, 6, 8, 16, 32, 48, 80, 96, 128, 256, 7, 1, 17, 66};
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int l = 0; l < levels; l++) {
        attend_device d;
        device_open(&d, level[l], 2);
        for (int i = 0; i < 42; i++) {
            int group = 1 + (int)below(&rng, 4), kv_heads = 1 + (int)below(&rng, 2);
            /* Past 1024 keys parts are merged; the plain loops are too slow for many of those. */
            int64_t keys = 1 + below(&rng, i % 7 == 0 && l > 0 ? 2500 : 300),
                    rows = 1 + below(&rng, keys < 150 ? keys : 150);
            attend_case c;
            case_open(&c, &rng, group * kv_heads, kv_heads, dims[i % 14], rows, keys, (ranges)(i % RANGE_KINDS));
            case_write(&c, &rng, &d.device);
            fl_tensor out = matrix(rows, c.q.cols, below(&rng, 3));
            float *lse = calloc((size_t)rows * c.heads, sizeof *lse);
            fl_attend_args args = case_args(&c, &out, lse);
            fl_cpu_attend(&d.device, &args);
            check(&c, &out, lse);
            free(out.data);
            free(lse);
            case_close(&c);
        }
        device_close(&d);
    }
}

/* The longest head fills the scratch memory it gets. */
static void test_longest_head(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    attend_device d;
    device_open(&d, level[attend_levels(level) - 1], 2);
    attend_case c;
    case_open(&c, &rng, 2, 1, FL_HEAD_DIM_MAX, FL_ATTEND_ROWS + 1, 150, CAUSAL);
    case_write(&c, &rng, &d.device);
    fl_tensor out = matrix(c.rows, c.q.cols, 0);
    float *lse = calloc((size_t)c.rows * c.heads, sizeof *lse);
    fl_attend_args args = case_args(&c, &out, lse);
    fl_cpu_attend(&d.device, &args);
    check(&c, &out, lse);
    free(out.data);
    free(lse);
    case_close(&c);
    device_close(&d);
}

typedef struct result {
    fl_tensor out;
    float *lse;
} result;

static result attend(const attend_case *c, const fl_attend_kernels *kernels, int threads)
{
    attend_device d;
    device_open(&d, kernels, threads);
    result r = {matrix(c->rows, c->q.cols, 0), calloc((size_t)c->rows * c->heads, sizeof(float))};
    fl_attend_args args = case_args(c, &r.out, r.lse);
    fl_cpu_attend(&d.device, &args);
    device_close(&d);
    return r;
}

static void result_free(result *r)
{
    free(r->out.data);
    free(r->lse);
}

static void assert_same_rows(const attend_case *c, const result *a, int64_t a_row, const result *b, int64_t b_row,
                             int64_t rows)
{
    assert_memory_equal(fl_row(&a->out, a_row), fl_row(&b->out, b_row), (size_t)(rows * a->out.ld) * sizeof(float));
    assert_memory_equal(a->lse + a_row * c->heads, b->lse + b_row * c->heads,
                        (size_t)(rows * c->heads) * sizeof(float));
}

/* Rows first .. first+rows-1 alone, against keys cut off after what they see; what follows in the pages is NaN. */
static result attend_rows(const attend_case *c, const fl_attend_kernels *kernels, int threads, int64_t first,
                          int64_t rows)
{
    attend_case part = *c;
    part.rows = rows;
    part.q.data = fl_row(&c->q, first);
    part.lo += first;
    part.hi += first;
    part.keys = 1;
    for (int64_t r = 0; r < rows; r++)
        if (part.hi[r] > part.keys) part.keys = part.hi[r];
    if (part.keys > c->keys) part.keys = c->keys;
    case_pages(&part, part.keys);
    part.seq.first_key = c->seq.first_key + first;
    attend_device d;
    device_open(&d, kernels, threads);
    case_write(&part, &rng, &d.device);
    device_close(&d);
    result r = attend(&part, kernels, threads);
    case_free_pages(&part);
    return r;
}

static void test_bits_do_not_depend_on_rows_and_threads(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int i = 0; i < 10; i++) {
        static const int dims[] = {64, 48, 80, 7, 128};
        int group = 1 + (int)below(&rng, 3);
        int64_t keys = i % 5 == 0 ? 3000 : 1 + below(&rng, 700), rows = 1 + below(&rng, keys < 400 ? keys : 400);
        attend_case c;
        case_open(&c, &rng, group, 1, dims[i % 5], rows, keys, (ranges)(i / 2 % RANGE_KINDS));
        attend_device d;
        device_open(&d, level[levels - 1], 1);
        case_write(&c, &rng, &d.device);
        device_close(&d);
        for (int l = i % 5 == 0 ? levels - 1 : 0; l < levels; l++) {
            result all = attend(&c, level[l], 1);
            for (int threads = 2; threads <= 5; threads++) {
                result other = attend(&c, level[l], threads);
                assert_same_rows(&c, &all, 0, &other, 0, rows);
                result_free(&other);
            }
            for (int64_t r = 0; r < rows;) {
                int64_t n = 1 + below(&rng, below(&rng, 2) ? 1 : 100);
                n = n < rows - r ? n : rows - r;
                result piece = attend_rows(&c, level[l], 1 + (int)(r % 3), r, n);
                assert_same_rows(&c, &all, r, &piece, 0, n);
                result_free(&piece);
                r += fl_rng_below(&rng, 2) ? n : n + below(&rng, 20);
            }
            /* The order of all sums is the same at every level, so that the levels agree, too. */
            if (l > 0) {
                result reference = attend(&c, level[l - 1], 1);
                assert_same_rows(&c, &all, 0, &reference, 0, rows);
                result_free(&reference);
            }
            result_free(&all);
        }
        case_close(&c);
    }
}

/* What a type makes of a matrix of heads. */
static fl_tensor rounded(const fl_tensor *t, fl_dtype type, int head_dim)
{
    fl_tensor out = matrix(t->rows, t->cols, 0);
    char bytes[FL_KV_ROW_BYTES_MAX];
    float row[FL_HEAD_DIM_MAX] = {0};
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c += head_dim) {
            int values = fl_kv_row_values(type, head_dim);
            memcpy(row, fl_row(t, r) + c, (size_t)head_dim * sizeof *row);
            fl_from_f32(type, row, bytes, values);
            fl_to_f32(type, bytes, row, values);
            memcpy(fl_row(&out, r) + c, row, (size_t)head_dim * sizeof *row);
            memset(row, 0, (size_t)values * sizeof *row);
        }
    return out;
}

/* Pages hold k and v, which their types hold exactly: as kv_rotate reads them, by angles of 0 and by random ones. */
static void assert_reads_back(attend_case *c, fl_device *d, const fl_tensor *k, const fl_tensor *v)
{
    int64_t first = below(&rng, c->keys) / FL_TILE_KEYS * FL_TILE_KEYS;
    int64_t tiles = (c->keys - first + FL_TILE_KEYS - 1) / FL_TILE_KEYS;
    int dim = c->head_dim, pairs = (int)below(&rng, dim / 2 + 1);
    bool interleaved = below(&rng, 2), turn = below(&rng, 2);
    fl_tensor cosines = matrix(tiles * FL_TILE_KEYS, pairs + 1, 0), sines = matrix(tiles * FL_TILE_KEYS, pairs + 1, 0);
    float *cos = cosines.data, *sin = sines.data;
    for (int64_t i = 0; i < tiles * FL_TILE_KEYS * pairs; i++) {
        cos[i] = turn ? (float)fl_rng_normal(&rng) : 1;
        sin[i] = turn ? (float)fl_rng_normal(&rng) : 0;
    }
    attend_case read = *c;
    read.k_type = read.v_type = FL_F32;
    case_pages(&read, c->keys);
    fl_cpu_kv_rotate(d, &c->seq.kv, first, cos, sin, pairs, interleaved, &read.seq.kv);
    for (int64_t key = first; key < c->keys; key++)
        for (int h = 0; h < c->kv_heads; h++) {
            float got[FL_HEAD_DIM_MAX], expected[FL_HEAD_DIM_MAX];
            const float *from = fl_row(k, key) + h * dim;
            memcpy(expected, from, (size_t)dim * sizeof(float));
            for (int i = 0; i < pairs; i++) {
                int a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + pairs;
                int64_t at = ((key - first) / FL_TILE_KEYS * pairs + i) * FL_TILE_KEYS + key % FL_TILE_KEYS;
                expected[a] = from[a] * cos[at] - from[b] * sin[at];
                expected[b] = from[b] * cos[at] + from[a] * sin[at];
            }
            const char *page = read.page[key / FL_PAGE_TOKENS];
            int within = (int)(key % FL_PAGE_TOKENS);
            fl_kv_get_key(&read.seq.kv.shape, page + fl_kv_key_offset(&read.seq.kv.shape, h, within / FL_TILE_KEYS),
                          within % FL_TILE_KEYS, got);
            /* The same two products and one sum; compilers of tests may fuse them. */
            for (int i = 0; i < dim; i++)
                assert_near(got[i], expected[i], 1e-6 * (fabsf(expected[i]) + 8));
            assert_memory_equal(page + fl_kv_value_offset(&read.seq.kv.shape, h, within), fl_row(v, key) + h * dim,
                                (size_t)dim * sizeof(float));
        }
    case_free_pages(&read);
    free(cosines.data);
    free(sines.data);
}

/* What queries count as beside keys of Q8_0 and Q4_0: 8-bit integers with a scale for every 32 components of a head. */
static void round_queries(fl_tensor *q, int head_dim, float scale)
{
    float factor = (float)(scale * FL_LOG2_E);
    for (int64_t i = 0; i < q->rows; i++)
        for (int64_t c = 0, n; c < q->cols; c += n) {
            float *x = fl_row(q, i) + c, most = 0;
            n = fl_min64(32, head_dim - c % head_dim);
            for (int64_t j = 0; j < n; j++)
                most = fmaxf(most, fabsf(x[j] * factor));
            for (int64_t j = 0; j < n; j++)
                x[j] = most / 127.0f * rintf(x[j] * factor * (127.0f / most)) / factor;
        }
}

/* A weight beside values of Q8_0 and Q4_0 is off by at most 1/65534 of the largest of its tile; of 64 keys with values
 * up to 4 about eight of these remain, where one tile holds nearly all of the weight. */
#define INTEGER_WEIGHTS (TOLERANCE + 8 * 4.0 / 65534)

/* Every pair of types: right against double of the values it stores, and without blocks the bits of fp32 pages that
 * hold these values; and the same at every level, for any threads and any piece of the rows. */
static void test_types(void **state)
{
    (void)state;
    static const fl_dtype types[] = {FL_F32, FL_F16, FL_BF16, FL_Q8_0, FL_Q4_0};
    static const int dims[] = {64, 48, 128, 80}, any_dims[] = {64, 7, 80, 8};
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int i = 0; i < 25; i++) {
        fl_dtype k_type = types[i / 5], v_type = types[i % 5];
        bool blocks = i / 5 > 2 || i % 5 > 2;
        int group = 1 + (int)below(&rng, 3), kv_heads = 1 + (int)below(&rng, 2);
        int64_t keys = i % 6 ? 1 + below(&rng, 300) : 2100, rows = 1 + below(&rng, keys < 120 ? keys : 120);
        attend_case c;
        case_open(&c, &rng, group * kv_heads, kv_heads, (blocks ? dims : any_dims)[below(&rng, 4)], rows, keys,
                  (ranges)(i % RANGE_KINDS));
        case_free_pages(&c);
        c.k_type = k_type;
        c.v_type = v_type;
        case_pages(&c, keys);
        attend_device d;
        device_open(&d, level[levels - 1], 2);
        case_write(&c, &rng, &d.device);
        attend_case plain = c;
        plain.k = rounded(&c.k, k_type, c.head_dim);
        plain.v = rounded(&c.v, v_type, c.head_dim);
        plain.k_type = plain.v_type = FL_F32;
        case_pages(&plain, keys);
        case_write(&plain, &rng, &d.device);
        assert_reads_back(&c, &d.device, &plain.k, &plain.v);
        device_close(&d);

        bool integer_keys = i / 5 > 2, integer_values = i % 5 > 2;
        result wanted = attend(blocks ? &c : &plain, level[levels - 1], 1);
        if (integer_keys) {
            plain.q = matrix(rows, c.q.cols, 0);
            for (int64_t r = 0; r < rows; r++)
                memcpy(fl_row(&plain.q, r), fl_row(&c.q, r), (size_t)c.q.cols * sizeof(float));
            round_queries(&plain.q, c.head_dim, c.scale);
        }
        check_within(&plain, &wanted.out, wanted.lse, integer_values ? INTEGER_WEIGHTS : TOLERANCE);
        for (int l = keys > 300 ? levels - 1 : 0; l < levels; l++)
            for (int threads = 1; threads <= 3; threads++) {
                result got = attend(&c, level[l], threads);
                assert_same_rows(&c, &wanted, 0, &got, 0, rows);
                result_free(&got);
            }
        for (int64_t r = 0; r < rows; r += 1 + below(&rng, 40)) {
            int64_t n = fl_min64(1 + below(&rng, 30), rows - r);
            result piece = attend_rows(&c, level[r % levels], 1 + (int)(r % 3), r, n);
            assert_same_rows(&c, &wanted, r, &piece, 0, n);
            result_free(&piece);
        }
        result_free(&wanted);
        if (integer_keys) free(plain.q.data);
        free(plain.k.data);
        free(plain.v.data);
        case_free_pages(&plain);
        case_close(&c);
    }
}

/* A key that is NaN, or whose value is, reaches the rows that see it and no others. */
static void test_unseen_keys_do_not_leak(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int i = 0; i < 20; i++) {
        attend_case c;
        int64_t keys = 1 + below(&rng, 300), rows = 1 + below(&rng, keys);
        case_open(&c, &rng, 2, 1, i % 2 ? 64 : 10, rows, keys, (ranges)(i % RANGE_KINDS));
        if (i % 4 == 3) { /* whose scales are then infinite */
            case_free_pages(&c);
            c.v_type = FL_Q8_0;
            case_pages(&c, keys);
        }
        attend_device d;
        device_open(&d, level[0], 1);
        case_write(&c, &rng, &d.device);
        int64_t bad = below(&rng, keys);
        for (int l = 0; l < levels; l++) {
            fl_cpu_kv_write(&d.device, &c.seq.kv, 0, &c.k, &c.v, 0, keys);
            result clean = attend(&c, level[l], 1);
            fl_tensor nan = matrix(1, c.k.cols, 0);
            for (int64_t j = 0; j < nan.cols; j++)
                fl_row(&nan, 0)[j] = i % 3 && c.v_type == FL_F32 ? NAN : INFINITY;
            fl_tensor k = {.rows = 1, .cols = c.k.cols, .ld = c.k.ld, .data = fl_row(&c.k, bad)};
            fl_cpu_kv_write(&d.device, &c.seq.kv, bad, i % 4 < 2 ? &nan : &k, &nan, 0, 1);
            result dirty = attend(&c, level[l], 1);
            for (int64_t r = 0; r < rows; r++) {
                if (!sees(&c, r, bad))
                    assert_same_rows(&c, &clean, r, &dirty, r, 1);
                else if (i % 4 < 2)
                    assert_true(isnan(fl_row(&dirty.out, r)[0]));
                else
                    assert_false(isfinite(fl_row(&dirty.out, r)[0]));
            }
            free(nan.data);
            result_free(&clean);
            result_free(&dirty);
        }
        device_close(&d);
        case_close(&c);
    }
}

/* Sinks: the first keys in one pass, a window in a second one; together the softmax over both. */
static void test_two_passes_merge(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    for (int i = 0; i < 15; i++) {
        attend_case c;
        int64_t keys = 1 + below(&rng, 400), rows = 1 + below(&rng, keys);
        int64_t sinks = below(&rng, 6), window = 1 + below(&rng, 100);
        case_open(&c, &rng, 2, 2, 32, rows, keys, CAUSAL);
        attend_device d;
        device_open(&d, level[i % levels], 2);
        case_write(&c, &rng, &d.device);
        fl_tensor out = matrix(rows, c.q.cols, 0);
        float *lse = calloc((size_t)rows * c.heads, sizeof *lse);
        int64_t *hi = calloc((size_t)rows, sizeof *hi);
        fl_attend_args args = case_args(&c, &out, lse);
        for (int64_t r = 0; r < rows; r++) {
            hi[r] = c.hi[r];
            c.hi[r] = hi[r] < sinks ? hi[r] : sinks;
        }
        fl_cpu_attend(&d.device, &args);
        for (int64_t r = 0; r < rows; r++) {
            c.hi[r] = hi[r];
            c.lo[r] = hi[r] - window > sinks ? hi[r] - window : sinks;
        }
        args.merge = true;
        fl_cpu_attend(&d.device, &args);

        double *weight = calloc((size_t)keys, sizeof *weight), exact[32];
        for (int64_t r = 0; r < rows; r++)
            for (int h = 0; h < c.heads; h++) {
                double sum = 0;
                for (int64_t j = 0; j < keys; j++) {
                    weight[j] = sees(&c, r, j) || (j < sinks && j < hi[r]) ? exp(exact_logit(&c, r, h, j)) : 0;
                    sum += weight[j];
                }
                for (int64_t j = 0; j < keys; j++)
                    weight[j] /= sum;
                exact_row(&c, h, weight, exact);
                assert_near(lse[r * c.heads + h], log(sum), TOLERANCE);
                for (int j = 0; j < 32; j++)
                    assert_near(fl_row(&out, r)[h * 32 + j], exact[j], TOLERANCE);
            }
        free(weight);
        free(hi);
        free(lse);
        free(out.data);
        device_close(&d);
        case_close(&c);
    }
}

/* Many sequences of different lengths in one call, as when several sessions decode: each as if it were alone. */
static void test_sequences(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    const fl_attend_kernels *best = level[attend_levels(level) - 1];
    enum { SEQUENCES = 300 };
    static attend_case c[SEQUENCES];
    static fl_attend_seq seq[SEQUENCES];
    attend_device d;
    device_open(&d, best, 3);
    int64_t rows = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        int64_t keys = 1 + below(&rng, i % 50 ? 40 : 2000), n = i % 7 == 3 ? 0
                                                                           : 1 + below(&rng, i % 3       ? 1
                                                                                             : keys < 30 ? keys
                                                                                                         : 30);
        case_open(&c[i], &rng, 4, 2, 16, n, keys, CAUSAL);
        case_drop_slope(&c[i]); /* one set of slopes serves all sequences */
        case_write(&c[i], &rng, &d.device);
        seq[i] = c[i].seq;
        seq[i].first_row = rows;
        rows += n;
    }
    fl_tensor q = matrix(rows, 64, 1), out = matrix(rows, 64, 2);
    float *lse = calloc((size_t)rows * 4, sizeof *lse);
    for (int i = 0; i < SEQUENCES; i++)
        for (int64_t r = 0; r < c[i].rows; r++)
            memcpy(fl_row(&q, seq[i].first_row + r), fl_row(&c[i].q, r), 64 * sizeof(float));
    fl_attend_args args = {
        .sequences = SEQUENCES, .seq = seq, .heads = 4, .scale = c[0].scale, .q = &q, .out = &out, .lse = lse};
    fl_cpu_attend(&d.device, &args);
    for (int i = 0; i < SEQUENCES; i++) {
        result alone = attend(&c[i], best, 1);
        for (int64_t r = 0; r < c[i].rows; r++) {
            assert_memory_equal(fl_row(&out, seq[i].first_row + r), fl_row(&alone.out, r), 64 * sizeof(float));
            assert_memory_equal(lse + (seq[i].first_row + r) * 4, alone.lse + r * 4, 4 * sizeof(float));
        }
        result_free(&alone);
        case_close(&c[i]);
    }
    free(q.data);
    free(out.data);
    free(lse);
    device_close(&d);
}

/* More key blocks than fit in memory at once: parts of a few rows are computed and merged in rounds. One page stands
 * for all, so that the test needs little memory. */
static void test_parts_in_rounds(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    const fl_attend_kernels *best = level[attend_levels(level) - 1];
    attend_case c;
    case_open(&c, &rng, 1, 1, 256, FL_ATTEND_ROWS, FL_PAGE_TOKENS, CAUSAL);
    case_drop_slope(&c);
    attend_device d;
    device_open(&d, best, 1);
    case_write(&c, &rng, &d.device);
    device_close(&d);
    enum { PAGES = 720 };
    void *page[PAGES];
    for (int i = 0; i < PAGES; i++)
        page[i] = c.seq.kv.page[0];
    c.seq.kv.page = page;
    c.seq.kv.keys = (int64_t)PAGES * FL_PAGE_TOKENS;
    for (int64_t r = 0; r < c.rows; r++)
        c.hi[r] = c.seq.kv.keys - 3 * r;
    result one = attend(&c, best, 1), two = attend(&c, best, 2);
    assert_same_rows(&c, &one, 0, &two, 0, c.rows);
    /* All pages are alike, so row 0 sees the mean over one page, and PAGES times its sum. */
    c.hi[0] = FL_PAGE_TOKENS;
    result page_alone = attend(&c, best, 1);
    assert_near(one.lse[0], page_alone.lse[0] + log(PAGES), TOLERANCE);
    for (int i = 0; i < 256; i++)
        assert_near(fl_row(&one.out, 0)[i], fl_row(&page_alone.out, 0)[i], TOLERANCE);
    result_free(&one);
    result_free(&two);
    result_free(&page_alone);
    case_close(&c);
}

/* Logits of +-500 and a row whose every weight but one underflows: no overflow, no division by zero. */
static void test_large_logits(void **state)
{
    (void)state;
    const fl_attend_kernels *level[ATTEND_LEVELS];
    int levels = attend_levels(level);
    attend_case c;
    case_open(&c, &rng, 1, 1, 16, 1, 1500, BIDIRECTIONAL);
    case_drop_slope(&c);
    c.scale = 1;
    for (int64_t j = 0; j < c.keys; j++)
        for (int i = 0; i < 16; i++) {
            fl_row(&c.q, 0)[i] = 1;
            fl_row(&c.k, j)[i] = (j == 1100 ? 500.0f : j % 3 ? -500.0f : 100.0f) / 16;
        }
    for (int l = 0; l < levels; l++) {
        attend_device d;
        device_open(&d, level[l], 2);
        case_write(&c, &rng, &d.device);
        device_close(&d);
        result r = attend(&c, level[l], 2);
        assert_near(r.lse[0], 500, 1e-4);
        for (int i = 0; i < 16; i++)
            assert_near(fl_row(&r.out, 0)[i], fl_row(&c.v, 1100)[i], TOLERANCE);
        result_free(&r);
    }
    case_close(&c);
}

int main(void)
{
    fl_rng_seed(&rng, 20240501);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_longest_head),
        cmocka_unit_test(test_bits_do_not_depend_on_rows_and_threads),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_unseen_keys_do_not_leak),
        cmocka_unit_test(test_two_passes_merge),
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_parts_in_rounds),
        cmocka_unit_test(test_large_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
