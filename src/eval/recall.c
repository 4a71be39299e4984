/* Retrieval items of a file, one on a line: group, prompt and answer. */
#include <string.h>

#include "base/alloc.h"
#include "eval/judge.h"
#include "eval/statistics.h"

#define FILE_LIMIT ((size_t)1 << 30)

/* All items of the file as ids. */
typedef struct entry {
    fl_tokens ids;
    int64_t first;
    int group;
} entry;

typedef struct evaluation {
    const char *path;
    const fl_tokenizer *tokenizer;
    fl_recall_group *group;
    entry *entry;
    int64_t count, capacity, tokens, longest;
    int groups, group_capacity;
    fl_buffer text, line;
} evaluation;

static fl_status group_of(evaluation *e, const char *name, size_t n, int64_t number, int *out)
{
    if (n >= sizeof e->group->name)
        return fl_fail(FL_ERR_FORMAT, "%s:%lld: a group's name of %zu bytes; at most %zu", e->path, (long long)number,
                       n, sizeof e->group->name - 1);
    for (int i = 0; i < e->groups; i++)
        if (strlen(e->group[i].name) == n && !memcmp(e->group[i].name, name, n)) {
            *out = i;
            return FL_OK;
        }
    if (e->groups == e->group_capacity) {
        int capacity = e->group_capacity ? 2 * e->group_capacity : 32;
        fl_recall_group *list = fl_realloc(e->group, (size_t)capacity, sizeof *list);
        if (!list) return FL_ERR_MEMORY;
        e->group = list;
        e->group_capacity = capacity;
    }
    fl_recall_group *g = &e->group[e->groups];
    *g = (fl_recall_group){0};
    memcpy(g->name, name, n);
    *out = e->groups++;
    return FL_OK;
}

static fl_status add_entry(evaluation *e, const entry *x)
{
    if (e->count == e->capacity) {
        int64_t capacity = e->capacity ? 2 * e->capacity : 256;
        entry *list = fl_realloc(e->entry, (size_t)capacity, sizeof *list);
        if (!list) return FL_ERR_MEMORY;
        e->entry = list;
        e->capacity = capacity;
    }
    e->entry[e->count++] = *x;
    e->tokens += x->ids.count;
    e->longest = x->ids.count > e->longest ? x->ids.count : e->longest;
    return FL_OK;
}

static fl_status read_line(evaluation *e, const char *line, const char *end, int64_t number)
{
    const char *prompt = memchr(line, '\t', (size_t)(end - line));
    const char *answer = prompt ? memchr(prompt + 1, '\t', (size_t)(end - prompt - 1)) : NULL;
    if (!answer || memchr(answer + 1, '\t', (size_t)(end - answer - 1)))
        return fl_fail(FL_ERR_FORMAT, "%s:%lld: is not a group, a prompt and an answer, separated by tabs", e->path,
                       (long long)number);
    if (answer + 1 == end) return fl_fail(FL_ERR_FORMAT, "%s:%lld: the answer is empty", e->path, (long long)number);
    entry x = {0};
    FL_TRY(group_of(e, line, (size_t)(prompt - line), number, &x.group));
    fl_buffer_clear(&e->line);
    fl_buffer_append(&e->line, prompt + 1, (size_t)(answer - prompt - 1));
    size_t bytes = e->line.size;
    fl_buffer_text(&e->line, " ");
    fl_buffer_append(&e->line, answer + 1, (size_t)(end - answer - 1));
    if (e->line.failed) return FL_ERR_MEMORY;
    fl_status s = fl_prompt_encode(&x.ids, e->tokenizer, e->line.data, bytes, e->line.size, &x.first);
    if (s == FL_OK) s = add_entry(e, &x);
    if (s != FL_OK) fl_tokens_free(&x.ids);
    return s == FL_OK ? s : fl_fail_within(s, "%s:%lld", e->path, (long long)number);
}

static fl_status read_items(evaluation *e)
{
    FL_TRY(fl_file_read(&e->text, e->path, FILE_LIMIT));
    const char *line = e->text.data, *stop = line ? line + e->text.size : NULL;
    for (int64_t number = 1; line && line < stop; number++) {
        const char *end = memchr(line, '\n', (size_t)(stop - line));
        if (!end) end = stop;
        if (end > line) FL_TRY(read_line(e, line, end, number));
        line = end + 1;
    }
    return e->count ? FL_OK : fl_fail(FL_ERR_FORMAT, "%s: holds no items", e->path);
}

static fl_status run_items(evaluation *e, fl_scorer *scorer, fl_items *items)
{
    char name[32];
    for (int64_t i = 0; i < e->count; i++) {
        const entry *x = &e->entry[i];
        int64_t done = scorer->done;
        fl_verdict v;
        snprintf(name, sizeof name, "%lld", (long long)i + 1);
        if (!fl_items_find(items, name)) {
            FL_TRY(fl_judge(&v, scorer, x->ids.id, x->ids.count, x->first));
            FL_TRY(fl_items_add(items, name, fl_verdict_json(&v)));
        }
        v = fl_verdict_of(fl_items_find(items, name));
        fl_recall_group *g = &e->group[x->group];
        g->right.items++;
        g->right.hits += v.right == v.tokens;
        g->tokens += v.tokens;
        g->right_tokens += v.right;
        g->nll += v.nll;
        scorer->done = done + x->ids.count;
    }
    for (int i = 0; i < e->groups; i++) {
        fl_recall_group *g = &e->group[i];
        g->right = fl_share_of(g->right.hits, g->right.items);
        g->nll /= (double)g->tokens;
    }
    return FL_OK;
}

static fl_status run(evaluation *e, const fl_model *model, const fl_eval_run *r)
{
    fl_scorer scorer = {0};
    fl_items items = {0};
    char digest[17];
    FL_TRY(read_items(e));
    fl_item_digest(digest, e->text.data, e->text.size);
    fl_status s = fl_scorer_create(&scorer, model, r->session, e->longest);
    if (s == FL_OK) s = fl_items_open(&items, r->items, "recall", scorer.session, json_pack("{ss}", "texts", digest));
    fl_progress_start(&scorer.progress, r->progress, r->progress_user, "recall", e->tokens);
    if (s == FL_OK) s = run_items(e, &scorer, &items);
    s = fl_items_close(&items, s);
    fl_scorer_destroy(&scorer);
    return s;
}

fl_status fl_eval_recall(fl_recall_group **group, int *count, const fl_model *model, const fl_tokenizer *tokenizer,
                         const char *path, const fl_eval_run *r)
{
    if (!group || !count || !model || !tokenizer || !path || !r)
        return fl_fail(FL_ERR_ARGUMENT, "fl_eval_recall: an argument is NULL");
    evaluation e = {.path = path, .tokenizer = tokenizer};
    fl_status s = run(&e, model, r);
    for (int64_t i = 0; i < e.count; i++)
        fl_tokens_free(&e.entry[i].ids);
    fl_free(e.entry);
    fl_buffer_free(&e.text);
    fl_buffer_free(&e.line);
    if (s != FL_OK) {
        fl_free(e.group);
        return s;
    }
    *group = e.group;
    *count = e.groups;
    return FL_OK;
}

void fl_eval_free(void *list)
{
    fl_free(list);
}
