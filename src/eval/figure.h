/* Beginnings of gnuplot scripts that the pictures of evaluations share. */
#ifndef FL_EVAL_FIGURE_H
#define FL_EVAL_FIGURE_H

#include "base/buffer.h"

/* Terminal, output and title. path: a PNG if it ends in .png, else an SVG. */
void fl_figure_begin(fl_buffer *out, const char *path, const char *title);
/* text inside double quotes, as gnuplot reads it. */
void fl_figure_quoted(fl_buffer *out, const char *text);

#endif
