/* Perplexity of a model while it trains. */
#ifndef FL_EVAL_PERPLEXITY_H
#define FL_EVAL_PERPLEXITY_H

#include "model/model.h"

/* fl_eval_ppl with the overlay's numbers in place of the opened ones; NULL: none. */
fl_status fl_eval_ppl_training(fl_ppl_result *result, const fl_model *model, const fl_overlay *overlay,
                               const fl_document *document, int document_count, int32_t bos, const fl_ppl_options *o);

#endif
