/* furlong: a long-context engine for language models.
 *
 * Rules of this header
 *   - A function that can fail returns fl_status and writes its outputs through pointers, outputs first.
 *     After a failure fl_error_message() gives the text of the calling thread's last error; outputs are untouched.
 *   - A model is read-only after it is opened and may be shared by threads. A session belongs to one thread at a time.
 *   - Token counts, positions and byte sizes are 64 bits wide. Lengths are tokens unless a name says bytes.
 *   - Options structs begin with their own size; start from the matching FL_..._INIT macro.
 *   - The library never aborts, exits, prints, reads the environment, installs signal handlers or changes the locale.
 */
#ifndef FURLONG_H
#define FURLONG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FL_VERSION_MAJOR 0
#define FL_VERSION_MINOR 1
#define FL_VERSION_PATCH 0
#define FL_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define FL_API __attribute__((visibility("default")))
#else
#define FL_API
#endif

/* ---- status ------------------------------------------------------------------------------------------------- */

typedef enum fl_status {
    FL_OK = 0,
    FL_ERR_ARGUMENT,    /* the caller passed something unusable */
    FL_ERR_MEMORY,      /* an allocation failed */
    FL_ERR_IO,          /* the operating system refused a file operation */
    FL_ERR_FORMAT,      /* a file is malformed; the message names file, key or offset */
    FL_ERR_UNSUPPORTED, /* well-formed, but furlong does not do this; the message says what to use instead */
    FL_ERR_SHAPE,       /* two tensors or a tensor and a config disagree */
    FL_ERR_WINDOW,      /* more tokens than the context window holds; both numbers are in the message */
    FL_ERR_CANCELLED,   /* a progress callback or fl_cancel() stopped the work; the object is usable */
    FL_ERR_STATE,       /* called in the wrong order, or the object belongs to another model */
    FL_ERR_NUMERIC      /* a value became infinite or not a number */
} fl_status;

/* Short constant name, such as "FL_ERR_FORMAT". Never NULL. */
FL_API const char *fl_status_name(fl_status status);

/* Text of the last error of the calling thread, "" if there was none. Valid until this thread's next failing call. */
FL_API const char *fl_error_message(void);

FL_API const char *fl_version(void);

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

typedef enum fl_log_level { FL_LOG_ERROR, FL_LOG_WARN, FL_LOG_INFO, FL_LOG_DEBUG } fl_log_level;

/* text has no trailing newline and is valid during the call only. May be called from any thread. */
typedef void (*fl_log_fn)(fl_log_level level, const char *text, void *user);

/* stage: a constant such as "load", "prefill", "train". done of total in the stage's own unit (total 0: unknown).
 * seconds_left is an estimate, negative while unknown. Return non-zero to cancel. */
typedef int (*fl_progress_fn)(const char *stage, int64_t done, int64_t total, double seconds_left, void *user);

/* ---- engine ------------------------------------------------------------------------------------------------- */

/* Threads, CPU kernels and log of everything made with it. Two engines in one process may differ. Objects made with an
 * engine must be closed before it. */
typedef struct fl_engine fl_engine;

typedef struct fl_engine_options {
    size_t size;     /* sizeof(fl_engine_options) */
    int threads;     /* 0: every core this process may use */
    const char *cpu; /* "auto", "generic", "avx2", "avx512" */
    fl_log_fn log;   /* NULL: silent */
    void *log_user;
    fl_log_level log_level; /* lines above it are dropped */
} fl_engine_options;

#define FL_ENGINE_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(fl_engine_options), 0, "auto", NULL, NULL, FL_LOG_INFO                                                  \
    }

FL_API fl_status fl_engine_create(fl_engine **out, const fl_engine_options *options);
FL_API void fl_engine_destroy(fl_engine *engine);
FL_API int fl_engine_threads(const fl_engine *engine);
FL_API const char *fl_engine_cpu(const fl_engine *engine); /* the kernels chosen */

/* ---- model -------------------------------------------------------------------------------------------------- */

/* Weights and architecture, read-only after open, shared by any number of sessions and threads. */
typedef struct fl_model fl_model;

/* How to change the positions of a RoPE model; names and meanings are llama.cpp's. Zero means "as the file says". */
typedef struct fl_rope_options {
    const char *scaling; /* a method's name as in docs/methods.md: "none", "linear" (Position Interpolation), "ntk",
                            "dynamic", "yarn", ...; NULL: as the file says */
    double scale;        /* factor s >= 1; with a scaling and no scale: context / trained window */
    double freq_base;    /* replaces rope_theta */
    double freq_scale;   /* 1/scale */
    int64_t yarn_orig_ctx;
    double yarn_ext_factor; /* to 1; FL_YARN_EXT_NONE: llama.cpp's 0, every pair is interpolated */
    double yarn_attn_factor, yarn_beta_fast, yarn_beta_slow;
    double shape; /* the number that bends ntk-linear, mixed-radix, power and truncated; 0: the papers' */
    const char *longrope_factors; /* JSON file of LongRoPE's factors, the dictionary that config.json calls
                                     rope_scaling; chooses "longrope" */
} fl_rope_options;

#define FL_YARN_EXT_NONE (-1.0)

/* Methods that change which position a key has for a query, for models as they are: rope.scaling names one of
 * "self-extend", "rerope", "leaky-rerope" and "dual-chunk"; a group of more than 1 alone means the first, also beside
 * another scaling. Zero: a default from the model's window L and the length wanted, by rope.scale or context.
 * docs/methods.md defines each. */
typedef struct fl_passes_options {
    int64_t group;        /* self-extend: positions that become one beyond group_window */
    int64_t group_window; /* self-extend: distances below it are exact; a multiple of group; L/4 */
    int64_t rerope_window; /* rerope: distances below it are exact; L/2 */
    double rerope_leak;    /* leaky-rerope: beyond, so many positions count as one */
    int64_t chunk_size;    /* dual-chunk: the largest position of a query; L-1, with chunks of 3L/4 */
    int64_t chunk_local;   /* dual-chunk: chunk_size less the length of a chunk; 0 with a chunk_size: a sixth of it */
    const char *logn;      /* scale logits by ln(tokens seen) / ln(logn_window): "off", "beyond" that window alone, or
                              "everywhere"; "length": by 1 + 0.1 ln(length of the text / logn_window) beyond it. NULL:
                              as the file says. With any method, also in training */
    int64_t logn_window;   /* 0: the trained window */
} fl_passes_options;

typedef struct fl_model_options {
    size_t size; /* sizeof(fl_model_options) */
    fl_rope_options rope;
    int64_t context; /* tokens the caller wants to use: chooses a missing rope.scale, or is the window that another
                        rope.freq_base is meant for and that exports state. 0: the window */
    fl_progress_fn progress;
    void *progress_user;
    const char *lora; /* a low-rank adapter, PEFT's folder or a GGUF file, added to the weights; NULL: none. It adds
                         fp32 copies of the matrices it changes. Positions of its base_config.json come before `rope` */
    double lora_scale; /* of its effect; 1: as trained */
    int64_t blockwise; /* blockwise causal attention: a token sees its own half of this window and the half before it,
                          so that no distance reaches it; 0: as the model says (xPos: its window); -1: off */
    fl_passes_options passes;
} fl_model_options;

