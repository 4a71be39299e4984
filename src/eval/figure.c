#include "eval/figure.h"

#include <string.h>

void fl_figure_quoted(fl_buffer *out, const char *text)
{
    fl_buffer_text(out, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') fl_buffer_text(out, "\\");
        if ((unsigned char)*text >= ' ') fl_buffer_append(out, text, 1);
    }
    fl_buffer_text(out, "\"");
}

void fl_figure_begin(fl_buffer *out, const char *path, const char *title)
{
    size_t n = strlen(path);
    bool png = n > 4 && !strcmp(path + n - 4, ".png");
    fl_buffer_text(out, png ? "set terminal pngcairo size 1230,780 background rgb \"white\" font \"sans,16\""
                            : "set terminal svg size 820,520 dynamic background rgb \"white\" font \"sans,13\"");
    fl_buffer_text(out, "\nset output ");
    fl_figure_quoted(out, path);
    fl_buffer_text(out, "\nset title ");
    fl_figure_quoted(out, title);
    fl_buffer_text(out, " noenhanced\nset grid\n");
}
