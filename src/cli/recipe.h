/* Named ways to train: options with the values of a paper, some of them scaled to the model at hand. */
#ifndef FL_CLI_RECIPE_H
#define FL_CLI_RECIPE_H

#include "cli/flags.h"

#define CLI_RECIPES "pi|yarn|scaling-law|longlora|pretrain"

/* What scaled values follow from. */
typedef struct cli_recipe_facts {
    int64_t parameters, trained_window;
    int64_t to;     /* target window; 0: none was asked for */
    int64_t length; /* tokens per sequence asked for; 0: the recipe's */
    int64_t batch;  /* sequences per step asked for; 0: the recipe's */
    double base;    /* rope base that reaches `to` by the scaling law */
} cli_recipe_facts;

/* Give every option of the recipe that nothing stronger gave -> exit status. */
int cli_apply_recipe(const cli_call *call, const char *name, const cli_recipe_facts *facts);

#endif