#define FL_MODEL_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(fl_model_options), {0}, 0, NULL, NULL, NULL, 1, 0, {0}                                                  \
    }

/* path: a Hugging Face folder, a .safetensors file in one, a GGUF file, a llama2.c .bin, or a file of fl_model_pack.
 * The engine must outlive the model. */
FL_API fl_status fl_model_open(fl_model **out, fl_engine *engine, const char *path, const fl_model_options *options);
FL_API void fl_model_close(fl_model *model);

/* Write a new model to train from scratch: a Hugging Face folder of config's architecture (a config.json) with
 * matrices drawn from a normal distribution of the config's initializer_range (0.02 if absent), norms 1, biases 0. */
FL_API fl_status fl_model_init(const char *config, const char *folder, uint64_t seed);

/* Facts of an open model. Strings live as long as the model. */
typedef struct fl_model_info {
    size_t size;                                    /* sizeof(fl_model_info), set by the caller */
    const char *path, *format, *family, *tokenizer; /* tokenizer: path or NULL */
    int64_t parameters, weight_bytes;               /* weight_bytes: as held in memory by this engine */
    int64_t mapped_bytes; /* of those, used where a packed file has them: processes share them */
    int64_t vocab, width, layers, heads, kv_heads, head_dim, ffn;
    int64_t window;         /* tokens, after scaling */
    int64_t trained_window; /* tokens, before scaling */
    int64_t kv_bytes_per_token; /* in fp32; fl_model_kv_bytes for other types */
    const char *stored_type;
    const char *positions; /* "rotary", "learned", "alibi", "xpos", "sinusoidal", "none" */
    bool rotary;
    const char *rope_scaling; /* kind in force */
    const char *passes;       /* "plain", or the method that changes distances */
    const char *passes_detail; /* "groups of 4 beyond 128 tokens"; "" */
    const char *logn;          /* "off", "beyond", "everywhere", "length" */
    int64_t logn_window;       /* tokens */
    double rope_base, rope_factor, rope_first_frequency, rope_last_frequency, rope_magnitude;
    int32_t bos, eos; /* -1: none */
} fl_model_info;

FL_API fl_status fl_model_get_info(const fl_model *model, fl_model_info *info);
/* Bytes that keys and values of one token take in all layers when stored in these types, as in fl_session_options. */
FL_API fl_status fl_model_kv_bytes(const fl_model *model, const char *type_k, const char *type_v,
                                   int64_t *bytes_per_token);

/* ---- tokenizer ---------------------------------------------------------------------------------------------- */

typedef struct fl_tokenizer fl_tokenizer;

/* path: tokenizer.json, tokenizer.model, llama2.c tokenizer.bin, a GGUF file, or a folder holding one; NULL: the model's
 * own. model may be NULL when path is given. Read-only afterwards, may be shared. */
FL_API fl_status fl_tokenizer_load(fl_tokenizer **out, const char *path, const fl_model *model);
FL_API void fl_tokenizer_close(fl_tokenizer *tokenizer);

/* Ids of text (length bytes of any content). add_special: BOS and EOS as the tokenizer's file asks for; parse_special:
 * spellings of special tokens in the text become those tokens. *count receives how many ids there are; ids is filled
 * only if capacity is at least that, so a call with capacity 0 asks for the size. */
FL_API fl_status fl_tokenize(const fl_tokenizer *tokenizer, const char *text, size_t length, bool add_special,
                             bool parse_special, int32_t *ids, int64_t capacity, int64_t *count);

/* Text of ids, not zero-terminated; sizes as above, in bytes. Special tokens are left out unless show_special. */
FL_API fl_status fl_detokenize(const fl_tokenizer *tokenizer, const int32_t *ids, int64_t count, bool show_special,
                               char *text, size_t capacity, size_t *length);

/* ---- conversion --------------------------------------------------------------------------------------------- */

typedef struct fl_convert_options {
    size_t size;           /* sizeof(fl_convert_options) */
    const char *format;    /* "hf" (folder), "gguf", "llama2c"; NULL: by the end of path: .gguf, .bin, else a folder */
    const char *type;      /* of matrices: "f32", "f16", "bf16", in GGUF also "q8_0", "q4_0"; NULL: as stored, f32 where
                              that cannot be written */
    const char *tokenizer; /* file or folder to take the tokenizer from; NULL: the model's own */
    bool no_tokenizer;     /* leave it out */
} fl_convert_options;

#define FL_CONVERT_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(fl_convert_options), NULL, NULL, NULL, false                                                            \
    }

/* Write the model at `model` (as for fl_model_open) in another format or type, with its tokenizer, chat template and
 * ids that end a text. A llama2.c file gets its tokenizer.bin beside it. What a format cannot say is
 * FL_ERR_UNSUPPORTED. options may be NULL. */
FL_API fl_status fl_convert(const char *model, const char *path, const fl_convert_options *options);
typedef struct fl_pack_options {
    size_t size;           /* sizeof(fl_pack_options) */
    const char *tokenizer; /* file or folder to take the tokenizer from; NULL: the model's own */
    bool no_tokenizer;     /* leave it out */
} fl_pack_options;

#define FL_PACK_OPTIONS_INIT                                                                                           \
    {                                                                                                                  \
        sizeof(fl_pack_options), NULL, false                                                                           \
    }

/* Write a model as it was opened (its positions and adapter included), with its tokenizer, as one file whose weights lie
 * as the processor multiplies with them: fl_model_open maps such a file and uses them in place, which takes no time and
 * whose memory processes share. Results are the same to the bit at every CPU level. Such a model can be read with and
 * its positions changed, but not be converted, exported, merged with an adapter or trained: FL_ERR_UNSUPPORTED. options
 * may be NULL. */
FL_API fl_status fl_model_pack(const fl_model *model, const char *path, const fl_pack_options *options);
/* Write the adapter of that model in the folder `lora`, as PEFT writes it, as the GGUF file `path`, which llama.cpp reads
 * too. What fl_model_options.lora refuses is refused. */
FL_API fl_status fl_convert_lora(const char *model, const char *lora, const char *path);

/* ---- session ------------------------------------------------------------------------------------------------ */

/* A model reading one text: its memory of the tokens read so far. One thread at a time, except fl_session_cancel.
 * Sessions of several threads may share a model and an engine; their passes through the model take turns. What a
 * session computes depends on the tokens and options alone, to the bit: not on chunks, threads or other sessions. */
typedef struct fl_session fl_session;

/* What to do when a text would pass the window. Nothing is ever dropped unless a policy other than ERROR is named. */
typedef enum fl_overflow {
    FL_OVERFLOW_ERROR, /* FL_ERR_WINDOW with both numbers; the session is unchanged */
    FL_OVERFLOW_EXTEND, /* read on past the context with the positions as they are (extrapolation); refused for models
                           with learned positions, which have none to go on with */
    FL_OVERFLOW_STREAM  /* StreamingLLM: a token sees the first `sinks` tokens and the last `sliding_window`, itself
                           included, at their places in that cache; the rest is forgotten and its memory given up, so
                           that a text of any length runs in constant memory. Not a longer context */
} fl_overflow;

