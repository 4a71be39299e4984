/* furlong bench --gemm: products of matrices beside what the cores can do, measured in turn, and beside oneDNN's where
 * its library is found. Every figure is the best of several short runs: other programs only ever make one slower. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "device/cpu/roof.h"
#include "device/engine.h"

#define ROUNDS 8
#define ROUND_SECONDS 4e-3
#define READ_ROWS 16 /* products of fewer rows are bound by reading the weights */
#define READ_BYTES ((size_t)256 << 20)

typedef enum form { PACKED, STORED, DX, DW, FORMS } form;

static const char *const form_name[FORMS] = {"y = x W'", "y = x W', stored", "dx = dy W", "dW += dy' x"};

typedef struct shape {
    form form;
    int64_t m, n, k;
    fl_dtype type;
} shape;

static const shape shapes[] = {
    {PACKED, 2048, 2048, 2048, FL_F32}, {PACKED, 512, 4096, 4096, FL_F32}, {PACKED, 4096, 512, 512, FL_F32},
    {PACKED, 2048, 288, 288, FL_F32},   {PACKED, 8192, 768, 288, FL_F32},  {PACKED, 256, 32000, 288, FL_F32},
    {PACKED, 2048, 768, 768, FL_F32},   {PACKED, 2048, 768, 768, FL_BF16}, {STORED, 2048, 768, 768, FL_F32},
    {DX, 2048, 768, 768, FL_F32},       {DW, 768, 768, 2048, FL_F32},      {DW, 32000, 288, 256, FL_F32},
    {PACKED, 512, 4096, 4096, FL_Q8_0}, {PACKED, 512, 768, 768, FL_Q8_0},  {PACKED, 1, 8192, 8192, FL_F32},
    {PACKED, 1, 8192, 8192, FL_BF16},   {PACKED, 1, 8192, 8192, FL_Q8_0},  {PACKED, 4, 8192, 8192, FL_F32},
};

/* ---- oneDNN, by its C calls ---------------------------------------------------------------------------------------
 */

typedef struct onednn {
    void *library;
    char name[64];
    int (*sgemm)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
    int (*u8s8s32)(char ta, char tb, char offset, int64_t m, int64_t n, int64_t k, float alpha, const uint8_t *a,
                   int64_t lda, uint8_t ao, const int8_t *b, int64_t ldb, int8_t bo, float beta, int32_t *c,
                   int64_t ldc, const int32_t *co);
} onednn;

typedef struct onednn_version {
    int major, minor, patch; /* then what is not needed here */
} onednn_version;

/* Functions come out of dlsym as pointers to data. */
static bool find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

/* What oneDNN says it dispatches to; its values of dnnl_cpu_isa_t. */
static const char *isa_name(int isa, char *spare, size_t capacity)
{
    static const struct {
        int isa;
        const char *name;
    } names[] = {{0x1, "SSE4.1"},        {0x3, "AVX"},           {0x7, "AVX2"},          {0xf, "AVX2 VNNI"},
                 {0x27, "AVX-512"},      {0x67, "AVX-512 VNNI"}, {0xe7, "AVX-512 BF16"}, {0x1ef, "AVX-512 FP16"},
                 {0x3e7, "AVX-512 AMX"}, {0xfef, "AVX-512 AMX"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].isa == isa) return names[i].name;
    snprintf(spare, capacity, "instruction set 0x%x", (unsigned)isa);
    return spare;
}

static void onednn_open(onednn *o, int threads)
{
    static const char *const names[] = {"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"};
    for (size_t i = 0; !o->library && i < sizeof names / sizeof *names; i++)
        o->library = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
    if (!o->library) return;
    const onednn_version *(*version)(void);
    int (*isa)(void);
    void (*set_threads)(int);
    if (!find(o->library, "dnnl_sgemm", &o->sgemm)) o->sgemm = NULL;
    if (!find(o->library, "dnnl_gemm_u8s8s32", &o->u8s8s32)) o->u8s8s32 = NULL;
    if (find(RTLD_DEFAULT, "omp_set_num_threads", &set_threads)) set_threads(threads);
    if (find(o->library, "dnnl_version", &version) && find(o->library, "dnnl_get_effective_cpu_isa", &isa)) {
        char spare[32];
        const onednn_version *v = version();
        snprintf(o->name, sizeof o->name, "oneDNN %d.%d.%d, %s", v->major, v->minor, v->patch,
                 isa_name(isa(), spare, sizeof spare));
    }
}

