/* Reading the model of tokenizer.json: vocabulary, merges, scores. */
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "text/pipeline.h"

static fl_status bad_piece(const fl_json_at *at, const char *piece, size_t length, const char *why)
{
    char text[FL_SHOWN], shown[FL_SHOWN];
    size_t n = length < FL_SHOWN - 1 ? length : FL_SHOWN - 1;
    memcpy(text, piece, n);
    text[n] = 0;
    return fl_fail(FL_ERR_FORMAT, "%s: %svocab: \"%s\": %s", at->file, at->prefix, fl_show_text(shown, text), why);
}

static fl_status add_piece(fl_tokenizer *t, const fl_json_at *at, int64_t id, const char *piece, size_t length)
{
    if (length > FL_PIECE_BYTES) return bad_piece(at, piece, length, "longer than 1024 bytes");
    fl_status status = fl_vocab_set(&t->vocab, id, piece, length);
    return status == FL_OK ? FL_OK : fl_fail_within(status, "%s: %svocab", at->file, at->prefix);
}

/* ---- BPE ---------------------------------------------------------------------------------------------------- */

static fl_status read_bpe_vocab(fl_tokenizer *t, const fl_json_at *at, const json_t *vocab)
{
    const char *piece;
    json_t *value;
    /* Sizes: a file of n pieces may leave gaps, but not make tables of another size. */
    const int64_t most = 4 * (int64_t)json_object_size(vocab) + 65536;
    json_object_foreach((json_t *)vocab, piece, value)
    {
        size_t length = strlen(piece);
        if (!json_is_integer(value)) return bad_piece(at, piece, length, "its id is not an integer");
        if (json_integer_value(value) < 0 || json_integer_value(value) > most)
            return bad_piece(at, piece, length, "its id is negative or far beyond the number of pieces");
        FL_TRY(add_piece(t, at, json_integer_value(value), piece, length));
    }
    return FL_OK;
}

/* "left right" or ["left", "right"] */
static bool merge_parts(const json_t *merge, const char **left, size_t *left_length, const char **right,
                        size_t *right_length)
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        if (!space || strchr(space + 1, ' ')) return false;
        *left = text;
        *left_length = (size_t)(space - text);
        *right = space + 1;
        *right_length = strlen(*right);
        return true;
    }
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b)) return false;
    *left = json_string_value(a);
    *left_length = json_string_length(a);
    *right = json_string_value(b);
    *right_length = json_string_length(b);
    return true;
}

/* The symbols that can stand unmerged at one end of a piece: its character there, a byte piece, the unknown piece. */
static int end_symbols(const fl_tokenizer *t, const char *s, size_t n, bool at_end, int32_t symbol[3])
{
    int count = 0;
    size_t character = fl_utf8_step(s, n);
    if (at_end)
        for (character = 1; character < n && ((uint8_t)s[n - character] & 0xC0) == 0x80;)
            character++;
    const char *end = s + n;
    symbol[count] = fl_pipeline_model_piece(t, at_end ? end - character : s, character);
    count += symbol[count] >= 0;
    if (n >= 6 && fl_byte_piece(at_end ? end - 6 : s, 6) >= 0) {
        symbol[count] = fl_pipeline_model_piece(t, at_end ? end - 6 : s, 6);
        count += symbol[count] >= 0;
    }
    size_t unk_length = 0;
    const char *unk = fl_vocab_piece(&t->vocab, t->unk, &unk_length);
    if (unk && unk_length && unk_length <= n && memcmp(at_end ? end - unk_length : s, unk, unk_length) == 0)
        symbol[count++] = t->unk;
    return count;
}