typedef struct fl_session_options {
    size_t size;     /* sizeof(fl_session_options) */
    int64_t context; /* most tokens the session may hold; 0: the model's window. A larger one is taken at the
                        caller's word; the engine's log warns when positions pass the model's window */
    int64_t chunk;   /* tokens computed at once while reading; 0: 512 */
    fl_overflow overflow;
    int64_t sliding_window;  /* a token sees itself and the window-1 before it; 0: as the model says */
    int64_t sinks;           /* with a sliding window: first tokens that stay visible; positions and memory grow on.
                                STREAM: 0 means 4, -1 none; sliding_window 0: what is left of the context or window */
    fl_progress_fn progress; /* stage "prefill", in tokens; reads of more than one token report */
    void *progress_user;
    const char *type_k, *type_v; /* how keys and values are stored: "f32", "f16", "bf16", "q8_0" or "q4_0"; NULL: "f32".
                                    The last two need heads of 32 values or more */
} fl_session_options;

#define FL_SESSION_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(fl_session_options), 0, 0, FL_OVERFLOW_ERROR, 0, 0, NULL, NULL, NULL, NULL                              \
    }

FL_API fl_status fl_session_create(fl_session **out, const fl_model *model, const fl_session_options *options);
FL_API void fl_session_destroy(fl_session *session);

/* Read count ids after those read before. Ids and room are checked before anything is read. On a later failure or on
 * cancellation the tokens of completed chunks stay, the rest is as if it had never been read; fl_session_tokens tells
 * how many there are. */
FL_API fl_status fl_session_read(fl_session *session, const int32_t *ids, int64_t count);

/* Logits after the last token read, [vocab], valid until the session changes; NULL while there are none: before the
 * first read, after a truncation, and after a read that stopped between two chunks. */
FL_API const float *fl_session_logits(const fl_session *session);
FL_API int64_t fl_session_tokens(const fl_session *session);     /* tokens read; STREAM: forgotten ones too */
FL_API int64_t fl_session_context(const fl_session *session);    /* most it may hold */
FL_API int64_t fl_session_bytes(const fl_session *session);      /* memory of its keys and values */
FL_API const int32_t *fl_session_ids(const fl_session *session); /* what was read, until the next read: tokens
                                                                     fl_session_ids_begin .. fl_session_tokens - 1 */
FL_API int64_t fl_session_ids_begin(const fl_session *session); /* 0; STREAM: ids go some time after their keys */

/* Keep the first `count` tokens. The logits are forgotten unless that is all of them; to have them after token
 * count-1, truncate to count-1 and read that token again. STREAM: FL_ERR_STATE where what a next token would see has
 * been forgotten; the last 256 tokens can always be taken back, and all (count 0). */
FL_API fl_status fl_session_truncate(fl_session *session, int64_t count);
/* A second session with the same options that has read the same tokens; pages of memory are shared until one of the two
 * writes. The caller destroys it. */
FL_API fl_status fl_session_fork(fl_session **out, const fl_session *session);
/* To and from a file that names the model, the position scheme, the attention window and the tokens; refused with
 * FL_ERR_STATE where any of them differs. Restoring replaces what the session held, or leaves it when it fails. */
FL_API fl_status fl_session_save(const fl_session *session, const char *path);
FL_API fl_status fl_session_restore(fl_session *session, const char *path);
/* From any thread or a signal handler: the read in progress (fl_generate reads too) ends within one layer with
 * FL_ERR_CANCELLED; if none is in progress, the next one does. The session stays usable. */
FL_API void fl_session_cancel(fl_session *session);

/* ---- generation --------------------------------------------------------------------------------------------- */

/* The steps, in this order, each on what the one before it left: penalty, top-k, top-p, min-p, temperature, draw
 * (llama.cpp's default order; top-p and min-p look at the distribution before the temperature). */
typedef struct fl_sampler_options {
    size_t size;           /* sizeof(fl_sampler_options) */
    double temperature;    /* 0: the most likely token, lowest id among equals */
    int top_k;             /* 0: off */
    double top_p;          /* keep the most likely tokens that together reach this share; 1: off */
    double min_p;          /* drop tokens less likely than this times the most likely one; 0: off */
    double repeat_penalty; /* logits of recent tokens: divided by it if positive, else multiplied; 1: off */
    int64_t repeat_last;   /* tokens looked at by the penalty; 0: off, -1: all */
    uint64_t seed;
} fl_sampler_options;

#define FL_SAMPLER_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(fl_sampler_options), 0.8, 40, 0.95, 0.05, 1.0, 64, 0                                                    \
    }

/* Why generation ended. */
typedef enum fl_finish {
    FL_FINISH_LENGTH,
    FL_FINISH_EOS,
    FL_FINISH_STOP,
    FL_FINISH_CONTEXT,
    FL_FINISH_CALLER
} fl_finish;

/* text: the next piece, complete UTF-8, length bytes, not zero-terminated. Return non-zero to stop. */
typedef int (*fl_text_fn)(const char *text, size_t length, void *user);

typedef struct fl_generate_options {
    size_t size;        /* sizeof(fl_generate_options) */
    int64_t max_tokens; /* -1: until the end of text or of the context */
    fl_sampler_options sampler;
    const char *const *stop; /* stop strings, stop_count of them, found across tokens; not part of the output */
    int stop_count;
    bool ignore_eos; /* generate on through end-of-text tokens */
    fl_text_fn text; /* may be NULL */
    void *text_user;
    const int32_t *stop_ids; /* further tokens that end the text (FL_FINISH_EOS), stop_id_count of them; they do so with
                                ignore_eos too */
    int stop_id_count;
} fl_generate_options;

#define FL_GENERATE_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(fl_generate_options), -1, FL_SAMPLER_OPTIONS_INIT, NULL, 0, false, NULL, NULL, NULL, 0                  \
    }

typedef struct fl_generate_result {
    int64_t tokens; /* generated, the end-of-text token not counted */
    fl_finish finish;
    double seconds;
} fl_generate_result;

/* Continue what the session has read; it must have logits (FL_ERR_STATE). Every generated token is read by the session,
 * those of a stop string included; the token that ends the text is not. Ends also, with FL_FINISH_CONTEXT, when the
 * context is full. tokenizer may be NULL when neither text nor stop strings are asked for. result may be NULL. After
 * FL_ERR_CANCELLED the session holds what had been read; the last piece of text may belong to a token it does not hold.
 */
FL_API fl_status fl_generate(fl_session *session, const fl_tokenizer *tokenizer, const fl_generate_options *options,
                             fl_generate_result *result);

/* ---- data --------------------------------------------------------------------------------------------------- */

/* A corpus as token ids with the boundaries of its documents, in memory or mapped from a cache file. Read-only, may be
 * shared by threads. */
typedef struct fl_data fl_data;

