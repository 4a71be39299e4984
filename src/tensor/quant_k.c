#include "kernel/quant_k.h"
#include "tensor/quant.h"

static void dequantise_q2_k(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q2_K, from, to, blocks);
}

static void dequantise_q3_k(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q3_K, from, to, blocks);
}

static void dequantise_q4_k(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q4_K, from, to, blocks);
}

static void dequantise_q5_k(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q5_K, from, to, blocks);
}

static void dequantise_q6_k(const void *from, float *to, int64_t blocks)
{
    fl_dequantise(FL_FORMAT_Q6_K, from, to, blocks);
}

const fl_codec fl_codec_q2_k = {dequantise_q2_k, NULL};
const fl_codec fl_codec_q3_k = {dequantise_q3_k, NULL};
const fl_codec fl_codec_q4_k = {dequantise_q4_k, NULL};
const fl_codec fl_codec_q5_k = {dequantise_q5_k, NULL};
const fl_codec fl_codec_q6_k = {dequantise_q6_k, NULL};
