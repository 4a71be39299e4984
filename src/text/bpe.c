#include "text/bpe.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "text/vocab.h"

/* Stretches up to this many symbols are merged by looking at every pair each time: at most 64 looks per symbol, and
 * faster than any queue for words. */
#define SHORT 64

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static fl_bpe_rule *probe(const fl_bpe *b, int32_t left, int32_t right)
{
    uint64_t i = fl_text_mix(pair_key(left, right) ^ b->seed) & b->mask;
    for (;; i = (i + 1) & b->mask) {
        fl_bpe_rule *r = &b->rule[i];
        if (r->rank == FL_BPE_NO_RANK || (r->left == (uint32_t)left && r->right == (uint32_t)right)) return r;
    }
}

const fl_bpe_rule *fl_bpe_find(const fl_bpe *b, int32_t left, int32_t right)
{
    if (!b->rule) return NULL;
    const fl_bpe_rule *r = probe(b, left, right);
    return r->rank == FL_BPE_NO_RANK ? NULL : r;
}

static bool grow_rules(fl_bpe *b)
{
    uint64_t slots = b->rule ? (b->mask + 1) * 2 : 1024;
    fl_bpe_rule *rule = fl_calloc(slots, sizeof(*rule));
    if (!rule) return false;
    for (uint64_t i = 0; i < slots; i++)
        rule[i].rank = FL_BPE_NO_RANK;
    fl_bpe old = *b;
    b->rule = rule;
    b->mask = slots - 1;
    b->seed = fl_text_mix((uint64_t)(uintptr_t)rule); /* differs from run to run: no prepared collisions */
    for (uint64_t i = 0; old.rule && i <= old.mask; i++)
        if (old.rule[i].rank != FL_BPE_NO_RANK)
            *probe(b, (int32_t)old.rule[i].left, (int32_t)old.rule[i].right) = old.rule[i];
    fl_free(old.rule);
    return true;
}

fl_status fl_bpe_add(fl_bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t result)
{
    if (!b->rule || (uint64_t)b->rules * 2 > b->mask)
        if (!grow_rules(b)) return FL_ERR_MEMORY;
    fl_bpe_rule *r = probe(b, left, right);
    if (r->rank == FL_BPE_NO_RANK) b->rules++;
    *r = (fl_bpe_rule){(uint32_t)left, (uint32_t)right, rank, result};
    if (rank >= b->ranks) b->ranks = rank + 1;
    return FL_OK;
}

/* Slot that holds the key, or the empty one where it belongs. Keys are stored plus one, so that 0 is empty. */
static uint64_t *probe_seam(const fl_bpe *b, uint64_t key)
{
    uint64_t i = fl_text_mix(key ^ b->seam_seed) & b->seam_mask;
    while (b->seam[i] && b->seam[i] != key + 1)
        i = (i + 1) & b->seam_mask;
    return &b->seam[i];
}

fl_status fl_bpe_seam(fl_bpe *b, int32_t last, int32_t first)
{
    if (!b->seam || (uint64_t)b->seams * 2 > b->seam_mask) {
        uint64_t slots = b->seam ? (b->seam_mask + 1) * 2 : 1024;
        uint64_t *seam = fl_calloc(slots, sizeof(uint64_t));
        if (!seam) return FL_ERR_MEMORY;
        fl_bpe old = *b;
        b->seam = seam;
        b->seam_mask = slots - 1;
        b->seam_seed = fl_text_mix((uint64_t)(uintptr_t)seam);
        for (uint64_t i = 0; old.seam && i <= old.seam_mask; i++)
            if (old.seam[i]) *probe_seam(b, old.seam[i] - 1) = old.seam[i];
        fl_free(old.seam);
    }
    uint64_t key = pair_key(last, first);
    uint64_t *slot = probe_seam(b, key);
    if (!*slot) b->seams++;
    *slot = key + 1;
    return FL_OK;
}

void fl_bpe_free(fl_bpe *b)
{
    fl_free(b->rule);
    fl_free(b->seam);
    *b = (fl_bpe){0};
}

void fl_bpe_work_free(fl_bpe_work *w)
{
    fl_bpe_queue_free(w->queue);
    fl_free(w->seen);
    *w = (fl_bpe_work){0};
}

typedef struct candidate {
    uint32_t rank; /* FL_BPE_NO_RANK: the pair has no rule */
    int32_t result;
} candidate;

static candidate look(const fl_bpe *b, const int32_t *pair)
{
    const fl_bpe_rule *r = probe(b, pair[0], pair[1]);
    return (candidate){r->rank, r->result};
}

static int64_t merge_short(const fl_bpe *b, fl_bpe_work *w, int32_t *symbol, int64_t count)
{
    candidate pair[SHORT];
    int n = (int)count;
    for (int i = 0; i + 1 < n; i++)
        pair[i] = look(b, symbol + i);
    for (;;) {
        uint32_t best = FL_BPE_NO_RANK;
        int at = -1;
        for (int i = 0; i + 1 < n; i++)
            if (pair[i].rank < best) {
                best = pair[i].rank;
                at = i;
            }
        w->steps += n;
        if (at < 0) return n;
        symbol[at] = pair[at].result;
        size_t rest = (size_t)(n - at - 2);
        memmove(symbol + at + 1, symbol + at + 2, rest * sizeof(*symbol));
        memmove(pair + at, pair + at + 1, rest * sizeof(*pair));
        n--;
        if (at > 0) pair[at - 1] = look(b, symbol + at - 1);
        if (at + 1 < n) pair[at] = look(b, symbol + at);
    }
}

fl_status fl_bpe_merge(const fl_bpe *b, fl_bpe_work *w, int32_t *symbol, int64_t *count)
{
    int64_t kept = 0;
    if (!b->rule) return FL_OK;
    for (int64_t from = 0, end; from < *count; from = end) {
        end = *count;
        if (end - from > SHORT) /* a word is merged whole: looking for seams would cost more than it saves */
            for (end = from + 1; end < *count; end++)
                if (!b->seam || !*probe_seam(b, pair_key(symbol[end - 1], symbol[end]))) break;
        int64_t n = end - from;
        w->steps += n;
        if (n > SHORT) {
            if (n >= UINT32_MAX)
                return fl_fail(FL_ERR_UNSUPPORTED,
                               "tokenizer: %" PRId64 " symbols in a row without a place to cut; split the text", n);
            n = fl_bpe_merge_long(b, w, symbol + from, n);
            if (n < 0) return FL_ERR_MEMORY;
        } else if (n > 1) {
            n = merge_short(b, w, symbol + from, n);
        }
        memmove(symbol + kept, symbol + from, (size_t)n * sizeof(*symbol));
        kept += n;
    }
    *count = kept;
    return FL_OK;
}