/* ---- measuring ----------------------------------------------------------------------------------------------------
 */

typedef struct bed {
    fl_device *d;
    onednn other;
    void *read; /* READ_BYTES */
    json_t *rows;
    bool json;
} bed;

/* c[m, n] in the shape's form; a is x or dy, b is W or x. */
typedef struct product {
    const shape *s;
    fl_device *d;
    fl_stored a, b;
    fl_packed *packed;
    float *values, *c; /* of b before conversion */
} product;

static void run_ours(const product *p)
{
    const shape *s = p->s;
    if (s->form == DX || s->form == DW) {
        p->d->table->matmul(p->d, &p->a, &p->b, p->c, s->n, s->form == DW);
        return;
    }
    fl_operand w = {.packed = p->packed, .stored = p->b};
    fl_tensor x = {.type = FL_F32, .rows = s->m, .cols = s->k, .ld = s->k, .data = (void *)(uintptr_t)p->a.data};
    fl_tensor y = {.type = FL_F32, .rows = s->m, .cols = s->n, .ld = s->n, .data = p->c};
    p->d->table->linear(p->d, &w, NULL, &x, &y, false);
}

/* False if it is absent or has no such product. Bytes: whatever the arrays hold serves as integers. */
static bool run_theirs(const onednn *o, const product *p)
{
    const shape *s = p->s;
    if (s->type == FL_Q8_0) {
        int32_t zero = 0;
        return o->u8s8s32 && o->u8s8s32('N', 'T', 'F', s->m, s->n, s->k, 1, p->a.data, s->k, 0,
                                        (const int8_t *)(const void *)p->values, s->k, 0, 0, (int32_t *)(void *)p->c,
                                        s->n, &zero) == 0;
    }
    if (s->type != FL_F32 || !o->sgemm) return false;
    bool a_across = s->form == DW, b_across = s->form == PACKED || s->form == STORED;
    return o->sgemm(a_across ? 'T' : 'N', b_across ? 'T' : 'N', s->m, s->n, s->k, 1, p->a.data, a_across ? s->m : s->k,
                    p->b.data, b_across ? s->k : s->n, s->form == DW ? 1 : 0, p->c, s->n) == 0;
}

static float *numbers(int64_t n)
{
    float *x = fl_alloc_aligned((size_t)n * sizeof *x);
    fl_rng rng;
    fl_rng_seed(&rng, (uint64_t)n);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (float)fl_rng_uniform(&rng) - 0.5f;
    return x;
}

static fl_status product_open(product *p, fl_device *d, const shape *s)
{
    int64_t m = s->m, n = s->n, k = s->k;
    *p = (product){.s = s, .d = d, .values = numbers(n * k), .c = numbers(m * n)};
    float *a = numbers(m * k);
    void *b = s->type == FL_F32 ? p->values : numbers(n * k);
    bool across = s->form == DX || s->form == DW;
    p->a = (fl_stored){FL_F32, m, k, s->form == DW ? 1 : k, s->form == DW ? m : 1, a};
    p->b = (fl_stored){s->type, n, k, across ? 1 : k, across ? n : 1, b};
    if (!a || !b || !p->values || !p->c)
        return fl_fail(FL_ERR_MEMORY, "matrices of %lld x %lld x %lld", (long long)m, (long long)n, (long long)k);
    if (b != p->values) fl_from_f32(s->type, p->values, b, n * k);
    return s->form == PACKED ? d->table->pack(d, &p->b, &p->packed) : FL_OK;
}