static fl_status add_merge(fl_tokenizer *t, const fl_json_at *at, size_t rank, const json_t *merge)
{
    const char *left, *right;
    size_t left_length, right_length;
    char joined[2 * FL_PIECE_BYTES], shown[FL_SHOWN];
    if (!merge_parts(merge, &left, &left_length, &right, &right_length))
        return fl_fail(FL_ERR_FORMAT, "%s: %smerges[%zu] = %s: must be two pieces", at->file, at->prefix, rank,
                       fl_show_json(shown, merge));
    int32_t a = fl_pipeline_model_piece(t, left, left_length), b = fl_pipeline_model_piece(t, right, right_length),
            result = -1;
    if (a >= 0 && b >= 0) { /* so both are at most FL_PIECE_BYTES long */
        memcpy(joined, left, left_length);
        memcpy(joined + left_length, right, right_length);
        result = fl_pipeline_model_piece(t, joined, left_length + right_length);
    }
    if (result < 0)
        return fl_fail(FL_ERR_FORMAT, "%s: %smerges[%zu] = %s: %s not in the vocabulary", at->file, at->prefix, rank,
                       fl_show_json(shown, merge),
                       a < 0   ? "the first piece is"
                       : b < 0 ? "the second piece is"
                               : "both joined are");
    FL_TRY(fl_bpe_add(&t->bpe, a, b, (uint32_t)rank, result));
    int32_t last[3], first[3];
    int lasts = left_length ? end_symbols(t, left, left_length, true, last) : 0;
    int firsts = right_length ? end_symbols(t, right, right_length, false, first) : 0;
    for (int i = 0; i < lasts; i++)
        for (int k = 0; k < firsts; k++)
            FL_TRY(fl_bpe_seam(&t->bpe, last[i], first[k]));
    return FL_OK;
}

/* Keys that must be absent, null, 0, false or "". */
static fl_status must_be_off(const fl_json_at *at, const char *key)
{
    const json_t *value = json_object_get(at->object, key);
    if (!value || json_is_null(value) || json_is_false(value)) return FL_OK;
    if (json_is_string(value) && json_string_length(value) == 0) return FL_OK;
    if (json_is_number(value) && json_number_value(value) == 0) return FL_OK;
    return fl_json_fail(FL_ERR_UNSUPPORTED, at, key, "is not supported; only null is");
}

static fl_status read_bpe(fl_tokenizer *t, const fl_json_at *at)
{
    const json_t *vocab = json_object_get(at->object, "vocab"), *merges = json_object_get(at->object, "merges");
    const char *unk = NULL;
    if (!json_is_object(vocab)) return fl_json_fail(FL_ERR_FORMAT, at, "vocab", "must be an object of piece: id");
    if (!json_is_array(merges)) return fl_json_fail(FL_ERR_FORMAT, at, "merges", "must be a list");
    FL_TRY(must_be_off(at, "dropout"));
    FL_TRY(must_be_off(at, "continuing_subword_prefix"));
    FL_TRY(must_be_off(at, "end_of_word_suffix"));
    FL_TRY(fl_json_bool(at, "fuse_unk", &t->pipeline->fuse_unk));
    FL_TRY(fl_json_bool(at, "byte_fallback", &t->pipeline->byte_fallback));
    FL_TRY(fl_json_bool(at, "ignore_merges", &t->pipeline->ignore_merges));
    FL_TRY(fl_json_string(at, "unk_token", &unk));
    FL_TRY(read_bpe_vocab(t, at, vocab));
    if (unk) {
        t->unk = fl_vocab_find(&t->vocab, unk, strlen(unk));
        if (t->unk < 0) return fl_json_fail(FL_ERR_FORMAT, at, "unk_token", "is not in the vocabulary");
    }
    if (!(t->pipeline->only_added = fl_calloc((size_t)t->vocab.count + 1, 1))) return FL_ERR_MEMORY;
    for (size_t i = 0; i < json_array_size(merges); i++)
        FL_TRY(add_merge(t, at, i, json_array_get(merges, i)));
    t->kind = "bpe";
    return FL_OK;
}

/* ---- unigram ------------------------------------------------------------------------------------------------ */

