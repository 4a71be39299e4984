#include "layer/attention_plan.h"

#include <math.h>

#include "base/size.h"
#include "position/xpos.h"

/* How positions of one sequence map to the keys its memory holds: `evicted` of them are gone from `hole` on. */
typedef struct key_map {
    int64_t base; /* position of key 0 */
    int64_t hole, evicted;
    int64_t before, rows;
} key_map;

int64_t fl_attention_keys(const fl_batch_seq *s)
{
    return s->memory ? fl_memory_tokens(s->memory) - fl_memory_evicted(s->memory) : 0;
}

static key_map map_of(const fl_batch_seq *s)
{
    key_map m = {.base = s->first_position, .hole = INT64_MAX, .before = fl_attention_keys(s), .rows = s->rows};
    if (!s->memory) return m;
    m.base -= fl_memory_tokens(s->memory);
    m.evicted = fl_memory_evicted(s->memory);
    if (m.evicted) m.hole = fl_memory_hole(s->memory);
    return m;
}

static int64_t key_at(const key_map *m, int64_t position)
{
    int64_t key = fl_max64(0, position - m->base);
    return key <= m->hole ? key : fl_max64(m->hole, key - m->evicted);
}

static int64_t position_of(const key_map *m, int64_t key)
{
    return m->base + (key < m->hole ? key : key + m->evicted);
}

void *fl_attention_memory(fl_run *r, size_t count, size_t size)
{
    size_t bytes;
    void *p = fl_size_mul(count, size, &bytes) ? fl_arena_alloc(r->nodes, bytes) : NULL;
    return p ? p : fl_run_fail(r, FL_ERR_MEMORY, "%s", fl_error_message());
}

static fl_angles angles_new(fl_run *r, int64_t rows, int pairs)
{
    float *both = fl_run_floats(r, 2 * rows * pairs);
    return both ? (fl_angles){both, both + rows * pairs} : (fl_angles){0};
}

/* ---- key ranges ------------------------------------------------------------------------------------------------- */

static void prepare_ranges(fl_run *r, fl_attention_plan *plan)
{
    const fl_batch *b = r->batch;
    for (int p = 0; p < plan->passes; p++) {
        plan->pass[p].lo = fl_attention_memory(r, (size_t)b->rows, sizeof(int64_t));
        plan->pass[p].hi = fl_attention_memory(r, (size_t)b->rows, sizeof(int64_t));
    }
    if (r->status != FL_OK) return;
    for (int i = 0; i < b->sequences; i++) {
        const fl_batch_seq *s = &b->seq[i];
        key_map map = map_of(s);
        for (int64_t j = 0; j < s->rows; j++) {
            fl_pass pass[FL_PASSES_MAX];
            fl_passes_compile(&plan->scheme->passes, s->first_position + j, pass);
            if (plan->scheme->bidirectional) pass[0].hi = s->first_position + s->rows;
            for (int p = 0; p < plan->passes; p++) {
                int64_t lo = key_at(&map, pass[p].lo), hi = key_at(&map, pass[p].hi);
                plan->pass[p].lo[s->first_row + j] = lo;
                plan->pass[p].hi[s->first_row + j] = hi;
                if (lo < hi) plan->pass[p].seen = true;
            }
        }
    }
}

/* ---- angles ----------------------------------------------------------------------------------------------------- */

/* The schedule of one sequence in this pass. */
typedef struct schedule {
    double freq[FL_ROPE_MAX_PAIRS], magnitude;
    int64_t centre; /* of xPos: the first query */
} schedule;

static void angles_at(const fl_attention_plan *plan, const schedule *f, double position, bool key, float *cos_out,
                      float *sin_out)
{
    if (plan->scheme->xpos)
        fl_xpos_angles(f->freq, plan->pairs, key, f->centre, position, cos_out, sin_out);
    else
        fl_rope_angles(f->freq, plan->pairs, f->magnitude, position, cos_out, sin_out);
}

static void fill_rows(const fl_attention_plan *plan, const schedule *f, const fl_batch_seq *s)
{
    const fl_passes_method *method = fl_passes_method_of(&plan->scheme->passes);
    for (int64_t j = 0; j < s->rows; j++) {
        int64_t position = s->first_position + j;
        ptrdiff_t at = (s->first_row + j) * plan->pairs;
        fl_pass pass[FL_PASSES_MAX];
        fl_passes_compile(&plan->scheme->passes, position, pass);
        for (int p = 0; p < (plan->one_query ? 1 : plan->passes); p++)
            angles_at(plan, f, s->position ? s->position[j] : pass[p].query, false, plan->pass[p].query.cos + at,
                      plan->pass[p].query.sin + at);
        if (plan->stored.cos)
            angles_at(plan, f, method->stored ? method->stored(&plan->scheme->passes, position) : (double)position,
                      true, plan->stored.cos + at, plan->stored.sin + at);
    }
}

