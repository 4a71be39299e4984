/* Evaluation of a model while it trains. */
#ifndef FL_TRAIN_EVALUATE_H
#define FL_TRAIN_EVALUATE_H

#include "train/log.h"
#include "train/trainer.h"

/* Score the present numbers, log them and tell the caller; nothing without options.eval. */
fl_status fl_trainer_evaluate(const fl_trainer *t, fl_train_log *log);

/* Bytes that takes at its peak: keys and values of the longest text and the activations of a chunk. */
fl_status fl_train_eval_bytes(int64_t *out, const fl_model *model, const fl_overlay *overlay,
                              const fl_train_eval *eval);

#endif