typedef enum fl_mark {
    FL_MARK_AUTO, /* as the tokenizer does around a text */
    FL_MARK_ON,
    FL_MARK_OFF
} fl_mark;

typedef struct fl_data_options {
    size_t size; /* sizeof(fl_data_options) */
    /* Files, folders (every .txt, .jsonl and .ndjson in them, in the byte order of paths) or "-" for standard input.
     * Text files, and JSON lines with one document each; Zstandard-compressed ones are told by their content. */
    const char *const *path;
    int paths;
    const char *format;     /* "auto" (by name), "text", "jsonl"; NULL: "auto" */
    const char *text_field; /* of a JSON line: the string that is the document; NULL: "text" */
    const char *separator;  /* text files: a line that ends a document; NULL: a file is one document */
    bool skip_bad;          /* leave out documents that cannot be read, and count them; else they are errors */
    fl_mark bos, eos;       /* tokens before and after each document */
    const char *cache;      /* folder for the ids, so that a corpus is tokenised once and then mapped; files and options
                               are recognised by content. NULL: ids are kept in memory */
    fl_progress_fn progress;
    void *progress_user;
} fl_data_options;

#define FL_DATA_OPTIONS_INIT                                                                                           \
    {                                                                                                                  \
        sizeof(fl_data_options), NULL, 0, NULL, NULL, NULL, false, FL_MARK_AUTO, FL_MARK_AUTO, NULL, NULL, NULL        \
    }

typedef struct fl_data_info {
    size_t size; /* sizeof(fl_data_info), set by the caller */
    int64_t files, documents, tokens;
    int64_t bytes;         /* of text */
    int64_t others;        /* files of folders left alone because of their names */
    int64_t empty;         /* documents and lines without text */
    int64_t bad;           /* left out by skip_bad */
    const char *first_bad; /* why the first of them was, "" if unknown; lives as long as the data */
    int32_t bos, eos;      /* around each document, -1: none */
    uint64_t checksum;     /* of ids and boundaries */
    bool cached;           /* found in the cache, not tokenised now */
} fl_data_info;

/* Errors name file, line and offset: what is not UTF-8 or holds NUL, bad JSON, a file without a document. */
FL_API fl_status fl_data_open(fl_data **out, const fl_tokenizer *tokenizer, const fl_data_options *options);
/* The same of ids at hand, as one document; they are copied. */
FL_API fl_status fl_data_of_ids(fl_data **out, const int32_t *ids, int64_t count);
FL_API void fl_data_close(fl_data *data);
FL_API fl_status fl_data_get_info(const fl_data *data, fl_data_info *info);

/* ---- training ----------------------------------------------------------------------------------------------- */

/* Fine-tuning, whole or by adapters: fp32 master weights, gradients and AdamW moments beside a model, which itself never
 * changes; frozen weights may have any storage type.
 * Same bits for the same data, seed, thread count and CPU level, also after a resume. */
typedef struct fl_trainer fl_trainer;

typedef enum fl_schedule { FL_SCHEDULE_CONSTANT, FL_SCHEDULE_LINEAR, FL_SCHEDULE_COSINE } fl_schedule;

/* How documents share a sequence of options.length tokens. */
typedef enum fl_packing {
    FL_PACKING_JOIN,  /* all documents are one stream; attention runs over their boundaries (GPT-2, Llama) */
    FL_PACKING_CUT,   /* the same stream, but attention and positions begin anew with each document, and no token is
                         predicted from the document before it */
    FL_PACKING_SINGLE /* a sequence lies in one document; what is left at the end of one is not trained on */
} fl_packing;

typedef enum fl_store { FL_STORE_F32, FL_STORE_BF16 } fl_store;
typedef enum fl_recompute { FL_RECOMPUTE_OFF, FL_RECOMPUTE_ON, FL_RECOMPUTE_AUTO } fl_recompute;

typedef struct fl_train_step {
    int64_t step;     /* steps taken, this one included */
    double loss;      /* mean negative log-likelihood per target token before the update */
    double grad_norm; /* before clipping */
    double lr, seconds;
    int64_t tokens; /* of this step */
} fl_train_step;

/* Called after every step of fl_trainer_run. */
typedef void (*fl_step_fn)(const fl_train_step *step, void *user);

/* Where the tokens of a training sequence stand: 0, 1, 2, ..., or at positions drawn anew for each sequence so that a
 * rotary model meets larger distances (docs/methods.md). Reading is at 0, 1, 2, ... as ever. */
typedef enum fl_train_positions {
    FL_TRAIN_POSITIONS_PLAIN,
    FL_TRAIN_POSITIONS_RANDOMIZED, /* real numbers, by steps from U(0, 2) */
    FL_TRAIN_POSITIONS_SUBSAMPLED  /* whole numbers below position_range without repetition */
} fl_train_positions;

struct fl_train_eval; /* below, with evaluation */

typedef struct fl_train_options {
    size_t size;                            /* sizeof(fl_train_options) */
    int64_t length;                         /* tokens per sequence; 0: the model's window */
    int64_t batch;                          /* sequences per step */
    int64_t accumulate;                     /* passes a step is cut into; must divide batch. 0: as few as fit */
    int64_t steps;                          /* in all, counted from the first run */
    double lr;                              /* peak */
    int64_t warmup;                         /* steps from 10 % of the peak to the peak, linear */
    fl_schedule schedule;                   /* after the warm-up: constant, or to lr_end at the last step */
    double lr_end;                          /* share of the peak */
    double beta1, beta2, eps, weight_decay; /* AdamW; decay applies to matrices, not to norms and biases */
    double clip;                            /* largest global gradient norm; 0: off */
    int64_t lora_rank;                      /* > 0: low-rank adapters (Hu et al. 2021) train, the model is frozen */
    double lora_alpha;                      /* an adapter adds alpha / rank * B A */
    const char *lora_targets;               /* modules with adapters, "q_proj,v_proj": a module's whole name or its end
                                               behind a dot, as PEFT's target_modules; NULL: those of attention */
    const char *trainable;                  /* "embed,norm": tensors with one of these in their name train whole and all
                                               others are frozen (LongLoRA's LoRA+ with adapters); NULL: everything, or
                                               with adapters nothing else */
    int64_t shifted_group;                  /* > 0: shifted sparse attention (LongLoRA) while training, in groups of so
                                               many tokens; the model is then read with full attention. 0: full */
    fl_recompute recompute;                 /* keep block inputs only: less memory, a third more time, the same bits */
    fl_store store;                         /* how activations wait for the backward pass; arithmetic is fp32 */
    int64_t memory_limit;                   /* bytes that training may take; 0: those of the machine or control group */
    uint64_t seed;                          /* order of the data */
    fl_packing packing;
    fl_train_positions positions;
    int64_t position_range;                 /* drawn positions stay below it; 0: length */
    const char *state;                      /* file for exact resume; NULL: none */
    int64_t save_every;                     /* steps between saves; 0: at the end and when cancelled */
    bool resume;                            /* continue from `state` if it exists; else an existing file is an error */
    const char *log;                        /* JSONL, one object per step; NULL: none */
    const char *tensorboard;                /* folder for event files with the same numbers; NULL: none */
    const struct fl_train_eval *eval;       /* evaluation by fl_trainer_run, borrowed; NULL: none */
    fl_step_fn on_step;
    void *on_step_user;
    fl_progress_fn progress;
    void *progress_user;
} fl_train_options;