/* Angles that turn keys from where they are stored to where pass p wants them. Keys stored unrotated are turned in
 * full; others carry the magnitude already. */
static void fill_keys(const fl_attention_plan *plan, const schedule *f, const key_map *map, bool own, bool unrotated,
                      const fl_key_angles *keys)
{
    const fl_passes *passes = &plan->scheme->passes;
    const fl_passes_method *method = fl_passes_method_of(passes);
    int64_t end = map->before + map->rows;
    float c[FL_ROPE_MAX_PAIRS], s[FL_ROPE_MAX_PAIRS];
    for (int64_t key = keys->first; key < end; key++) {
        int64_t position = position_of(map, key);
        double stored = method->stored ? method->stored(passes, position) : (double)position;
        double wanted = own ? (double)position : stored;
        if (unrotated)
            angles_at(plan, f, wanted, true, c, s);
        else
            fl_rope_angles(f->freq, plan->pairs, 1, wanted - stored, c, s);
        ptrdiff_t tile = (key - keys->first) / FL_TILE_KEYS * FL_TILE_KEYS * plan->pairs + key % FL_TILE_KEYS;
        for (int i = 0; i < plan->pairs; i++) {
            keys->tile.cos[tile + (ptrdiff_t)i * FL_TILE_KEYS] = c[i];
            keys->tile.sin[tile + (ptrdiff_t)i * FL_TILE_KEYS] = s[i];
        }
    }
}

static int64_t first_seen(const fl_attention_pass *pass, const fl_batch_seq *s, int64_t none)
{
    for (int64_t row = s->first_row; row < s->first_row + s->rows; row++)
        if (pass->lo[row] < pass->hi[row]) none = fl_min64(none, pass->lo[row]);
    return none;
}

static void prepare_keys(fl_run *r, fl_attention_plan *plan, int p, int sequence, const schedule *f, bool unrotated)
{
    const fl_batch_seq *s = &r->batch->seq[sequence];
    fl_attention_pass *pass = &plan->pass[p];
    key_map map = map_of(s);
    int64_t end = map.before + map.rows;
    fl_key_angles *keys = &pass->keys[sequence];
    keys->first = first_seen(pass, s, end) / FL_PAGE_TOKENS * FL_PAGE_TOKENS;
    int64_t tiles = (end - keys->first + FL_TILE_KEYS - 1) / FL_TILE_KEYS;
    keys->tile = angles_new(r, fl_max64(1, tiles) * FL_TILE_KEYS, plan->pairs);
    if (r->status != FL_OK || fl_arena_counting(r->data)) return;
    fill_keys(plan, f, &map, fl_passes_method_of(&plan->scheme->passes)->own[p], unrotated, keys);
}

static fl_status schedule_of(const fl_scheme *scheme, const fl_batch_seq *s, schedule *f)
{
    f->centre = s->first_position;
    if (s->position && (s->memory || scheme->xpos || scheme->passes.kind != FL_PASSES_PLAIN))
        return fl_fail(FL_ERR_UNSUPPORTED, "drawn positions are for plain rotary sequences without a memory");
    if (scheme->xpos && s->rows > FL_XPOS_ROWS)
        return fl_fail(FL_ERR_WINDOW, "xPos: %lld tokens at once, whose scales leave fp32 beyond %d: read in chunks",
                       (long long)s->rows, FL_XPOS_ROWS);
    int64_t length = fl_max64(s->length, s->first_position + s->rows);
    return fl_rope_frequencies(scheme->rope, fl_passes_span(&scheme->passes, length), f->freq, &f->magnitude);
}

static void prepare_angles(fl_run *r, fl_attention_plan *plan)
{
    const fl_batch *b = r->batch;
    const fl_passes_method *method = fl_passes_method_of(&plan->scheme->passes);
    /* Only a memory outlives the present length; keys of recorded sequences, which have none, are rotated at once. */
    bool xpos = plan->scheme->xpos;
    bool unrotated = (fl_rope_depends_on_length(plan->scheme->rope) || xpos) && !r->recording;
    plan->pairs = plan->scheme->rope->dim / 2;
    for (int p = 0; p < plan->passes; p++) {
        fl_attention_pass *pass = &plan->pass[p];
        pass->query = p > 0 && plan->one_query ? plan->pass[0].query : angles_new(r, b->rows, plan->pairs);
        if (unrotated || method->own[p]) pass->keys = fl_attention_memory(r, (size_t)b->sequences, sizeof *pass->keys);
    }
    if (method->stored || (xpos && !unrotated)) plan->stored = angles_new(r, b->rows, plan->pairs);
    for (int i = 0; i < b->sequences && r->status == FL_OK; i++) {
        schedule f;
        if (schedule_of(plan->scheme, &b->seq[i], &f) != FL_OK) {
            fl_run_fail(r, FL_ERR_ARGUMENT, "%s", fl_error_message());
            return;
        }
        if (!fl_arena_counting(r->data)) fill_rows(plan, &f, &b->seq[i]);
        for (int p = 0; p < plan->passes; p++)
            if (plan->pass[p].keys) prepare_keys(r, plan, p, i, &f, unrotated);
    }
    /* The first pass of every scheme without a rule for stored keys rotates queries at their own position. */
    if (!plan->stored.cos) plan->stored = plan->pass[0].query;
    if (unrotated) plan->stored = (fl_angles){0};
}

