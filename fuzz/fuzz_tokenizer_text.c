/* Texts, through one tokenizer of each make. The first byte chooses it. */
#include "fuzz_tokenizer.h"

static fl_tokenizer *tokenizer[8];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[8] = {"bytes_llama3.json",  "bytes_qwen2.json", "bytes_behaviors.json",
                                         "llama_prepend.json", "unigram.json",     "unigram_user.model",
                                         "bpe_user.model",     "bpe_unused.model"};
    if (size == 0) return 0;
    int choice = data[0] % 8;
    if (!tokenizer[choice]) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", FUZZ_TOKENIZERS, names[choice]);
        FUZZ_PROMISE(fl_tokenizer_open(&tokenizer[choice], path) == FL_OK);
    }
    fuzz_tokenizer_text(tokenizer[choice], (const char *)data + 1, size - 1);
    return 0;
}
