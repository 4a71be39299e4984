/* Saved activations of a block in half the room: while later blocks run, the tensors between a block's input and its
 * output are kept as bf16, statistics (norms, log-sum-exps) as they are. The backward pass gets every number back at
 * its old address. */
#ifndef FL_OP_COMPACT_H
#define FL_OP_COMPACT_H

#include "op/run.h"

typedef struct fl_compact {
    size_t begin, end;     /* region of the data arena, as marks; begin == end: kept as it was */
    char *start;           /* its first byte */
    const fl_exact *exact; /* statistics in it, newest first, down to `stop` */
    const fl_exact *stop;
} fl_compact;

/* Before the block allocates anything. */
void fl_compact_begin(fl_run *r, fl_compact *c);
/* After it, when y is its result: compact what lies between, and move y down behind it. Left alone when y is not what
 * was allocated last, or when there is too little to move. */
void fl_compact_end(fl_run *r, fl_compact *c, fl_tensor *y);
/* Before the block's backward pass, when nothing allocated after it is needed any more. */
void fl_compact_restore(fl_run *r, const fl_compact *c);

#endif
