"""Golden files for tests/text/test_tokenizer_golden.c: what the packages make of many texts.

    python tokenizer_golden.py DATA                    one NAME.golden beside every tokenizer in DATA
    python tokenizer_golden.py DATA --random 10000 --seed 1 --out FOLDER [--extra FILE...]
                                                       the same for random texts; run the test with the files as arguments
    python tokenizer_golden.py DATA --vectors FOLDER --out FOLDER --pair NAME FILE ...
                                                       llama.cpp's ggml-vocab-NAME.gguf.inp and .out for a tokenizer FILE

A line is one of
    E text ids ids_raw shown all    shown, all: decoded without and with special tokens; ids_raw: special tokens not parsed
    D ids shown all                 of ids drawn at random
    R text times count hash         ids of the text repeated: how many, and the FNV-1a hash of them as 32-bit numbers
with tabs between. "=" stands for: as the field before (shown: as the text), "-" for: the package does not say. In texts
backslash, control characters and bytes that are not UTF-8 are \\xHH.
"""
import argparse
import os
import pathlib
import random

import sentencepiece
import tokenizers

import tokenizer_texts
from tokenizer_llama2c import Llama2c


def escape(text):
    if isinstance(text, str):
        text = text.encode()
    out = ""
    for c in text.decode("utf-8", "surrogateescape"):
        if 0xDC80 <= ord(c) <= 0xDCFF:
            out += f"\\x{ord(c) - 0xDC00:02x}"
        elif c == "\\" or not c.isprintable():
            out += "".join(f"\\x{b:02x}" for b in c.encode())
        else:
            out += c
    return {"=": "\\x3d", "-": "\\x2d"}.get(out, out)


def joined(ids):
    return " ".join(map(str, ids))


def fnv(ids):
    value = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


# Long texts of few letters. The last ones bring SentencePiece's unigram sums below the point where they are rebased.
RUNS = [("a", 20000), (" ", 20000), ("\n", 20000), ("ab", 10000), ("漢", 10000), ("1", 20000), ("a ", 10000), (" \n", 10000),
        ("\u0301", 10000), ("e\u0301", 5000), ("\u0316\u0301", 5000), ("the ", 5000), ("<s>", 2000), (".", 100000), ("." * 37 + "-" * 23, 3000)]


class HuggingFace:
    runs = RUNS
    package = f"tokenizers {tokenizers.__version__}"

    def __init__(self, path):
        self.t = tokenizers.Tokenizer.from_file(str(path))
        self.t.no_truncation()
        self.t.no_padding()
        added = self.t.get_added_tokens_decoder().values()
        self.special = tokenizer_texts.SPECIAL + [t.content for t in added if "[" in t.content or "<" in t.content]
        self.size = max(self.t.get_vocab().values()) + 1

    def texts(self, texts, invalid):
        return texts + invalid

    def encode(self, text, raw=False):
        self.t.encode_special_tokens = raw
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        return self.t.encode(text, add_special_tokens=False).ids

    def decode(self, ids, show):
        return self.t.decode(ids, skip_special_tokens=not show)

    def around(self):
        self.t.encode_special_tokens = False
        ids, inner = self.t.encode("a").ids, self.encode("a")
        for i in range(len(ids) - len(inner) + 1):
            if ids[i:i + len(inner)] == inner:
                return ids[:i], ids[i + len(inner):]


class SentencePiece:
    runs = RUNS
    package = f"sentencepiece {sentencepiece.__version__}"
    special = tokenizer_texts.SPECIAL

    def __init__(self, path):
        self.t = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size = self.t.get_piece_size()

    def texts(self, texts, invalid):
        return texts + invalid

    def encode(self, text, raw=False):
        return None if raw else self.t.encode(text)

    def decode(self, ids, show):
        return None if show else self.t.decode(ids)

    def around(self):
        bos = self.t.bos_id()
        return [bos] if bos >= 0 else [], []


