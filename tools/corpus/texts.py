"""Clean the source texts and split them by author.

    python texts.py SOURCE OUT

SOURCE holds the unpacked books as Author_Title*.txt and the Python Enhancement Proposals as peps/**/pep-*.rst. OUT gets
books.SPLIT.txt and tech.SPLIT.txt for SPLIT in train, validation, test, and split.json, which names every file's
author, split and characters, and the files left out.

The rule: authors are sorted by sha256("furlong-corpus-1:" + kind + ":" + author in lower case). Validation takes
authors from the front until it holds 4 % of the kind's characters, test the next ones until it holds 4 %, train the rest and
every author of more than 1.2 % (so that held-out texts come from several authors). A book's author is its file name
up to the first underscore; a PEP's is the first name of its Author header. Only PEPs that state that they are in the
public domain or under CC0 are used.
"""
import hashlib
import json
import pathlib
import re
import sys

SHARE = 0.04
MOST = 0.012
PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\u2013": "-",
                       "\u2026": "...", "\u00a0": " ", "\ufeff": None, "\u00ad": None})
START = re.compile(r"^\*\*\* ?START OF TH.*$|^\*END\*? ?THE SMALL PRINT.*$", re.M)
END = re.compile(r"^\*\*\* ?END OF TH.*$|^End of (the |this )?Project Gutenberg.*$", re.M | re.I)
CREDIT = re.compile(r"gutenberg|^produced by|^e-?text (prepared|produced)|distributed proofread|transcriber'?s note|"
                    r"^\[illustration", re.I)


def read(path):
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.translate(PLAIN).replace("\r\n", "\n").replace("\r", "\n")


def cut(text):
    """Without what Project Gutenberg put around the book."""
    starts = list(START.finditer(text[: len(text) // 4]))
    if starts:
        text = text[starts[-1].end():]
    end = END.search(text, len(text) // 2)
    if end:
        text = text[: end.start()]
    return "\n".join(line for line in text.split("\n") if not CREDIT.search(line.strip()))


def reflow(text):
    """Printed lines become paragraphs: a line of at least 55 characters goes on in the next one. Verse stays verse."""
    out = []
    for block in re.split(r"\n\s*\n", text):
        paragraph = ""
        for line in block.split("\n"):
            line = " ".join(line.split())
            if not line:
                continue
            paragraph += line + (" " if len(line) >= 55 else "\n")
        if paragraph.strip():
            out.append(paragraph.strip())
    return "\n".join(out) + "\n"


def books(source):
    for path in sorted(source.glob("*_*.txt")):
        yield path.name, path.name.split("_")[0].lower(), reflow(cut(read(path)))


def peps(source, skipped):
    for path in sorted(source.rglob("pep-*.rst")):
        text = read(path)
        author = re.search(r"^Author:\s*([^,<\n]+)", text, re.M)
        free = re.search(r"public\s+domain|CC0", text, re.I)
        if not author or not free:
            skipped.append(path.name)
            continue
        yield path.name, " ".join(author.group(1).split()).lower(), text.strip() + "\n"


def split(kind, items):
    size = {}
    for _, author, text in items:
        size[author] = size.get(author, 0) + len(text)
    total, held, part = sum(size.values()), 0, {}
    names = ["validation", "test", "train"]
    for author in sorted(size, key=lambda a: hashlib.sha256(f"furlong-corpus-1:{kind}:{a}".encode()).hexdigest()):
        part[author] = names[0] if size[author] <= MOST * total else "train"
        if part[author] != "train":
            held += size[author]
        if names[0] != "train" and held >= SHARE * total:
            names, held = names[1:], 0
    return part


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    record = {"files": [], "left_out": []}
    for kind, items in (("books", list(books(source))), ("tech", list(peps(source, record["left_out"])))):
        part = split(kind, items)
        for name in ("train", "validation", "test"):
            chosen = [i for i in items if part[i[1]] == name]
            (out / f"{kind}.{name}.txt").write_text("\n".join(i[2] for i in chosen))
            print(kind, name, len(chosen), "files", sum(len(i[2]) for i in chosen), "characters",
                  sorted({i[1] for i in chosen}) if name != "train" and kind == "books" else "")
        record["files"] += [{"file": n, "author": a, "split": part[a], "characters": len(t)} for n, a, t in items]
    (out / "split.json").write_text(json.dumps(record, indent=1) + "\n")
    print("left out", len(record["left_out"]))


if __name__ == "__main__":
    main()
