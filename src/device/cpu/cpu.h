/* The CPU device's own header: one function per entry of fl_device_table, and the scratch memory they share.
 * What each entry computes is said in device/device.h. */
#ifndef FL_DEVICE_CPU_CPU_H
#define FL_DEVICE_CPU_CPU_H

#include "device/device.h"

/* Scratch. Entries cannot fail, so nothing is allocated while they run: address space for all of it is reserved when
 * the device is created, and pages are touched (and kept) as they are first used. Hence fixed bounds, by design:
 * whoever needs more works in smaller blocks.
 *
 * Slots keep nested uses apart: 0 and 1 belong to the products (linear, matmul and head), 2 and 3 to everything else.
 */
#define FL_CPU_SCRATCH_SLOTS 4
#define FL_CPU_SCRATCH_BYTES ((size_t)4 << 20)         /* the most one slot of one thread gives */
#define FL_CPU_SHARED_SCRATCH_BYTES ((size_t)64 << 20) /* the most one shared slot gives */

/* `bytes` <= FL_CPU_SCRATCH_BYTES for this thread (as numbered by fl_pool_run), aligned to 64, contents undefined.
 * Valid until the next call with the same thread and slot. Thread 0 may also be used outside of a job. NULL if bytes
 * is over the bound. */
void *fl_cpu_scratch(fl_device *d, int thread, int slot, size_t bytes);
/* The same for memory that all threads of a job see; taken before fl_pool_run. <= FL_CPU_SHARED_SCRATCH_BYTES. */
void *fl_cpu_shared_scratch(fl_device *d, int slot, size_t bytes);

/* Used by fl_cpu_device_create and destroy: reserve and release d->scratch for d->pool's threads. */
fl_status fl_cpu_scratch_create(fl_device *d);
void fl_cpu_scratch_destroy(fl_device *d);

/* pack.c, linear.c, matmul.c */
fl_status fl_cpu_pack(fl_device *d, const fl_stored *w, fl_packed **out);
fl_status fl_cpu_packed_from(fl_device *d, const fl_panels *panels, fl_packed **out);
fl_panels fl_cpu_panels(const fl_device *d, const fl_packed *p);
void fl_cpu_packed_free(fl_device *d, fl_packed *p);
size_t fl_cpu_packed_bytes(const fl_device *d, const fl_stored *w);
void fl_cpu_linear(fl_device *d, const fl_operand *w, const float *bias, const fl_tensor *x, fl_tensor *y,
                   bool accumulate);
void fl_cpu_matmul(fl_device *d, const fl_stored *a, const fl_stored *b, float *c, int64_t ldc, bool accumulate);

/* embed.c */
void fl_cpu_embed(fl_device *d, const fl_stored *table, const int32_t *tokens, fl_tensor *out, bool accumulate);
void fl_cpu_embed_backward(fl_device *d, const int32_t *tokens, const fl_tensor *dout, float *dtable, int64_t cols);

/* norm.c */
void fl_cpu_rms_norm(fl_device *d, const fl_tensor *x, const float *w, float eps, fl_tensor *y, float *inverse);
void fl_cpu_rms_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *inverse,
                              const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw);
void fl_cpu_layer_norm(fl_device *d, const fl_tensor *x, const float *w, const float *b, float eps, fl_tensor *y,
                       float *stats);
void fl_cpu_layer_norm_backward(fl_device *d, const fl_tensor *x, const float *w, const float *stats,
                                const fl_tensor *dy, fl_tensor *dx, bool accumulate, float *dw, float *db);

/* rotate.c, kv_rotate.c */
void fl_cpu_rotate(fl_device *d, const fl_tensor *x, int heads, int head_dim, const float *cos, const float *sin,
                   int pairs, bool interleaved, bool inverse, fl_tensor *y);
void fl_cpu_kv_rotate(fl_device *d, const fl_kv_view *from, int64_t first, const float *cos, const float *sin,
                      int pairs, bool interleaved, const fl_kv_view *to);
void fl_cpu_scale_rows(fl_device *d, const fl_tensor *x, const float *factor, fl_tensor *y);

/* attend.c */
void fl_cpu_kv_write(fl_device *d, const fl_kv_view *kv, int64_t first_token, const fl_tensor *k, const fl_tensor *v,
                     int64_t first_row, int64_t rows);
void fl_cpu_attend(fl_device *d, const fl_attend_args *args);
void fl_cpu_attend_backward(fl_device *d, const fl_attend_backward_args *args);

/* activation.c */
void fl_cpu_swiglu(fl_device *d, const fl_tensor *gate, const fl_tensor *up, fl_tensor *y);
void fl_cpu_swiglu_backward(fl_device *d, const fl_tensor *gate, const fl_tensor *up, const fl_tensor *dy,
                            fl_tensor *dgate, fl_tensor *dup);
void fl_cpu_gelu(fl_device *d, const fl_tensor *x, bool tanh_form, fl_tensor *y);
void fl_cpu_gelu_backward(fl_device *d, const fl_tensor *x, bool tanh_form, const fl_tensor *dy, fl_tensor *dx);

/* elementwise.c */
void fl_cpu_add(fl_device *d, const fl_tensor *a, const fl_tensor *b, fl_tensor *y);
void fl_cpu_copy(fl_device *d, const fl_tensor *from, fl_tensor *to);
void fl_cpu_zero(fl_device *d, fl_tensor *t);
void fl_cpu_scale(fl_device *d, float factor, fl_tensor *t);
void fl_cpu_column_sum(fl_device *d, const fl_tensor *x, float *sum);

/* narrow.c */
void fl_cpu_narrow(fl_device *d, void *to, const void *from, int64_t n);
void fl_cpu_widen(fl_device *d, void *to, const void *from, int64_t n);

/* head.c */
void fl_cpu_head(fl_device *d, const fl_head_args *args);

/* adamw.c */
double fl_cpu_sum_squares(fl_device *d, const float *x, int64_t n);
void fl_cpu_adamw(fl_device *d, const fl_adamw_args *args);

#endif