class Llama2cOracle(Llama2c):
    runs = [(text, min(times, 400)) for text, times in RUNS]
    package = "tokenizer_llama2c.py, after llama2.c's run.c"
    special = tokenizer_texts.SPECIAL

    def __init__(self, path):
        super().__init__(path)
        self.size = len(self.pieces)

    def texts(self, texts, invalid):
        return texts + invalid

    def encode(self, text, raw=False):
        return super().encode(text if isinstance(text, bytes) else text.encode()) if raw else None

    def decode(self, ids, show):
        # Bytes that are not UTF-8 are for furlong to repair; the oracle has no say.
        text = super().decode(ids)
        try:
            return None if show else text.decode()
        except UnicodeDecodeError:
            return None

    def around(self):
        return [1], []


def oracle(path):
    return {".json": HuggingFace, ".model": SentencePiece, ".bin": Llama2cOracle}[path.suffix](path)


def write(out, tokenizer, name, texts, invalid, draws, seed, runs=False):
    r = random.Random(seed)
    prefix, suffix = tokenizer.around()
    lines = [f"# tokenizer {name}", f"# from {tokenizer.package}", f"# around {joined(prefix)}|{joined(suffix)}"]
    for text in tokenizer.texts(texts, invalid):
        ids, raw = tokenizer.encode(text), tokenizer.encode(text, raw=True)
        known = ids if ids is not None else raw
        shown, every = tokenizer.decode(known, False), tokenizer.decode(known, True)
        source = escape(text)
        fields = ["E", source, "-" if ids is None else joined(ids), "-" if raw is None else "=" if raw == ids else joined(raw),
                  "-" if shown is None else "=" if escape(shown) == source else escape(shown),
                  "-" if every is None else "=" if every == shown else escape(every)]
        lines.append("\t".join(fields))
    for _ in range(draws):
        ids = [r.randrange(min(tokenizer.size, r.choice([300, tokenizer.size]))) for _ in range(r.randint(1, 20))]
        shown, every = tokenizer.decode(ids, False), tokenizer.decode(ids, True)
        if shown is not None:
            lines.append("\t".join(["D", joined(ids), escape(shown), "-" if every is None else "=" if every == shown else escape(every)]))
    for text, times in tokenizer.runs if runs else []:
        ids = tokenizer.encode(text * times)
        ids = tokenizer.encode(text * times, raw=True) if ids is None else ids
        lines.append(f"R\t{escape(text)}\t{times}\t{len(ids)}\t{fnv(ids):016x}")
    out.write_text("\n".join(lines) + "\n")
    print(out, len(lines) - 3)


def vectors(a):
    for name, path in zip(a.pair[::2], a.pair[1::2]):
        base = a.vectors / f"ggml-vocab-{name}.gguf"
        texts = base.with_name(base.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
        outs = base.with_name(base.name + ".out").read_text().split("\n")
        lines = [f"# tokenizer {path}", f"# from llama.cpp {name}", "# around -"]
        lines += ["\t".join(["E", escape(t), joined(o.split()), "-", "-", "-"]) for t, o in zip(texts, outs)]
        out = a.out / f"{name}.golden"
        out.write_text("\n".join(lines) + "\n")
        print(out, len(lines) - 3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--random", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--extra", nargs="*", default=[], type=pathlib.Path)
    parser.add_argument("--vectors", type=pathlib.Path)
    parser.add_argument("--pair", nargs="*", default=[])
    a = parser.parse_args()
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
    if a.vectors:
        return vectors(a)
    files = sorted(p for p in a.data.iterdir() if p.suffix in (".json", ".model", ".bin")) + a.extra
    for path in files:
        tokenizer = oracle(path)
        if a.random:
            texts = tokenizer_texts.random_texts(a.random, a.seed, tokenizer.special)
            write(a.out / f"{path.stem}.golden", tokenizer, path.resolve(), texts, tokenizer_texts.random_bytes(a.random // 10, a.seed),
                  a.random // 10, a.seed)
        else:
            write((a.out or a.data) / f"{path.stem}.golden", tokenizer, os.path.relpath(path, a.data), tokenizer_texts.fixed(), tokenizer_texts.INVALID, 40, 1,
                  runs=True)


if __name__ == "__main__":
    main()