#define FL_TRAIN_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(fl_train_options), 0, 8, 0, 1000, 2e-5, 20, FL_SCHEDULE_CONSTANT, 0.0, 0.9, 0.95, 1e-8, 0.0, 1.0, 0,    \
            16.0, NULL, NULL, 0, FL_RECOMPUTE_AUTO, FL_STORE_F32, 0, 0, FL_PACKING_JOIN, FL_TRAIN_POSITIONS_PLAIN,     \
            0, NULL, 0, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL                                                \
    }

/* What a step takes, counted by running the model's own code with shapes only. */
typedef struct fl_train_memory {
    size_t size;             /* sizeof(fl_train_memory), set by the caller */
    int64_t model_bytes;     /* weights as opened */
    int64_t parameter_bytes; /* masters, gradients and two moments of what trains */
    int64_t pass_bytes;      /* activations and their gradients at the peak of a pass */
    int64_t batch_bytes;     /* ids, targets and losses */
    int64_t eval_bytes;      /* keys, values and activations of evaluation */
    int64_t total_bytes;     /* of these */
    int64_t limit_bytes;     /* options->memory_limit, or the machine's */
    int64_t trained;         /* numbers that train */
    int64_t accumulate;      /* as given or chosen */
    bool recompute;
} fl_train_memory;

/* Where options leave it open: passes are cut until one fits or has 2048 tokens or one sequence, then blocks are
 * recomputed, then passes are cut on. A margin of 5 % and 40 MB is kept for the rest of the process. FL_ERR_MEMORY when
 * nothing fits: the message says what would. fl_trainer_create does the same. */
FL_API fl_status fl_train_memory_plan(fl_train_memory *out, const fl_model *model, const fl_train_options *options);

FL_API fl_status fl_trainer_create(fl_trainer **out, const fl_model *model, const fl_train_options *options);
FL_API void fl_trainer_destroy(fl_trainer *trainer);

/* One optimiser step on options.batch rows of options.length + 1 ids, contiguous. A loss or gradient that is not
 * finite is FL_ERR_NUMERIC and changes nothing. */
FL_API fl_status fl_trainer_step(fl_trainer *trainer, const int32_t *ids, fl_train_step *result);

/* Train on data, cut into sequences of length + 1 as the packing says, which are shuffled by the seed for each epoch.
 * Saves, resumes and logs as the options say; steps already taken are not repeated, and other data than before is
 * FL_ERR_STATE. last may be NULL. */
FL_API fl_status fl_trainer_run(fl_trainer *trainer, const fl_data *data, fl_train_step *last);

FL_API fl_status fl_trainer_save(const fl_trainer *trainer, const char *path);
FL_API fl_status fl_trainer_load(fl_trainer *trainer, const char *path);
/* From any thread or a signal handler: fl_trainer_run saves its state and ends with FL_ERR_CANCELLED. */
FL_API void fl_trainer_cancel(fl_trainer *trainer);

/* Write the trained model, adapters merged, as a Hugging Face folder with its rotary scaling. type: "f32", "f16" or "bf16". */
FL_API fl_status fl_trainer_export(const fl_trainer *trainer, const char *folder, const char *type);
/* Write the adapters as a PEFT folder (adapter_config.json, adapter_model.safetensors), which fl_model_open takes as lora.
 * PEFT's files say nothing of positions: where they are others than the base model's file says, base_config.json beside
 * them is its config.json with these, which fl_model_open reads with the adapter. Positions without a spelling there
 * (dynamic-linear, dynamic-yarn) must be asked for again by whoever opens the two. */
FL_API fl_status fl_trainer_export_adapter(const fl_trainer *trainer, const char *folder);
/* The same for a model as it was opened (with its rope options): how a window is extended without training. */
FL_API fl_status fl_model_export(const fl_model *model, const char *folder, const char *type);

/* ---- evaluation --------------------------------------------------------------------------------------------- */

/* docs/evaluation.md says exactly what each protocol computes. */
typedef enum fl_ppl_protocol {
    FL_PPL_SINGLE,   /* one pass over BOS and the first tokens, N in all */
    FL_PPL_SLIDING,  /* windows of N every `stride` tokens, each token scored once */
    FL_PPL_DISJOINT, /* chunks of N, second half scored (llama.cpp) */
    FL_PPL_POSITION, /* as single, reported by position */
    FL_PPL_MATCHED   /* the same target blocks with contexts of every length */
} fl_ppl_protocol;

#define FL_PPL_BUCKETS 16

/* What stands in place of far context, to tell whether a gain comes from what it says. */
typedef enum fl_far {
    FL_FAR_KEEP,
    FL_FAR_OTHER,   /* as many tokens of another document */
    FL_FAR_SHUFFLE, /* the same tokens in random order */
    FL_FAR_DROP     /* nothing: the window is only as long as what is near */
} fl_far;

/* One document at one length. */
typedef struct fl_ppl_document {
    int64_t tokens, bytes; /* scored; bytes 0 without a tokenizer */
    double nll;            /* mean per scored token */
} fl_ppl_document;

typedef struct fl_ppl_options {
    size_t size; /* sizeof(fl_ppl_options) */
    fl_ppl_protocol protocol;
    const int64_t *lengths; /* [length_count] N */
    int length_count;
    int64_t stride;        /* sliding: 256 */
    int64_t score;         /* matched: target tokens per block, 128 */
    int64_t blocks;        /* matched: blocks per document, 16 */
    const int64_t *starts; /* matched: given first targets instead of drawn ones, [blocks]; one document only */
    uint64_t seed;
    int64_t max_tokens; /* sliding, disjoint: text tokens used; 0: all */
    fl_progress_fn progress;
    void *progress_user;
    const fl_session_options *session; /* how texts are read, context and progress left aside; NULL: as a new session */
    fl_far far;                        /* matched: of context more than `near` tokens from the end of a window */
    int64_t near;                      /* 0: the model's trained window */
    bool skip_short;                   /* leave out documents that are too short for the longest length, and count them */
    const fl_tokenizer *tokenizer;     /* for bits per byte; NULL: none */
    const fl_model *reference; /* judge the model's predictions by this one's, whose keys and values are f32; may be the
                                  model itself; NULL: none */
    fl_ppl_document *documents; /* [length_count][document_count], filled in; NULL: not wanted */
    const char *items;          /* as in fl_eval_run: an item is a window */
} fl_ppl_options;

#define FL_PPL_OPTIONS_INIT                                                                                            \
    {                                                                                                                  \
        sizeof(fl_ppl_options), FL_PPL_SINGLE, NULL, 0, 256, 128, 16, NULL, 0, 0, NULL, NULL, NULL, FL_FAR_KEEP, 0,    \
            false, NULL, NULL, NULL, NULL                                                                              \
    }

