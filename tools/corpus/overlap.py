"""How much of the held-out text also stands in the training text.

    python overlap.py CORPUS

For books and technical text: the share of 13-grams (words in lower case, letters and digits only) of validation and
test that occur anywhere in the training texts of either kind. 64-bit hashes; chance matches are about 1e-12.
"""
import pathlib
import re
import sys

import numpy as np

N = 13


def grams(path):
    words = re.findall(r"[a-z0-9]+", path.read_text().lower())
    index = {}
    ids = np.fromiter((index.setdefault(w, hash(w) & 0xFFFFFFFFFFFFFFFF) for w in words), np.uint64, len(words))
    out = np.zeros(max(len(ids) - N + 1, 0), np.uint64)
    for i in range(N):
        out = out * np.uint64(6364136223846793005) + ids[i:i + len(out)]
        out ^= out >> np.uint64(29)
    return np.unique(out)


def main():
    corpus = pathlib.Path(sys.argv[1])
    train = np.union1d(grams(corpus / "books.train.txt"), grams(corpus / "tech.train.txt"))
    for kind in ("books", "tech"):
        for split in ("validation", "test"):
            held = grams(corpus / f"{kind}.{split}.txt")
            shared = np.isin(held, train, assume_unique=True)
            print(f"{kind} {split}: {shared.sum()} of {len(held)} 13-grams also in training, {shared.mean():.4%}")


main()
