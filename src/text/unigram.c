#include "text/unigram.h"

#include "base/alloc.h"
#include "text/utf8.h"

/* SentencePiece 0.2.3 keeps its float sums exact enough on long texts by taking the sum at a place off all later ones
 * when it has fallen below this. Which of two equal ways wins depends on it. (Found by
 * experiment; the long runs in tests/data/tokenizers/sentencepiece.golden need it.) */
#define REBASE_BELOW (-100000.0)

/* Best way to end at one place of the text. */
struct fl_unigram_node {
    double score;
    int32_t id;
    uint32_t length; /* bytes of the last piece; 0: no way found yet */
};

void fl_unigram_free(fl_unigram *u)
{
    fl_trie_free(&u->trie);
    fl_free(u->score);
    *u = (fl_unigram){0};
}

void fl_unigram_work_free(fl_unigram_work *w)
{
    fl_free(w->node);
    fl_free(w->path);
    *w = (fl_unigram_work){0};
}

/* Nodes base .. base + upto exist; new ones are empty. */
static bool reserve(fl_unigram_work *w, size_t upto)
{
    if (upto < w->capacity) return true;
    size_t capacity = w->capacity * 2 > upto ? w->capacity * 2 : upto + 1024;
    struct fl_unigram_node *node = fl_realloc(w->node, capacity, sizeof(*node));
    if (!node) return false;
    w->node = node;
    for (size_t i = w->capacity; i < capacity; i++)
        node[i] = (struct fl_unigram_node){0, 0, 0};
    w->capacity = capacity;
    return true;
}

static void offer(struct fl_unigram_node *node, double score, int32_t id, size_t length, bool single)
{
    if (single) score = (double)(float)score;
    if (node->length && !(score > node->score)) return;
    node->score = score;
    node->id = id;
    node->length = (uint32_t)length;
}

/* Hand out the best path to node `end`, text being the place of node 0, and make that node the new node 0. */
static fl_status flush(fl_unigram_work *w, size_t end, const char *text, fl_unigram_emit emit, void *user)
{
    size_t pieces = 0;
    for (size_t at = end; at > 0; at -= w->node[at].length) {
        if (pieces == w->path_capacity) {
            size_t capacity = w->path_capacity ? w->path_capacity * 2 : 256;
            void *path = fl_realloc(w->path, capacity, sizeof(*w->path));
            if (!path) return FL_ERR_MEMORY;
            w->path = path;
            w->path_capacity = capacity;
        }
        w->path[pieces++] = (struct fl_unigram_piece){w->node[at].id, w->node[at].length};
    }
    while (pieces) {
        struct fl_unigram_piece p = w->path[--pieces];
        FL_TRY(emit(user, p.id, text, p.length));
        text += p.length;
    }
    w->node[0].score = w->node[end].score;
    for (size_t i = 1; i <= end; i++)
        w->node[i].length = 0;
    return FL_OK;
}

fl_status fl_unigram_encode(const fl_unigram *u, fl_unigram_work *w, const char *text, size_t length,
                            fl_unigram_emit emit, void *user)
{
    size_t base = 0, reach = 0; /* node 0 stands at text + base; some piece found so far ends at reach */
    if (!reserve(w, 8)) return FL_ERR_MEMORY;
    w->node[0] = (struct fl_unigram_node){0, 0, 0};
    for (size_t at = 0; at < length;) {
        if (at == reach && at > base) {
            /* Every path runs through this place: what lies before is decided and its memory can be used again. The
             * sum goes on, because its rounding decides between equals later. */
            FL_TRY(flush(w, at - base, text + base, emit, user));
            base = at;
        }
        double here = w->node[at - base].score;
        if (u->single && here < REBASE_BELOW) {
            for (size_t i = at - base; i <= reach - base; i++)
                w->node[i].score = (double)(float)(w->node[i].score - here);
            here = 0;
        }
        size_t character = fl_utf8_lead(text + at, length - at);
        bool known = false;
        uint32_t node = 0;
        for (size_t end = at; end < length;) {
            node = fl_trie_step(&u->trie, node, (uint8_t)text[end]);
            if (node == 0) break;
            end++;
            w->steps++;
            int32_t id = u->trie.node[node].value;
            if (id < 0) continue;
            if (!reserve(w, end - base)) return FL_ERR_MEMORY;
            offer(&w->node[end - base], u->score[id] + here, id, end - at, u->single);
            if (end > reach) reach = end;
            if (end - at == character) known = true;
        }
        w->steps++;
        if (!known) {
            if (u->unk < 0)
                return fl_fail(FL_ERR_FORMAT,
                               "tokenizer: model.unk_id is missing and the text has a character, \"%.*s\", "
                               "that no piece covers",
                               (int)character, text + at);
            size_t end = at + character;
            if (!reserve(w, end - base)) return FL_ERR_MEMORY;
            offer(&w->node[end - base], u->unk_score + here, u->unk, character, u->single);
            if (end > reach) reach = end;
        }
        at += character;
    }
    return length > base ? flush(w, length - base, text + base, emit, user) : FL_OK;
}