typedef struct fl_ppl_result {
    int64_t length;                    /* N */
    int64_t tokens;                    /* scored */
    double nll;                        /* mean per scored token, nats */
    double ppl;                        /* exp(nll) */
    double stderr_nll;                 /* standard error of nll */
    double seconds, tokens_per_second; /* tokens computed, context included */
    int64_t peak_bytes;                /* resident memory of the process, largest so far */
    double bucket[FL_PPL_BUCKETS];     /* position: mean nll of positions [i, i+1) * N / 16 */
    int64_t bucket_tokens[FL_PPL_BUCKETS];
    int documents, skipped;   /* scored; left out by skip_short */
    double low, high;         /* of nll, 95 %, by bootstrap over documents; nll itself for one document */
    int64_t bytes;            /* of the scored text; 0 without a tokenizer */
    double bits_per_byte;
    double gain;              /* matched: nll at the first length minus nll here, in nats per token ... */
    double gain_low, gain_high; /* ... with the 95 % of a paired bootstrap over documents */
    int gain_documents;         /* in which it is above 0 */
    double kl, kl_stderr, kl_max; /* with a reference: divergence KL(reference || model) per token, nats */
    double top1;                  /* share of tokens for which both find the same one most likely */
    double reference_nll;
    int64_t reused; /* windows taken from items */
} fl_ppl_result;

/* A document: ids without BOS. */
typedef struct fl_document {
    const int32_t *ids;
    int64_t count;
} fl_document;

/* result: [length_count]. bos: put before the text, -1: none. A document too short for a length is FL_ERR_ARGUMENT
 * with both numbers. */
FL_API fl_status fl_eval_ppl(fl_ppl_result *result, const fl_model *model, const fl_document *document,
                             int document_count, int32_t bos, const fl_ppl_options *options);

/* What all evaluations of items have in common. Items are drawn by the seed, each on its own: their numbers do not depend
 * on the order or on which are computed now. */
typedef struct fl_eval_run {
    const fl_session_options *session; /* how texts are read, context and progress left aside; NULL: as a new session */
    uint64_t seed;
    const char *items; /* JSON lines, one per item: those of this run that it holds are not computed again; NULL: none */
    fl_progress_fn progress;
    void *progress_user;
} fl_eval_run;

/* Retrieval of a key from a long text that is about something else. */
typedef struct fl_passkey_options {
    size_t size; /* sizeof(fl_passkey_options) */
    fl_eval_run run;
    int64_t length;     /* tokens of a prompt with its answer, BOS included; 0: the model's window */
    int distances;      /* from the key to the end of the prompt: length * i / distances for i = 1 .. distances */
    int trials;         /* of each distance */
    bool grow;          /* prompts begin with the key and are no longer than the distance asks */
    const char *filler; /* text to hide the key in, at word boundaries; NULL: the literal protocol's */
    size_t filler_bytes;
    const char *const *words; /* [word_count] keys are drawn from; NULL: five digits */
    int64_t word_count;
} fl_passkey_options;

#define FL_PASSKEY_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(fl_passkey_options), {NULL, 0, NULL, NULL, NULL}, 0, 32, 10, false, NULL, 0, NULL, 0                    \
    }

typedef struct fl_passkey_point {
    int64_t distance; /* asked for */
    double measured;  /* mean distance of the prompts: as near as the parts that cannot be left out allow */
    int64_t trials, hits;
    double low, high; /* of hits/trials, 95 % (Wilson) */
    double nll;       /* mean per answer token */
} fl_passkey_point;

typedef struct fl_passkey_result {
    int64_t length;
    int64_t k_max;    /* largest distance up to which every one has at least 20 % hits; 0: none */
    int64_t k_max_80; /* the same for 80 % */
    int64_t reused;   /* trials taken from run.items */
    double seconds;
} fl_passkey_result;

/* point: [distances]. A trial is a hit if every token of the key is the most likely one after those before it: what
 * greedy decoding would write. docs/evaluation.md has the protocol. */
FL_API fl_status fl_eval_passkey(fl_passkey_result *result, fl_passkey_point *point, const fl_model *model,
                                 const fl_tokenizer *tokenizer, const fl_passkey_options *options);

/* A share of items with its interval of 95 % (Wilson). */
typedef struct fl_share {
    int64_t hits, items;
    double low, high;
} fl_share;

/* Retrieval items of a file: lines of group, prompt and answer, separated by tabs. */
typedef struct fl_recall_group {
    char name[64];
    fl_share right;               /* items of whose answer every token was the most likely one */
    int64_t tokens, right_tokens; /* of answers */
    double nll;                   /* mean per answer token */
} fl_recall_group;

/* *group: [*count], in the order of the file; free with fl_eval_free. The answer follows the prompt after a space. */
FL_API fl_status fl_eval_recall(fl_recall_group **group, int *count, const fl_model *model,
                                const fl_tokenizer *tokenizer, const char *path, const fl_eval_run *run);

/* A sentence at several depths of texts of several lengths. */
typedef struct fl_needle_options {
    size_t size; /* sizeof(fl_needle_options) */
    fl_eval_run run;
    const int64_t *lengths; /* [length_count] tokens of a prompt with its answer */
    int length_count;
    int depths;           /* from 0 (the beginning) to 1 (the end), evenly spread */
    int trials;           /* of each cell, with other pieces of the text and other keys */
    const char *haystack; /* text */
    size_t haystack_bytes;
    const char *needle, *question, *answer; /* "{}" becomes a five-digit number of the trial; NULL: a sandwich in San
                                               Francisco (docs/evaluation.md) */
} fl_needle_options;

#define FL_NEEDLE_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(fl_needle_options), {NULL, 0, NULL, NULL, NULL}, NULL, 0, 11, 1, NULL, 0, NULL, NULL, NULL              \
    }

typedef struct fl_needle_cell {
    int64_t length;
    double depth;        /* asked for, 0 to 1; the needle stands behind the sentence that ends there */
    int64_t trials, hits; /* every answer token the most likely one */
    double right;        /* share of answer tokens that were */
    double nll;          /* mean per answer token */
} fl_needle_cell;

/* cell: [depths][length_count]. */
FL_API fl_status fl_eval_needle(fl_needle_cell *cell, int64_t *reused, const fl_model *model,
                                const fl_tokenizer *tokenizer, const fl_needle_options *options);

/* Next-token accuracy and nll by position. */
typedef struct fl_position_options {
    size_t size; /* sizeof(fl_position_options) */
    fl_eval_run run;
    int64_t length;  /* tokens of a window, BOS included; 0: the model's window */
    int bins;        /* equal ranges of positions */
    int64_t windows; /* of all documents together, evenly spread over them; 0: as many as do not overlap */
} fl_position_options;

#define FL_POSITION_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(fl_position_options), {NULL, 0, NULL, NULL, NULL}, 0, 32, 16                                            \
    }

typedef struct fl_position_bin {
    int64_t begin, end, tokens; /* positions; tokens judged there */
    double nll, accuracy;       /* means over the bin */
    double cumulative_nll, cumulative_accuracy; /* over positions 1 .. end-1 */
} fl_position_bin;