static void product_close(product *p)
{
    if (p->packed) p->d->table->packed_free(p->d, p->packed);
    if (p->b.data != p->values) fl_free_aligned((void *)(uintptr_t)p->b.data);
    fl_free_aligned((void *)(uintptr_t)p->a.data);
    fl_free_aligned(p->values);
    fl_free_aligned(p->c);
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* Best rate of runs that together take a while. */
static double best_of(const bed *b, const product *p, double amount, bool theirs)
{
    double best = 0, start = fl_roof_seconds(b->d), seconds = 0;
    for (int times = 0; times < 2 || seconds < ROUND_SECONDS; times++) {
        double t = fl_roof_seconds(b->d);
        if (!theirs)
            run_ours(p);
        else if (!run_theirs(&b->other, p))
            return 0;
        double now = fl_roof_seconds(b->d);
        best = larger(best, amount / (now - t));
        seconds = now - start;
    }
    return best;
}

static void print_row(const bed *b, const shape *s, bool reading, double ours, double roof, double theirs)
{
    const char *type = fl_dtype_get(s->type)->name, *unit = reading ? "GB/s" : s->type == FL_Q8_0 ? "GOP/s" : "GFLOP/s";
    if (b->json) {
        json_array_append_new(b->rows, json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:f, s:f, s:f}", "form",
                                                 form_name[s->form], "type", type, "rows", (json_int_t)s->m, "outputs",
                                                 (json_int_t)s->n, "inputs", (json_int_t)s->k, "unit", unit, "furlong",
                                                 ours, "roof", roof, "onednn", theirs));
        return;
    }
    char size[48], share[16] = "-", other[16] = "-";
    snprintf(size, sizeof size, "%lld x %lld x %lld", (long long)s->m, (long long)s->n, (long long)s->k);
    if (roof > 0) snprintf(share, sizeof share, "%.2f", ours / roof);
    if (theirs > 0) snprintf(other, sizeof other, "%.1f", theirs);
    printf("%-16s %-5s %-20s %9.1f %-8s %9.1f %6s %9s\n", form_name[s->form], type, size, ours, unit, roof, share,
           other);
    fflush(stdout);
}

static fl_status measure(const bed *b, const shape *s)
{
    product p;
    fl_status status = product_open(&p, b->d, s);
    bool reading = s->m < READ_ROWS;
    double bytes = (double)b->d->table->packed_bytes(b->d, &p.b);
    double amount = reading ? bytes * 1e-9 : 2e-9 * (double)(s->m * s->n) * (double)s->k;
    double ours = 0, roof = 0, theirs = 0;
    for (int round = 0; status == FL_OK && round < ROUNDS; round++) {
        double top = reading ? fl_roof_read(b->d, b->read, READ_BYTES < (size_t)bytes ? READ_BYTES : (size_t)bytes)
                     : s->type == FL_Q8_0 ? fl_roof_byte_products(b->d)
                                          : fl_roof_multiply_adds(b->d);
        roof = larger(roof, top * 1e-9);
        ours = larger(ours, best_of(b, &p, amount, false));
    }
    for (int round = 0; status == FL_OK && round < ROUNDS / 2; round++)
        theirs = larger(theirs, best_of(b, &p, amount, true));
    if (status == FL_OK) print_row(b, s, reading, ours, roof, theirs);
    if (theirs > 0) usleep(20000); /* its threads spin for a while */
    product_close(&p);
    return status;
}

int cli_bench_gemm(const cli_common *common)
{
    cli_work work = {0};
    int status = cli_open_engine(&work, common);
    if (status != CLI_OK) return status;
    bed b = {
        .d = work.engine->device, .json = common->json, .rows = json_array(), .read = fl_alloc_aligned(READ_BYTES)};
    int threads = fl_engine_threads(work.engine);
    const char *cpu = fl_engine_cpu(work.engine);
    onednn_open(&b.other, threads);
    fl_status s = FL_OK;
    if (!b.rows || !b.read) s = fl_fail(FL_ERR_MEMORY, "room for reading");
    if (s == FL_OK) memset(b.read, 1, READ_BYTES);
    if (s == FL_OK && !b.json) {
        printf("%d threads, %s kernels; beside them %s\n", threads, cpu, *b.other.name ? b.other.name : "no oneDNN");
        printf("%-16s %-5s %-20s %9s %-8s %9s %6s %9s\n", "product", "type", "rows x out x in", "furlong", "", "roof",
               "share", "oneDNN");
    }
    for (size_t i = 0; s == FL_OK && i < sizeof shapes / sizeof *shapes; i++)
        s = measure(&b, &shapes[i]);
    if (s != FL_OK)
        status = cli_failed(s);
    else if (!b.json)
        status = cli_finish_output();
    else
        status = cli_print_json(json_pack("{s:i, s:s, s:s, s:O}", "threads", threads, "cpu", cpu, "onednn",
                                          b.other.name, "products", b.rows));
    json_decref(b.rows);
    fl_free_aligned(b.read);
    cli_close(&work);
    return status;
}
