"""Write the texts bundled with a base model: one document per line, as {"title", "author", "text"}, compressed.

    python bundle.py SOURCE CORPUS OUT [--skip CHARACTERS] [--take CHARACTERS]

SOURCE and CORPUS as for texts.py. OUT gets tune.jsonl.zst (books of the training split whose text begins after --skip
characters of books.train.txt, that is, books the base model has not seen, until --take characters are taken),
books.jsonl.zst (validation books) and tech.jsonl.zst (validation and test PEPs of at least 20000 characters).
"""
import argparse
import json
import pathlib
import subprocess

from texts import books, peps


def write(path, documents):
    lines = "".join(json.dumps(d) + "\n" for d in documents)
    subprocess.run(["zstd", "-q", "-f", "-19", "-o", path], input=lines.encode(), check=True)
    print(path, len(documents), "documents", sum(len(d["text"]) for d in documents), "characters")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("source", type=pathlib.Path)
    p.add_argument("corpus", type=pathlib.Path)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--skip", type=int, default=50_000_000)
    p.add_argument("--take", type=int, default=8_000_000)
    args = p.parse_args()
    part = {f["file"]: f["split"] for f in json.loads((args.corpus / "split.json").read_text())["files"]}
    args.out.mkdir(parents=True, exist_ok=True)
    tune, held, at, taken = [], [], 0, 0
    for name, author, text in books(args.source):
        document = {"title": name.removesuffix(".txt"), "author": author, "text": text}
        if part[name] == "validation":
            held.append(document)
        if part[name] == "train":
            if at >= args.skip and taken < args.take:
                tune.append(document)
                taken += len(text)
            at += len(text) + 1
    tech = [{"title": name, "author": author, "text": text} for name, author, text in peps(args.source, [])
            if part[name] != "train" and len(text) >= 20000]
    write(args.out / "tune.jsonl.zst", tune)
    write(args.out / "books.jsonl.zst", held)
    write(args.out / "tech.jsonl.zst", tech)


main()
