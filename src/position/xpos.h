/* xPos (Sun et al. 2022, A Length-Extrapolatable Transformer): beside the rotation, pair i of a query at position p is
 * scaled by zeta_i^(p/512) and that of a key by zeta_i^(-p/512), so that scores decay with distance. */
#ifndef FL_POSITION_XPOS_H
#define FL_POSITION_XPOS_H

#include <stdbool.h>
#include <stdint.h>

/* The scales grow without bound, and only their products count: queries and keys that meet are tabulated around one
 * centre. All scales are divided by powers of two that depend on the centre, so products have the same bits for any.
 * A key this far after its centre, or a query before it, still has a scale within fp32; keys before it may vanish. */
#define FL_XPOS_ROWS 32768

/* cos and sin [pairs] in fp32 at a position, times the scales of queries or of keys. */
void fl_xpos_angles(const double *freq, int pairs, bool key, int64_t centre, double position, float *cos_out,
                    float *sin_out);

#endif