static fl_status read_unigram(fl_tokenizer *t, const fl_json_at *at)
{
    fl_unigram *u = &t->unigram;
    const json_t *vocab = json_object_get(at->object, "vocab");
    const size_t count = json_array_size(vocab);
    int64_t unk = -1;
    if (count == 0) return fl_json_fail(FL_ERR_FORMAT, at, "vocab", "must be a list of [piece, score]");
    FL_TRY(fl_json_bool(at, "byte_fallback", &t->pipeline->byte_fallback));
    FL_TRY(fl_json_int(at, "unk_id", 0, (int64_t)count - 1, &unk, NULL));
    u->score = fl_calloc(count, sizeof(double));
    fl_trie_key *keys = fl_calloc(count, sizeof(*keys));
    fl_status status = u->score && keys ? FL_OK : FL_ERR_MEMORY;
    double least = INFINITY;
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        const json_t *entry = json_array_get(vocab, i), *piece = json_array_get(entry, 0),
                     *score = json_array_get(entry, 1);
        char shown[FL_SHOWN];
        if (json_array_size(entry) != 2 || !json_is_string(piece) || !json_is_number(score)) {
            status = fl_fail(FL_ERR_FORMAT, "%s: %svocab[%zu] = %s: must be [piece, score]", at->file, at->prefix, i,
                             fl_show_json(shown, entry));
            break;
        }
        status = add_piece(t, at, (int64_t)i, json_string_value(piece), json_string_length(piece));
        u->score[i] = json_number_value(score);
        if (u->score[i] < least) least = u->score[i];
    }
    size_t used = 0;
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        keys[used].bytes = fl_vocab_piece(&t->vocab, (int64_t)i, &keys[used].length);
        keys[used].value = (int32_t)i;
        used += keys[used].length > 0;
    }
    if (status == FL_OK) status = fl_trie_build(&u->trie, keys, used);
    fl_free(keys);
    FL_TRY(status);
    u->unk = t->unk = (int32_t)unk;
    u->unk_score = least - 10.0; /* K_UNK_PENALTY */
    t->is_unigram = true;
    t->kind = "unigram";
    t->pipeline->only_added = fl_calloc((size_t)t->vocab.count + 1, 1);
    return t->pipeline->only_added ? FL_OK : FL_ERR_MEMORY;
}

/* ---- */

static void find_characters(fl_tokenizer *t)
{
    fl_pipeline *pipeline = t->pipeline;
    for (uint32_t cp = 0; cp < 0x800; cp++) {
        char bytes[4];
        size_t n = fl_utf8_encode(cp, bytes);
        pipeline->quick[cp] = fl_pipeline_model_piece(t, bytes, n);
    }
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof(name), "<0x%02X>", (unsigned)b);
        pipeline->byte_id[b] = fl_pipeline_model_piece(t, name, 6);
    }
}

fl_status fl_pipeline_read_model(fl_tokenizer *t, const fl_json_at *root)
{
    const json_t *model = json_object_get(root->object, "model");
    fl_json_at at = {model, root->file, "model."};
    if (!json_is_object(model)) return fl_json_fail(FL_ERR_FORMAT, root, "model", "must be an object");
    /* Old files do not name the type. */
    const char *type = json_is_array(json_object_get(model, "merges"))  ? "BPE"
                       : json_is_array(json_object_get(model, "vocab")) ? "Unigram"
                                                                        : "";
    FL_TRY(fl_json_string(&at, "type", &type));
    if (strcmp(type, "BPE") == 0)
        FL_TRY(read_bpe(t, &at));
    else if (strcmp(type, "Unigram") == 0)
        FL_TRY(read_unigram(t, &at));
    else
        return fl_json_fail(FL_ERR_UNSUPPORTED, &at, "type", "only BPE and Unigram are supported");
    t->pipeline->model_pieces = t->vocab.used;
    find_characters(t);
    return FL_OK;
}
