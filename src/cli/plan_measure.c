#include "cli/plan_output.h"

#include <string.h>

#include "cli/picture.h"
#include "eval/figure.h"

static json_t *points(const fl_measure *m, const fl_measured *at)
{
    json_t *list = json_array();
    for (int i = 0; list && i <= m->pairs; i++)
        json_array_append_new(list,
                              json_pack("{si sf sf}", "first_held", i, "loss", at->loss[i], "stderr", at->error[i]));
    return list;
}

static int show_json(const fl_measure *m, const fl_plan *p)
{
    json_t *list = json_array();
    for (int i = 0; list && i < FL_MEASURE_LENGTHS; i++) {
        const fl_measured *at = &m->at[i];
        json_array_append_new(list, json_pack("{sI si si si so}", "length", (json_int_t)at->length, "best", at->best,
                                              "critical_pair", at->knee, "critical_dimension", 2 * at->knee, "points",
                                              points(m, at)));
    }
    return cli_print_json(json_pack("{sI si sf si sb so}", "trained_window", (json_int_t)m->window, "pairs", m->pairs,
                                    "predicted_pairs", p->critical_pairs, "predicted_critical_dimension",
                                    p->critical_dimension, "degenerate", p->degenerate, "measured", list));
}

static void mark(char text[32], const fl_plan *p, const fl_measure *m, int i)
{
    *text = 0;
    if (i == p->critical_dimension / 2) strcat(text, "  law");
    for (int l = 0; l < FL_MEASURE_LENGTHS; l++)
        if (i == m->at[l].knee) strcat(text, l ? "  knee(4T)" : "  knee(2T)");
}

static int show_text(const fl_measure *m, const fl_plan *p)
{
    printf(
        "loss above reading the last %lld tokens untouched, nats per token, when pairs i .. %d are held to the angles "
        "of the trained window\n\n%6s",
        (long long)m->window, m->pairs - 1, "i");
    for (int l = 0; l < FL_MEASURE_LENGTHS; l++)
        printf("  %17lld", (long long)m->at[l].length);
    printf("\n");
    for (int i = 0; i <= m->pairs; i++) {
        char marks[32];
        mark(marks, p, m, i);
        printf("%6d", i);
        for (int l = 0; l < FL_MEASURE_LENGTHS; l++)
            printf("  %+8.4f +- %.3f", m->at[l].loss[i], m->at[l].error[i]);
        printf("%s%s\n", marks, i == 0 ? "  all held: Position Interpolation" : i == m->pairs ? "  none held" : "");
    }
    for (int l = 0; l < FL_MEASURE_LENGTHS; l++)
        printf("%scritical dimension by experiment at %lld tokens: %d (least loss with pairs held from %d on)\n",
               l ? "" : "\n", (long long)m->at[l].length, 2 * m->at[l].knee, m->at[l].best);
    printf("by the law: %d (%.4g pairs turn fully inside the window)%s\n", p->critical_dimension, p->critical_pairs,
           p->degenerate ? "; the law degenerates at this head size" : "");
    return cli_finish_output();
}

static int draw(const fl_measure *m, const fl_plan *p, const char *svg)
{
    fl_buffer out = {0};
    for (int l = 0; l < FL_MEASURE_LENGTHS; l++) {
        fl_buffer_format(&out, "$d%d << EOD\n", l);
        for (int i = 0; i <= m->pairs; i++)
            fl_buffer_format(&out, "%d %.6g %.6g\n", i, m->at[l].loss[i], m->at[l].error[i]);
        fl_buffer_text(&out, "EOD\n");
    }
    fl_figure_begin(&out, svg, "loss by the first pair held to its trained angles");
    fl_buffer_format(&out,
                     "set xlabel \"first held pair\"\nset ylabel \"loss above the trained window, nats per token\"\n"
                     "set grid\nset key top center\nset xrange [-0.5:%d.5]\n"
                     "set arrow from %g, graph 0 to %g, graph 1 nohead dashtype 2 linewidth 2 linecolor rgb "
                     "\"#777777\"\nset label \" law\" at %g, graph 0.95 textcolor rgb \"#777777\"\nplot ",
                     m->pairs, p->critical_dimension / 2.0, p->critical_dimension / 2.0, p->critical_dimension / 2.0);
    for (int l = 0; l < FL_MEASURE_LENGTHS; l++)
        fl_buffer_format(&out, "%s$d%d using 1:2:3 with yerrorlines linewidth 2 title \"%lld tokens, knee %d\"",
                         l ? ", " : "", l, (long long)m->at[l].length, m->at[l].knee);
    fl_buffer_text(&out, "\n");
    int status = out.failed ? CLI_ERROR : cli_draw(out.data);
    if (out.failed) cli_error("out of memory");
    fl_buffer_free(&out);
    return status;
}

int cli_measure_show(const fl_measure *m, const fl_plan *p, bool json, const char *svg)
{
    int status = svg ? draw(m, p, svg) : CLI_OK;
    if (status != CLI_OK) return status;
    return json ? show_json(m, p) : show_text(m, p);
}