/* bin: [bins]. *windows: how many were read; *short_documents: how many had no whole one. */
FL_API fl_status fl_eval_position(fl_position_bin *bin, int64_t *windows, int *short_documents, const fl_model *model,
                                  const fl_document *document, int document_count, int32_t bos,
                                  const fl_position_options *options);

/* The true next tokens among others of the same document. */
typedef struct fl_cloze_options {
    size_t size; /* sizeof(fl_cloze_options) */
    fl_eval_run run;
    int64_t length;  /* tokens of context and continuation, BOS included; 0: the model's window */
    int64_t target;  /* tokens of a continuation */
    int choices;     /* the true one included */
    int64_t items;
} fl_cloze_options;

#define FL_CLOZE_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(fl_cloze_options), {NULL, 0, NULL, NULL, NULL}, 0, 32, 4, 200                                           \
    }

typedef struct fl_cloze_result {
    fl_share right;
    double nll_true, nll_false; /* mean per token of the true continuations, and of the others */
    int64_t reused;
    int documents, skipped; /* used; too short */
} fl_cloze_result;

FL_API fl_status fl_eval_cloze(fl_cloze_result *result, const fl_model *model, const fl_document *document,
                               int document_count, int32_t bos, const fl_cloze_options *options);

/* Questions with given answers, judged by likelihood, with the prompts of the LM evaluation harness. */
typedef struct fl_choice_options {
    size_t size; /* sizeof(fl_choice_options) */
    fl_eval_run run;
    const char *task;   /* "boolq", "piqa", "arc" */
    const char *path;   /* the set's own JSON lines, also .zst */
    const char *labels; /* piqa: a label on each line */
    int64_t items;      /* the first so many; 0: all */
    int64_t length;     /* most tokens of a question with an answer; 0: the model's window. Longer ones are skipped */
} fl_choice_options;

#define FL_CHOICE_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(fl_choice_options), {NULL, 0, NULL, NULL, NULL}, NULL, NULL, NULL, 0, 0                                 \
    }

typedef struct fl_choice_result {
    fl_share right;            /* the likeliest answer is the right one */
    fl_share right_normalised; /* the likeliest per letter is */
    int64_t skipped, reused;   /* too long; taken from run.items */
} fl_choice_result;

FL_API fl_status fl_eval_choice(fl_choice_result *result, const fl_model *model, const fl_tokenizer *tokenizer,
                                const fl_choice_options *options);

/* Recall, precision and their harmonic mean, as the Python package rouge_score computes them without stemming. */
typedef struct fl_rouge {
    double precision, recall, f;
} fl_rouge;

/* rouge: ROUGE-1, ROUGE-2, ROUGE-L. Texts are zero-terminated. */
FL_API fl_status fl_eval_rouge(fl_rouge rouge[3], const char *reference, const char *candidate);

/* Summaries of long documents, written by the model and compared with given ones. */
typedef struct fl_summary_options {
    size_t size; /* sizeof(fl_summary_options) */
    fl_eval_run run;
    const char *path;      /* JSON lines, also .zst: QMSum's, or objects with a document and a summary */
    int64_t items;         /* the first so many documents with all their queries; 0: all */
    int64_t input_tokens;  /* cut documents to so many tokens, and count them; 0: skip those that do not fit instead */
    int64_t length;        /* most tokens of prompt and summary; 0: the model's window */
    int64_t output_tokens; /* most tokens of a summary */
    double temperature, top_p;
} fl_summary_options;

#define FL_SUMMARY_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(fl_summary_options), {NULL, 0, NULL, NULL, NULL}, NULL, 0, 0, 0, 1000, 0.5, 0.95                        \
    }

typedef struct fl_summary_result {
    int64_t documents;                   /* of the file; one may have several queries, each with its summary */
    int64_t items, skipped, cut, reused; /* summaries */
    int64_t input_tokens, output_tokens; /* sums */
    double f[3], low[3], high[3];        /* mean F of ROUGE-1, -2, -L with 95 % by bootstrap over summaries */
} fl_summary_result;

FL_API fl_status fl_eval_summary(fl_summary_result *result, const fl_model *model, const fl_tokenizer *tokenizer,
                                 const fl_summary_options *options);

/* What a model writes past its window when it always takes the most likely token. */
typedef struct fl_babble_options {
    size_t size; /* sizeof(fl_babble_options) */
    fl_eval_run run;
    int64_t prompt; /* tokens read before writing; 0: the model's trained window */
    int64_t tokens; /* written */
    int64_t items;  /* places in the texts */
    int64_t window; /* the writing is judged by its own likelihood with at most so many tokens; 0: the trained window */
} fl_babble_options;

#define FL_BABBLE_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        sizeof(fl_babble_options), {NULL, 0, NULL, NULL, NULL}, 0, 256, 8, 0                                           \
    }

typedef struct fl_babble_result {
    int64_t items, tokens, reused;
    double distinct[4]; /* share of different n-grams among all of one writing, n = 1 .. 4, mean */
    double text_distinct[4]; /* the same of the text that really follows */
    double nll, text_nll;    /* mean per token in windows: of the writing; of the text that really follows */
    double looping;          /* share of writings whose last 32 tokens repeat with a period of at most 16 */
} fl_babble_result;

FL_API fl_status fl_eval_babble(fl_babble_result *result, const fl_model *model, const fl_document *document,
                                int document_count, int32_t bos, const fl_babble_options *options);

/* Release what an evaluation handed out; NULL is fine. */
FL_API void fl_eval_free(void *list);
/* Called after every evaluation of a training run: result [count], one per length; step 0: before the first one. */
typedef void (*fl_eval_fn)(int64_t step, const fl_ppl_result *result, int count, void *user);

/* Evaluation during fl_trainer_run: before the first step, every `every` steps and after the last one; logged among the
 * steps as {"step":..., "nll_LENGTH":..., "ppl_LENGTH":...}. */
typedef struct fl_train_eval {
    int64_t every;
    const fl_document *document; /* [documents] */
    int documents;
    int32_t bos; /* as fl_eval_ppl's */
    const fl_ppl_options *options;
    fl_eval_fn on_eval; /* may be NULL */
    void *user;
} fl_train_eval;

/* ---- planning ----------------------------------------------------------------------------------------------- */

/* What a predicted window rests on. */
typedef enum fl_plan_basis {
    FL_PLAN_LAW,          /* the scaling laws of RoPE extrapolation (Liu et al., ICLR 2024) */
    FL_PLAN_CONSTRUCTION, /* every rotation angle, or distance read at, stays inside the range seen in training */
    FL_PLAN_RULE,         /* a rule of thumb of the field */
    FL_PLAN_NONE          /* nothing predicts it */
} fl_plan_basis;

