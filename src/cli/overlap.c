/* furlong overlap: how much of an evaluation text the training text holds. */
#include "cli/overlap.h"

#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "text/overlap.h"

#define SHOWN 10 /* documents in the table */

typedef struct overlap_options {
    cli_common common; /* first: see cli/common.h */
    cli_texts training, evaluation;
    cli_data reading;
    int64_t n;
} overlap_options;

#define AT(member) offsetof(overlap_options, member)

static const cli_flag overlap_flags[] = {
    {"train", 0, "FILE", CLI_TEXTS, AT(training), NULL, 0, 0, NULL, "a training text, or a folder of them"},
    {"eval", 0, "FILE", CLI_TEXTS, AT(evaluation), NULL, 0, 0, NULL, "an evaluation text, or a folder of them"},
    CLI_DATA_FLAGS(AT(reading)),
    {"ngram", 'n', "N", CLI_INTEGER, AT(n), "13", 1, FL_OVERLAP_LARGEST, NULL, "words of an n-gram"},
};
static const cli_group overlap_group = CLI_GROUP("Overlap", overlap_flags);

static void corpus_options(fl_corpus_options *out, const cli_texts *files, const cli_data *o)
{
    *out = (fl_corpus_options)FL_CORPUS_OPTIONS_INIT;
    out->path = files->item;
    out->paths = files->count;
    out->format = (fl_corpus_format)o->format;
    out->text_field = o->text_field;
    out->separator = o->separator;
    out->skip_bad = o->skip_bad;
}

static fl_status measure(fl_overlap *out, const cli_texts *training, const cli_texts *evaluation, const cli_data *o,
                         int n)
{
    fl_corpus_options train, eval;
    corpus_options(&train, training, o);
    corpus_options(&eval, evaluation, o);
    return fl_overlap_measure(out, &train, &eval, n, cli_progress, NULL);
}

static double share(int64_t seen, int64_t grams)
{
    return grams ? (double)seen / (double)grams : 0;
}

static bool names_standard_input(const cli_texts *files)
{
    for (int i = 0; i < files->count; i++)
        if (!strcmp(files->item[i], "-")) return true;
    return false;
}

int cli_overlap_note(const cli_texts *training, const cli_texts *evaluation, const cli_data *o)
{
    if (names_standard_input(training) || names_standard_input(evaluation)) {
        cli_note("overlap: not looked for, since standard input is read only once");
        return CLI_OK;
    }
    fl_overlap found;
    fl_status s = measure(&found, training, evaluation, o, 13);
    int status = s == FL_OK ? CLI_OK : cli_failed(s);
    if (s == FL_OK)
        cli_note("overlap: %.3f %% of the 13-grams of the evaluation text are in the training text (%lld of %lld, in "
                 "%lld of %lld documents)",
                 100 * share(found.seen, found.grams), (long long)found.seen, (long long)found.grams,
                 (long long)found.touched, (long long)found.documents);
    fl_overlap_free(&found);
    return status;
}

static int print_json(const fl_overlap *o)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < o->documents; i++) {
        const fl_overlap_document *d = &o->document[i];
        json_array_append_new(list, json_pack("{so sI sI sI sI sf}", "file", cli_json_text(d->file, strlen(d->file)),
                                              "line", (json_int_t)d->line, "words", (json_int_t)d->words, "grams",
                                              (json_int_t)d->grams, "seen", (json_int_t)d->seen, "share",
                                              share(d->seen, d->grams)));
    }
    return cli_print_json(
        json_pack("{si ss sI sI sI sI sf sI sI sI sI so}", "ngram", o->n, "unit", "words", "training_documents",
                  (json_int_t)o->training_documents, "training_words", (json_int_t)o->training_words, "grams",
                  (json_int_t)o->grams, "seen", (json_int_t)o->seen, "share", share(o->seen, o->grams), "distinct",
                  (json_int_t)o->distinct, "evaluation_documents", (json_int_t)o->documents, "documents_touched",
                  (json_int_t)o->touched, "documents_too_short", (json_int_t)o->shorter, "documents", list));
}

/* The largest share first, then reading order. */
static int by_share(const void *a, const void *b)
{
    const fl_overlap_document *x = *(const fl_overlap_document *const *)a, *y = *(const fl_overlap_document *const *)b;
    double d = share(y->seen, y->grams) - share(x->seen, x->grams);
    return d > 0 ? 1 : d < 0 ? -1 : x < y ? -1 : x > y;
}

static int print_text(const fl_overlap *o)
{
    const fl_overlap_document **order = malloc(((size_t)o->documents + 1) * sizeof(const fl_overlap_document *));
    if (!order) {
        cli_error("out of memory");
        return CLI_ERROR;
    }
    for (int64_t i = 0; i < o->documents; i++)
        order[i] = &o->document[i];
    qsort(order, (size_t)o->documents, sizeof(const fl_overlap_document *), by_share);
    int64_t shown = o->touched < SHOWN ? o->touched : SHOWN;
    printf("%d-grams of words   %12lld\nseen in training   %12lld   %.4f %%\ndocuments          %12lld\n", o->n,
           (long long)o->grams, (long long)o->seen, 100 * share(o->seen, o->grams), (long long)o->documents);
    printf("  with overlap     %12lld\n  under %2d words   %12lld\n", (long long)o->touched, o->n,
           (long long)o->shorter);
    if (shown)
        printf("\n%8s  %10s  %10s  document%s\n", "seen", "of", "share", shown < o->touched ? " (the most)" : "");
    for (int64_t i = 0; i < shown; i++)
        printf("%8lld  %10lld  %8.2f %%  %s:%lld\n", (long long)order[i]->seen, (long long)order[i]->grams,
               100 * share(order[i]->seen, order[i]->grams), order[i]->file, (long long)order[i]->line);
    free(order);
    return cli_finish_output();
}

static int run(const cli_call *call)
{
    const overlap_options *o = call->options;
    if (!o->training.count || !o->evaluation.count)
        return cli_misused(call, "name training texts with --train FILE and evaluation texts with --eval FILE");
    fl_overlap found;
    fl_status s = measure(&found, &o->training, &o->evaluation, &o->reading, (int)o->n);
    int status = s != FL_OK ? cli_failed(s) : o->common.json ? print_json(&found) : print_text(&found);
    fl_overlap_free(&found);
    return status;
}

static const cli_flag json_flag[] = {
    {"json", 0, NULL, CLI_SWITCH, AT(common.json), NULL, 0, 0, NULL, "print one JSON object, with every document"},
};
static const cli_group json_group = CLI_GROUP("Output", json_flag);
static const cli_group *const overlap_groups[] = {&overlap_group, &json_group, NULL};
const cli_command cli_overlap = {
    "overlap",
    "how much of an evaluation text also stands in the training text",
    NULL,
    "Counts the n-grams of words of the evaluation text that occur in the training text, per document. Words are in "
    "lower case, without punctuation, split at white space; n is 13 unless told.",
    sizeof(overlap_options),
    overlap_groups,
    run};
