/* What furlong compare measured, as table, report, picture and JSON. */
#ifndef FL_CLI_COMPARE_H
#define FL_CLI_COMPARE_H

#include "cli/common.h"
#include "eval/compare.h"

/* One thing compared: a method of the plan as it stands, or a folder that was tuned for it. */
typedef struct compare_arm {
    char label[64];
    const char *method, *folder; /* folder: NULL for a method untuned; else owned by the arm */
    fl_rope_options rope;
    bool stream;     /* read with --overflow stream */
    int64_t claimed; /* tokens: by its configuration, or by the plan */
    int64_t k_max;   /* passkey; -1: not measured */
} compare_arm;

typedef struct compare_result {
    const char *model, *text, *command; /* text: the files */
    int64_t trained, target, score, blocks;
    int texts, skipped; /* documents; those too short */
    double margin;
    const int64_t *length; /* [lengths] ascending, the trained window first */
    int lengths;
    const compare_arm *arm;
    int arms;
    const fl_compare *rows;
} compare_result;

/* To stdout: two tables -> exit status. */
int compare_text(const compare_result *r);
int compare_json(const compare_result *r);
/* FOLDER/report.md and FOLDER/picture.svg -> exit status. */
int compare_write(const compare_result *r, const char *folder);

#endif
