#include "cli/eval.h"
#include "cli/picture.h"

static const cli_flag items_flags[] = {
    {"items", 0, "FILE", CLI_TEXT, offsetof(eval_shared, items), NULL, 0, 0, NULL,
     "keep every item's result as a JSON line; those the file already holds for these flags are not computed again"},
    {"seed", 's', "N", CLI_INTEGER, offsetof(eval_shared, common) + offsetof(cli_common, seed), "0", 0, 0x1p62, NULL,
     "what is drawn"},
};
const cli_group cli_group_items = CLI_GROUP("Items", items_flags);

void eval_run(fl_eval_run *run, fl_session_options *reading, const eval_shared *o)
{
    cli_session_options(reading, &o->common);
    *run = (fl_eval_run){
        .session = reading, .seed = (uint64_t)o->common.seed, .items = o->items, .progress = cli_progress};
}

int eval_draw(fl_buffer *script)
{
    int status = script->failed ? CLI_ERROR : cli_draw(script->data);
    if (script->failed) cli_error("out of memory");
    fl_buffer_free(script);
    return status;
}

void eval_reused(const eval_shared *o, int64_t reused, int64_t items)
{
    if (reused) cli_note("%lld of %lld items were in %s already", (long long)reused, (long long)items, o->items);
}

int eval_open_texts(cli_work *w, cli_documents *documents, const cli_call *call)
{
    const eval_texts *o = call->options;
    if (!o->files.count) return cli_misused(call, "name a text with -f FILE");
    int status = cli_open_tokenizer(w, call, &o->shared.common);
    return status == CLI_OK ? cli_read_documents(documents, w->tokenizer, &o->reading, &o->files) : status;
}