typedef struct fl_plan_method {
    const char *name; /* as --rope-scaling spells it; "base" is a changed --rope-freq-base */
    fl_plan_basis basis;
    bool tuned;         /* the prediction holds after a fine-tune on tune_length tokens */
    bool degenerate;    /* rests on the law, with heads of too few pairs for it */
    bool passes;        /* changes which distances a query sees while reading, no angle of the model: nothing to tune */
    bool stream;        /* --overflow stream: perplexity alone reaches so far, what left the cache cannot be fetched */
    double window;      /* predicted, tokens */
    double scale, base; /* the flags that make it: --rope-scale, --rope-freq-base; 0: not needed */
    double change;      /* mean |ln| of what it multiplies the angles by, over all pairs: how far it is from the model */
    const char *note;   /* one sentence */
    /* With a model: bytes resident while reading the target. With rates too: seconds to read the target, and for one
     * more token behind it. Else 0. */
    int64_t memory_bytes;
    double read_seconds, token_seconds;
    /* The fine-tune: tokens per sequence (the target where positions must be seen to be learnt, else tune_length), and
     * of a step on `batch` of them bytes at its peak and seconds, without and with recomputation. */
    int64_t tune_length, train_bytes, train_recompute_bytes;
    double train_seconds, train_recompute_seconds;
} fl_plan_method;

#define FL_PLAN_METHODS 32
#define FL_PLAN_CACHES 5

typedef struct fl_plan {
    size_t size; /* sizeof(fl_plan), set by the caller */
    int64_t target, trained_window, tune_length;
    /* Rotary geometry. */
    int rotary_dim, critical_dimension; /* components whose whole period was seen in training */
    double critical_pairs;              /* before rounding up, in pairs */
    double beta0, beta1, beta2, beta3;
    double base_for_target;     /* smallest base whose bound is the target; 0: above 1e9 */
    double lowest_base;         /* lower bound on the base for the target (Men et al. 2024); 0: above 1e9 */
    int64_t first_negative;     /* first distance the present base tells nothing about, tokens */
    double interpolation_bound; /* largest error of an interpolated score, in units of the largest |q k| pair */
    bool degenerate;            /* so few pairs that rounding the critical dimension decides the law */
    fl_plan_method method[FL_PLAN_METHODS];
    int methods;
    int smallest; /* the method that reaches the target with the least change of the angles; -1: none does */
    /* Bytes; 0 without a model. Reading is with the model's own positions: methods that rotate keys at use take more. */
    int64_t weight_bytes;  /* as the engine holds them */
    int64_t kv_bytes;      /* of the target, in the types asked for */
    int64_t scratch_bytes; /* activations while reading */
    int64_t read_bytes;    /* the three together: peak resident memory, but for the program itself */
    int64_t train_bytes, train_recompute_bytes; /* peak of a step on `batch` sequences of tune_length */
    struct {
        const char *type;
        int64_t bytes; /* of the target's keys and values, both of this type; 0: the type does not fit the heads */
    } cache[FL_PLAN_CACHES];
    double train_seconds, train_recompute_seconds; /* of such a step; 0 without rates */
    /* The same for adapters of rank 8 with embeddings and norms (LongLoRA), on sequences of the target; 0: not for this
     * family. */
    int64_t lora_bytes, lora_recompute_bytes;
    double lora_seconds, lora_recompute_seconds;
} fl_plan;

/* What this machine does per second on a model's own shapes, by a measurement of about a second. */
typedef struct fl_rates {
    size_t size; /* sizeof(fl_rates), set by the caller */
    int threads;
    double packed_flops;          /* products of many rows with the weights as loaded */
    double plain_flops;           /* products of training */
    double weight_bytes;          /* weights read for one row */
    double attend_flops;          /* attention of many rows */
    double attend_backward_flops; /* its backward pass */
    double cache_bytes;           /* keys and values read for one row */
    double row_bytes;             /* what passes row by row */
    double call_seconds;          /* not a rate: what any operator costs at least */
} fl_rates;

FL_API fl_status fl_rates_measure(fl_rates *out, const fl_model *model);
/* What a step of training takes by these rates, evaluations apart: options as for fl_trainer_create, with accumulate and
 * recompute as fl_train_memory_plan settled them. */
FL_API fl_status fl_train_step_seconds(double *seconds, const fl_model *model, const fl_train_options *options,
                                       const fl_rates *rates);
/* A JSON file that names what it was measured with; a file made with other threads, kernels or shapes is refused. */
FL_API fl_status fl_rates_save(const fl_rates *rates, const fl_model *model, const char *path);
FL_API fl_status fl_rates_load(fl_rates *out, const fl_model *model, const char *path);

typedef struct fl_plan_options {
    size_t size;            /* sizeof(fl_plan_options) */
    const fl_model *model;  /* NULL: the three numbers below */
    int head_dim;           /* rotated components */
    int64_t window;         /* trained window, tokens */
    double base;
    int64_t to;                  /* target window, tokens */
    int64_t tune_length;         /* tokens per sequence of the fine-tune; 0: the trained window */
    int64_t chunk;               /* tokens read at once; 0: 512 */
    int64_t batch;               /* sequences of a training pass; 0: 1 */
    const char *type_k, *type_v; /* as in fl_session_options */
    const fl_rates *rates;       /* NULL: no times */
} fl_plan_options;

#define FL_PLAN_OPTIONS_INIT                                                                                           \
    {                                                                                                                  \
        sizeof(fl_plan_options), NULL, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL                                           \
    }

/* Predict, and count bytes and work by running the model's own code with shapes only. */
FL_API fl_status fl_plan_make(fl_plan *out, const fl_plan_options *options);

/* ---- search ------------------------------------------------------------------------------------------------- */

/* LongRoPE's search for one divisor of the rotary frequency per pair (docs/methods.md). */
typedef struct fl_longrope_options {
    size_t size;                 /* sizeof(fl_longrope_options) */
    const fl_document *document; /* [documents] texts to judge by; some must hold `to` tokens */
    int documents;
    int32_t bos;                 /* put before each sample, -1: none */
    int64_t to;                  /* the window wanted, tokens */
    int64_t population, rounds;  /* lists alive; rounds that replace the worse half of them */
    int64_t samples;             /* texts of `to` tokens that every list is judged by */
    uint64_t seed;
    const char *path; /* the best list is written here after every round; NULL: nowhere */
    fl_progress_fn progress; /* stage "search", in lists judged */
    void *progress_user;
} fl_longrope_options;

#define FL_LONGROPE_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(fl_longrope_options), NULL, 0, -1, 0, 64, 40, 5, 0, NULL, NULL, NULL                                    \
    }

typedef struct fl_longrope_result {
    size_t size;        /* sizeof(fl_longrope_result), set by the caller */
    int pairs;
    double factor[256]; /* [pairs] */
    double nll;         /* mean per token, nats, of the best list, */
    double nll_linear, nll_ntk, nll_yarn; /* and of the lists the search began with */
    int64_t evaluated;  /* lists judged */
} fl_longrope_result;

/* model: rotary, unscaled; it is not changed. Same model, texts, options: same result. FL_ERR_CANCELLED keeps what was
 * written. */
FL_API fl_status fl_longrope_search(fl_longrope_result *out, const fl_model *model, const fl_longrope_options *options);

#ifdef __cplusplus
}
#endif
#endif
