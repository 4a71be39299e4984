/* SentencePiece models and llama2.c tokenizers; told apart by their content. */
#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] != '{') fuzz_tokenizer_file(data, size, 0);
    return 0;
}
