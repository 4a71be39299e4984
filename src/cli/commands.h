/* The commands, one file each; main.c lists them. */
#ifndef FL_CLI_COMMANDS_H
#define FL_CLI_COMMANDS_H

#include "cli/common.h"

extern const cli_command cli_info, cli_generate, cli_chat, cli_tokenize, cli_bench, cli_eval_ppl, cli_eval_passkey,
    cli_eval_recall, cli_eval_choice, cli_eval_needle, cli_eval_position, cli_eval_cloze, cli_eval_summary,
    cli_eval_babble, cli_report, cli_train, cli_extend, cli_init, cli_convert, cli_plan, cli_overlap;
extern const cli_command cli_search, cli_compare;
extern const cli_command cli_doctor;

/* bench --gemm, which needs no model -> exit status */
int cli_bench_gemm(const cli_common *common);

#endif
