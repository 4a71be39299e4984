/* furlong search: LongRoPE's factors for a model, found by evolution. */
#include "cli/commands.h"

#include <math.h>

#include "cli/documents.h"

typedef struct search_options {
    cli_common common; /* first: see cli/common.h */
    cli_texts files;
    cli_data reading;
    const char *out;
    int64_t to, population, rounds, samples, seed;
} search_options;

#define AT(member) offsetof(search_options, member)

static const cli_flag search_flags[] = {
    {"file", 'f', "FILE", CLI_TEXTS, AT(files), NULL, 0, 0, NULL,
     "a text, JSON lines, either compressed (.zst), or a folder of such files; documents need --to tokens"},
    CLI_DATA_FLAGS(AT(reading)),
    {"to", 0, "N", CLI_INTEGER, AT(to), "0", 0, 0x1p32, NULL, "the window wanted, in tokens"},
    {"out", 'o', "FILE", CLI_TEXT, AT(out), NULL, 0, 0, NULL,
     "where the best factors are written, for --longrope-factors; after each round"},
    {"population", 0, "N", CLI_INTEGER, AT(population), "64", 4, 4096, NULL, "lists of factors alive"},
    {"rounds", 0, "N", CLI_INTEGER, AT(rounds), "40", 0, 1e6, NULL,
     "rounds after the first; each replaces the worse half"},
    {"samples", 0, "N", CLI_INTEGER, AT(samples), "5", 1, 1e6, NULL, "texts that a list is judged by"},
    {"seed", 's', "N", CLI_INTEGER, AT(seed), "0", 0, 0x1p62, NULL, "of the texts and the evolution"},
};
static const cli_group search_group = CLI_GROUP("Search", search_flags);

static int print(const search_options *o, const fl_longrope_result *r)
{
    if (o->common.json) {
        json_t *list = json_array();
        for (int i = 0; list && i < r->pairs; i++)
            json_array_append_new(list, json_real(r->factor[i]));
        return cli_print_json(json_pack("{ss sI sf sf sf sf so}", "out", o->out, "evaluated", (json_int_t)r->evaluated,
                                        "ppl", exp(r->nll), "ppl_linear", exp(r->nll_linear), "ppl_ntk",
                                        exp(r->nll_ntk), "ppl_yarn", exp(r->nll_yarn), "long_factor", list));
    }
    printf("%-10s  %12s\n", "factors", "perplexity");
    printf("%-10s  %12.4f\n%-10s  %12.4f\n%-10s  %12.4f\n", "linear", exp(r->nll_linear), "ntk", exp(r->nll_ntk),
           "yarn", exp(r->nll_yarn));
    printf("%-10s  %12.4f  after %lld lists, in %s\n", "searched", exp(r->nll), (long long)r->evaluated, o->out);
    return cli_finish_output();
}

static int run(const cli_call *call)
{
    const search_options *o = call->options;
    if (!o->files.count) return cli_misused(call, "name a text with -f FILE");
    if (!o->to) return cli_misused(call, "say which window is wanted with --to N");
    if (!o->out) return cli_misused(call, "name the file to write with -o FILE");
    cli_work w = {0};
    cli_documents documents = {0};
    int status = cli_open_tokenizer(&w, call, &o->common);
    if (status == CLI_OK) status = cli_read_documents(&documents, w.tokenizer, &o->reading, &o->files);
    if (status == CLI_OK) {
        fl_longrope_options options = FL_LONGROPE_OPTIONS_INIT;
        fl_longrope_result result = {.size = sizeof result};
        options.document = documents.item;
        options.documents = documents.count;
        options.bos = cli_bos(w.model);
        options.to = o->to;
        options.population = o->population;
        options.rounds = o->rounds;
        options.samples = o->samples;
        options.seed = (uint64_t)o->seed;
        options.path = o->out;
        options.progress = cli_progress;
        fl_status s = fl_longrope_search(&result, w.model, &options);
        status = s == FL_OK ? print(o, &result) : cli_failed(s);
    }
    cli_documents_free(&documents);
    cli_close(&w);
    return status;
}

static const cli_group *const search_groups[] = {&cli_group_model, &search_group, &cli_group_output, NULL};
const cli_command cli_search = {"search",
                                "find LongRoPE's factors for a model and a longer window",
                                NULL,
                                "An evolution of lists of factors, one for each rotated pair, begun with those of "
                                "Position Interpolation, NTK and YaRN and judged by the perplexity of texts at the "
                                "window wanted (docs/methods.md).",
                                sizeof(search_options),
                                search_groups,
                                run};
