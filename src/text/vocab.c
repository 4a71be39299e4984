#include "text/vocab.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "file/json.h"

#define MISSING UINT32_MAX

uint64_t fl_text_hash(const char *s, size_t n, uint64_t seed)
{
    uint64_t h = seed ^ n * UINT64_C(0x9E3779B97F4A7C15);
    for (; n >= 8; s += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, s, 8);
        h = (h ^ fl_text_mix(word)) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    uint64_t word = 0;
    if (n) memcpy(&word, s, n);
    return fl_text_mix(h ^ fl_text_mix(word + seed));
}

/* Slot that holds the spelling, or the empty one where it belongs. */
static uint64_t probe(const fl_vocab *v, const char *piece, size_t length)
{
    uint64_t i = fl_text_hash(piece, length, v->seed) & v->mask;
    for (;; i = (i + 1) & v->mask) {
        int32_t id = v->slot[i];
        if (id < 0) return i;
        const struct fl_vocab_entry *e = &v->entry[id];
        if (e->length == length && memcmp(v->pool.data + e->offset, piece, length) == 0) return i;
    }
}

static bool grow_slots(fl_vocab *v)
{
    uint64_t slots = v->slot ? (v->mask + 1) * 2 : 1024;
    int32_t *slot = fl_realloc(NULL, slots, sizeof(int32_t));
    if (!slot) return false;
    memset(slot, 0xFF, slots * sizeof(int32_t));
    fl_free(v->slot);
    v->slot = slot;
    v->mask = slots - 1;
    /* The address differs from run to run: nobody can prepare a file whose pieces all collide. */
    v->seed = fl_text_mix((uint64_t)(uintptr_t)slot);
    for (int64_t id = 0; id < v->count; id++)
        if (v->entry[id].length != MISSING)
            v->slot[probe(v, v->pool.data + v->entry[id].offset, v->entry[id].length)] = (int32_t)id;
    return true;
}

/* A spelling as a message may show it. */
static const char *show(char shown[FL_SHOWN], const char *piece, size_t length)
{
    char text[FL_SHOWN];
    size_t n = length < FL_SHOWN - 1 ? length : FL_SHOWN - 1;
    memcpy(text, piece, n);
    text[n] = 0;
    return fl_show_text(shown, text);
}

fl_status fl_vocab_set(fl_vocab *v, int64_t id, const char *piece, size_t length)
{
    char shown[FL_SHOWN], other[FL_SHOWN];
    if (id < 0 || id >= FL_VOCAB_MAX_ID)
        return fl_fail(FL_ERR_FORMAT, "id = %" PRId64 ": must be from 0 to %" PRId64, id, FL_VOCAB_MAX_ID - 1);
    if (length >= MISSING) return fl_fail(FL_ERR_FORMAT, "id = %" PRId64 ": the piece has %zu bytes", id, length);
    if (id < v->count && v->entry[id].length != MISSING)
        return fl_fail(FL_ERR_FORMAT, "id = %" PRId64 ": given to two pieces, \"%s\" and \"%s\"", id,
                       show(other, v->pool.data + v->entry[id].offset, v->entry[id].length),
                       show(shown, piece, length));
    if (!v->slot || (uint64_t)v->used * 2 > v->mask)
        if (!grow_slots(v)) return FL_ERR_MEMORY;
    uint64_t slot = probe(v, piece, length);
    if (v->slot[slot] >= 0)
        return fl_fail(FL_ERR_FORMAT, "id = %" PRId64 ": the piece \"%s\" already has the id %d", id,
                       show(shown, piece, length), v->slot[slot]);
    if (id >= v->capacity) {
        int64_t capacity = v->capacity * 2 > id ? v->capacity * 2 : id + 1024;
        void *entry = fl_realloc(v->entry, (size_t)capacity, sizeof(*v->entry));
        if (!entry) return FL_ERR_MEMORY;
        v->entry = entry;
        v->capacity = capacity;
    }
    for (; v->count <= id; v->count++)
        v->entry[v->count] = (struct fl_vocab_entry){0, MISSING};
    v->entry[id] = (struct fl_vocab_entry){v->pool.size, (uint32_t)length};
    fl_buffer_append(&v->pool, piece, length);
    fl_buffer_append(&v->pool, "", 1);
    if (v->pool.failed) return FL_ERR_MEMORY;
    v->slot[slot] = (int32_t)id;
    v->used++;
    if (length > v->longest) v->longest = length;
    return FL_OK;
}

int32_t fl_vocab_find(const fl_vocab *v, const char *piece, size_t length)
{
    if (!v->slot || length > v->longest) return -1;
    return v->slot[probe(v, piece, length)];
}

const char *fl_vocab_piece(const fl_vocab *v, int64_t id, size_t *length)
{
    if (id < 0 || id >= v->count || v->entry[id].length == MISSING) return NULL;
    if (length) *length = v->entry[id].length;
    return v->pool.data + v->entry[id].offset;
}

void fl_vocab_free(fl_vocab *v)
{
    fl_buffer_free(&v->pool);
    fl_free(v->entry);
    fl_free(v->slot);
    *v = (fl_vocab){0};
}
