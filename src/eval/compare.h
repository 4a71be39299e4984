/* Methods side by side: what each loses or gains with every length on the same targets, and how far its window reaches
 * by measurement. A line of the results file is one method at one length, with the loss of every block, so that a run
 * that was interrupted goes on where it was and pairs are formed from the file. */
#ifndef FL_EVAL_COMPARE_H
#define FL_EVAL_COMPARE_H

#include "base/buffer.h"

#define FL_COMPARE_ERRORS 2.0 /* "no worse": not above this many standard errors of the paired difference */

typedef struct fl_compare_row {
    char label[64];
    int64_t length, tokens; /* of context with the targets; targets */
    double nll, error;      /* mean over the blocks and its standard error */
    double seconds;
    int64_t blocks;
    double *block; /* [blocks] mean loss of each */
} fl_compare_row;

typedef struct fl_compare {
    char *settings; /* what was compared on what: results of other settings are refused */
    fl_compare_row *row;
    int64_t count, capacity;
} fl_compare;

/* How far a method's window reaches: lengths up to which reading everything is no worse than reading the last
 * `reference` tokens alone, with the same model, on the same targets; at least the reference itself. All 0: not
 * measured. */
typedef struct fl_compare_verdict {
    int64_t effective;        /* by the standard error of the difference */
    int64_t effective_margin; /* the same with the difference itself at most `margin` nats */
    int64_t longest;          /* measured */
} fl_compare_verdict;

fl_status fl_compare_create(fl_compare *c, const char *settings);
void fl_compare_free(fl_compare *c);

/* Rows of an earlier run, none if the file does not exist. FL_ERR_STATE when they were made with other settings. A last
 * line without its end is one that a killed run was writing: it is left out. */
fl_status fl_compare_read(fl_compare *c, const char *path);
/* Keep the row (block is copied) and append it to the file. */
fl_status fl_compare_add(fl_compare *c, const fl_compare_row *row, const char *path);

const fl_compare_row *fl_compare_find(const fl_compare *c, const char *label, int64_t length); /* NULL: not there */
fl_compare_verdict fl_compare_judge(const fl_compare *c, const char *label, int64_t reference, double margin);

#endif