static double logn_factor(const fl_scheme *scheme, const fl_batch_seq *s, int64_t position)
{
    int64_t tokens = scheme->logn == FL_LOGN_LENGTH ? fl_max64(s->length, s->first_position + s->rows) : position + 1;
    if (scheme->passes.kind == FL_PASSES_STREAM) tokens = fl_passes_span(&scheme->passes, tokens);
    double seen = log((double)tokens), window = log((double)scheme->logn_window);
    if (scheme->logn == FL_LOGN_LENGTH) return 1 + 0.1 * fmax(0, seen - window);
    return scheme->logn == FL_LOGN_BEYOND ? fmax(1, seen / window) : seen / window;
}

static void prepare_logn(fl_run *r, fl_attention_plan *plan)
{
    const fl_scheme *scheme = plan->scheme;
    plan->logit_scale = fl_run_floats(r, r->batch->rows);
    if (r->status != FL_OK || fl_arena_counting(r->data)) return;
    for (int i = 0; i < r->batch->sequences; i++) {
        const fl_batch_seq *s = &r->batch->seq[i];
        for (int64_t j = 0; j < s->rows; j++)
            plan->logit_scale[s->first_row + j] = (float)logn_factor(scheme, s, s->first_position + j);
    }
}

/* Group g of the one half is tokens [g G, (g + 1) G) of a sequence, of the other one half a group further. */
static void prepare_groups(fl_run *r, fl_attention_plan *plan)
{
    int64_t group = plan->scheme->shifted_group, shift = group / 2;
    if (plan->passes > 1 || plan->scheme->passes.kind != FL_PASSES_PLAIN || plan->scheme->bidirectional) {
        fl_run_fail(r, FL_ERR_UNSUPPORTED, "shifted sparse attention goes with plain causal attention only");
        return;
    }
    plan->halves = true;
    plan->pass[1].hi = plan->pass[0].hi;
    plan->pass[1].lo = fl_attention_memory(r, (size_t)r->batch->rows, sizeof(int64_t));
    for (int i = 0; i < r->batch->sequences && r->status == FL_OK; i++) {
        const fl_batch_seq *s = &r->batch->seq[i];
        if (s->memory) {
            fl_run_fail(r, FL_ERR_UNSUPPORTED, "shifted sparse attention is for training: read with full attention");
            return;
        }
        for (int64_t j = 0; j < s->rows; j++) {
            int64_t *lo[] = {&plan->pass[0].lo[s->first_row + j], &plan->pass[1].lo[s->first_row + j]};
            *lo[1] = fl_max64(*lo[0], j < shift ? 0 : (j - shift) / group * group + shift);
            *lo[0] = fl_max64(*lo[0], j / group * group);
        }
    }
}

void fl_attention_prepare(fl_run *r, const fl_scheme *scheme)
{
    if (r->status != FL_OK) return;
    if (r->recording && scheme->passes.kind != FL_PASSES_PLAIN) {
        fl_run_fail(r, FL_ERR_UNSUPPORTED, "%s serves inference only: train with another rope scaling",
                    fl_passes_name(&scheme->passes));
        return;
    }
    if ((scheme->alibi || scheme->xpos) && scheme->passes.kind != FL_PASSES_PLAIN) {
        fl_run_fail(r, FL_ERR_UNSUPPORTED, "%s changes rotary positions: a model with %s has none",
                    fl_passes_name(&scheme->passes), scheme->alibi ? "ALiBi" : "xPos");
        return;
    }
    fl_attention_plan *plan = fl_attention_memory(r, 1, sizeof *plan);
    if (!plan) return;
    *plan = (fl_attention_plan){.scheme = scheme,
                                .passes = fl_passes_count(&scheme->passes),
                                .one_query = fl_passes_method_of(&scheme->passes)->one_query};
    prepare_ranges(r, plan);
    if (scheme->shifted_group > 0 && r->status == FL_OK) prepare_groups(r, plan);
    if (scheme->rope && r->status == FL_OK) prepare_angles(r, plan);
    if (scheme->logn != FL_LOGN_OFF && r->status == FL_OK) prepare_logn(r, plan);
    r->attention = plan;
}

void fl_attention_evict(const fl_scheme *scheme, fl_memory *memory)
{
    const fl_passes *s = &scheme->passes;
    if (s->kind != FL_PASSES_STREAM) return;
    fl_memory_evict(memory, s->sinks, fl_memory_tokens(memory) + 1 - s->window - FL_PAGE_TOKENS);
}
