/* How much of an evaluation text also stands in a training text, by n-grams of words.
 *
 * Words as Brown et al. 2020 (appendix C) count them for GPT-3, and the language model evaluation harness after them:
 * lower case, punctuation taken away, split at white space; n is 13. An n-gram lies within one document. */
#ifndef FL_TEXT_OVERLAP_H
#define FL_TEXT_OVERLAP_H

#include "text/corpus.h"

#define FL_OVERLAP_LARGEST 64 /* n */

typedef struct fl_overlap_document {
    const char *file;           /* in fl_overlap.file */
    int64_t line;               /* where it begins */
    int64_t words, grams, seen; /* seen: of its n-grams, those that occur in the training text */
} fl_overlap_document;

typedef struct fl_overlap {
    int n;
    fl_overlap_document *document; /* [documents] of the evaluation text, in reading order */
    int64_t documents, grams, seen;
    int64_t distinct; /* different n-grams of the evaluation text */
    int64_t touched;  /* documents with at least one n-gram seen */
    int64_t shorter;  /* documents of fewer than n words: they have no n-gram */
    int64_t training_documents, training_words;
    char **file;
    int files;
} fl_overlap;

/* Memory: about 16 bytes for each different n-gram of the evaluation text, whatever the training text's size. n-grams
 * are compared by 63-bit hashes. The evaluation files are read twice, so standard input is refused there. progress:
 * stage "overlap", bytes of all files. fl_overlap_free in every case. */
fl_status fl_overlap_measure(fl_overlap *out, const fl_corpus_options *training, const fl_corpus_options *evaluation,
                             int n, fl_progress_fn progress, void *user);
void fl_overlap_free(fl_overlap *o);

#endif
