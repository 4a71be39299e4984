/* Pictures are drawn by gnuplot, run as a program. */
#ifndef FL_CLI_PICTURE_H
#define FL_CLI_PICTURE_H

/* Run a gnuplot script -> exit status, after a message that says how to get gnuplot if it is missing. */
int cli_draw(const char *script);

#endif
