#ifndef FL_PLAN_DOCTOR_INTERNAL_H
#define FL_PLAN_DOCTOR_INTERNAL_H

#include "model/model.h"
#include "plan/doctor.h"

/* A finding with its text; what to do is added by fl_doctor_advise. */
void fl_doctor_find(fl_doctor *d, fl_finding_level level, const char *topic, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void fl_doctor_advise(fl_doctor *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* doctor_files.c: the tokenizer, and traps between formats. doctor_loss.c: the loss by length. */
void fl_doctor_files(fl_doctor *d, const fl_model *m);
fl_status fl_doctor_loss(fl_doctor *d, const fl_model *m, const fl_doctor_options *o);

#endif
