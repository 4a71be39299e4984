"""Train the SentencePiece tokenizer on the training split alone.

    python tokenizer.py CORPUS SIZE OUT.model

Identity normalisation, BPE, byte fallback, one token per digit; unknown 0, BOS 1, EOS 2. Learned from a seeded sample
of SAMPLE characters of the lines of books.train.txt and tech.train.txt.
"""
import pathlib
import random
import sys

import sentencepiece

SAMPLE = 12_000_000


def lines(corpus):
    rng, total = random.Random(1), 0
    pool = []
    for name, share in (("books.train.txt", 0.8), ("tech.train.txt", 0.2)):
        found = [line for line in (corpus / name).read_text().split("\n") if line.strip()]
        rng.shuffle(found)
        total = 0
        for line in found:
            if total >= SAMPLE * share:
                break
            pool.append(line[:4000])
            total += len(line)
    return pool


def main():
    corpus, size, out = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with open(out, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines(corpus)), model_writer=file, model_type="bpe", vocab_size=size,
            byte_fallback=True, split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True, character_coverage=0.9995, num_threads=2, minloglevel=1)


main()
