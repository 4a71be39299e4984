/* What is right and wrong with a model for long texts: what its files claim, what its rotary base supports, traps of
 * the way from one format to another, and where its loss rises on a text. */
#ifndef FL_PLAN_DOCTOR_H
#define FL_PLAN_DOCTOR_H

#include "furlong.h"

typedef enum fl_finding_level { FL_FINDING_OK, FL_FINDING_WARN, FL_FINDING_BAD } fl_finding_level;

typedef struct fl_finding {
    fl_finding_level level;
    const char *topic; /* one word */
    char text[400];    /* what was found, one sentence */
    char advice[400];  /* what to do, "" */
} fl_finding;

#define FL_DOCTOR_FINDINGS 24
#define FL_DOCTOR_LENGTHS 10

typedef struct fl_doctor {
    fl_finding finding[FL_DOCTOR_FINDINGS];
    int findings;
    int64_t claimed, trained;
    double supported; /* tokens that the base tells near from far over, at most 4 times what is claimed */
    /* With a text: loss of the same targets by context length. */
    int64_t length[FL_DOCTOR_LENGTHS];
    double loss[FL_DOCTOR_LENGTHS], error[FL_DOCTOR_LENGTHS]; /* nats per token; of the difference from the least */
    int lengths;
    int64_t rises; /* first length whose loss is more than `margin` and two standard errors above the least before; 0 */
} fl_doctor;

typedef struct fl_doctor_options {
    const fl_document *text; /* NULL: the loss is not measured */
    int32_t bos;
    int64_t score, blocks;
    int64_t longest; /* most tokens of context; 0: 4 times the claimed window */
    double margin;   /* nats */
    const fl_session_options *session;
    fl_progress_fn progress;
    void *progress_user;
} fl_doctor_options;

/* The finding that stands for a model which could not be opened: message is what the failure said. */
void fl_doctor_refused(fl_doctor *d, const char *message);

/* An examination that fails to run is an error; whatever is wrong with the model is a finding. */
fl_status fl_doctor_examine(fl_doctor *out, const fl_model *m, const fl_doctor_options *o);

#endif
