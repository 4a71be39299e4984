/* What training owns beside a model: values that train, gradients and AdamW moments, each one contiguous block, so that
 * clipping, the optimiser and checkpoints see plain arrays. First the weights that train whole, in the order of the
 * model, then the matrices A and B of each adapter. */
#ifndef FL_TRAIN_PARAMETERS_H
#define FL_TRAIN_PARAMETERS_H

#include "furlong.h"
#include "model/model.h"

/* One array that trains. */
typedef struct fl_trained {
    int weight; /* of the model; of an adapter: the first of those that share A */
    int64_t offset, rows, cols;
    bool decays; /* matrices: weight decay applies */
} fl_trained;

typedef struct fl_parameters {
    int64_t count;                            /* all values, padding between arrays included */
    float *master, *grad, *moment1, *moment2; /* [count] */
    fl_trained *array;                        /* in the order of their offsets */
    int arrays, whole;                        /* the first `whole` are weights, then come A, B, A, B, ... */
    int64_t trained;                          /* values without padding */
    fl_overlay overlay;
    fl_adapter *adapter; /* the overlay's; NULL: none */
} fl_parameters;

/* What trains is said by options: lora_rank, lora_alpha, lora_targets, trainable; see furlong.h. Weights are filled from
 * the model, A from U(-1/sqrt(in), 1/sqrt(in)) by options->seed, B, gradients and moments with zeros. */
fl_status fl_parameters_create(fl_parameters *p, const fl_model *model, const fl_train_options *options);
/* The same without values: every pointer of the overlay leads to one number that must not be read. What a counting run
 * needs. */
fl_status fl_parameters_outline(fl_parameters *p, const fl_model *model, const fl_train_options *options);
void fl_parameters_destroy(fl_parameters *p);

/* The modules that adapters are made for when options->lora_targets is NULL: those of attention. */
const char *fl_lora_default_targets(const fl_model *model);

#endif
