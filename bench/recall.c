/* Retrieval and induction scores of a model folder on items made by tools/corpus/recall.py:
 *   bench_recall MODEL ITEMS
 * One item per line: group, prompt and answer, separated by tabs. A model reads BOS, prompt and answer at once; an item
 * counts as right if every answer token was the most likely one, which is what greedy decoding would have written.
 * Prints per group the items, the share that is right, the share of right tokens and the mean nll of answer tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buffer.h"
#include "base/file.h"
#include "furlong.h"
#include "model/model.h"

#define GROUPS 256
#define LONGEST 65536

typedef struct group {
    const char *name;
    int64_t items, right, tokens, right_tokens;
    double nll;
} group;

static int failed(void)
{
    fprintf(stderr, "%s\n", fl_error_message());
    return 1;
}

/* Right answers are looked for in the last `answers` of the `count` ids. */
static fl_status score(const fl_model *m, fl_run *run, const int32_t *ids, int64_t count, int64_t answers, group *g)
{
    int64_t *row = fl_calloc((size_t)answers, sizeof *row);
    int32_t *argmax = fl_calloc((size_t)answers, sizeof *argmax);
    float *nll = fl_calloc((size_t)answers, sizeof *nll);
    fl_status s = row && argmax && nll ? FL_OK : FL_ERR_MEMORY;
    const int32_t *target = ids + count - answers;
    fl_batch_seq seq = {.rows = count - 1};
    fl_batch batch = {.sequences = 1, .seq = &seq, .rows = count - 1, .tokens = ids};
    fl_head_spec spec = {.n = answers, .row = row, .target = target, .nll = nll, .argmax = argmax};
    for (int64_t i = 0; s == FL_OK && i < answers; i++)
        row[i] = count - answers - 1 + i;
    if (s == FL_OK) s = fl_model_pass(m, run, &batch, NULL, false, &spec);
    int64_t right = 0;
    for (int64_t i = 0; s == FL_OK && i < answers; i++) {
        right += argmax[i] == target[i];
        g->nll += nll[i];
    }
    g->items++;
    g->tokens += answers;
    g->right_tokens += right;
    g->right += right == answers;
    fl_free(row);
    fl_free(argmax);
    fl_free(nll);
    return s;
}

static group *find(group *list, int *count, const char *name)
{
    for (int i = 0; i < *count; i++)
        if (!strcmp(list[i].name, name)) return &list[i];
    if (*count == GROUPS) return NULL;
    list[*count] = (group){.name = name};
    return &list[(*count)++];
}

/* The answer is what the whole text has more tokens than the prompt alone; it must begin with a word. */
static fl_status item(const fl_model *m, const fl_tokenizer *t, fl_run *run, int32_t bos, char *prompt, group *g)
{
    static int32_t ids[LONGEST];
    char *answer = strchr(prompt, '\t');
    int64_t begin = bos >= 0, before, all;
    ids[0] = bos;
    FL_TRY(fl_tokenize(t, prompt, (size_t)(answer - prompt), false, false, ids + begin, LONGEST - 1, &before));
    *answer = ' ';
    FL_TRY(fl_tokenize(t, prompt, strlen(prompt), false, false, ids + begin, LONGEST - 1, &all));
    if (all > LONGEST - 1 || all <= before || begin + before < 1)
        return fl_fail(FL_ERR_ARGUMENT, "an item has %lld tokens and an answer of %lld", (long long)all,
                       (long long)(all - before));
    return score(m, run, ids, begin + all, all - before, g);
}

static fl_status all_items(const fl_model *m, const fl_tokenizer *t, fl_run *run, int32_t bos, char *text, group *list,
                           int *count)
{
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        char *tab = strchr(line, '\t');
        if (!tab || !strchr(tab + 1, '\t')) return fl_fail(FL_ERR_FORMAT, "a line is not group, prompt, answer");
        *tab = 0;
        group *g = find(list, count, line);
        if (!g) return fl_fail(FL_ERR_FORMAT, "more than %d groups", GROUPS);
        FL_TRY(item(m, t, run, bos, tab + 1, g));
    }
    return FL_OK;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL ITEMS\n", argv[0]);
        return 2;
    }
    fl_engine_options engine_options = FL_ENGINE_OPTIONS_INIT;
    fl_model_options model_options = FL_MODEL_OPTIONS_INIT;
    fl_model_info info = {.size = sizeof info};
    fl_engine *engine;
    fl_model *model;
    fl_tokenizer *tokenizer;
    fl_run *run;
    fl_buffer text = {0};
    group list[GROUPS];
    int count = 0;
    if (fl_engine_create(&engine, &engine_options) || fl_model_open(&model, engine, argv[1], &model_options) ||
        fl_tokenizer_load(&tokenizer, NULL, model) || fl_model_get_info(model, &info) ||
        fl_run_create(&run, engine, 0, false) || fl_file_read(&text, argv[2], (size_t)1 << 30))
        return failed();
    if (all_items(model, tokenizer, run, info.bos, text.data, list, &count)) return failed();
    printf("%-24s %6s %8s %8s %8s\n", "group", "items", "right", "tokens", "nll");
    for (int i = 0; i < count; i++)
        printf("%-24s %6lld %8.3f %8.3f %8.3f\n", list[i].name, (long long)list[i].items,
               (double)list[i].right / (double)list[i].items, (double)list[i].right_tokens / (double)list[i].tokens,
               list[i].nll / (double)list[i].tokens);
    fl_run_destroy(run);
    fl_tokenizer_close(tokenizer);
    fl_model_close(model);
    fl_engine_destroy(engine);
    return 0;
}
